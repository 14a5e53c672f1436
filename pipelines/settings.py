"""Configuration, the way dlt reads it: environment, .dlt/config.toml, .dlt/secrets.toml."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dlt
import pendulum
from dlt.common.configuration import configspec, resolve_configuration
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.destination import Destination
from dlt.common.typing import TSecretStrValue
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

from sources.kantata import KantataReader
from sources.kantata.client import Answered, checked_token
from sources.kantata.errors import KantataMisconfigured
from sources.kantata.settings import API_URL
from warehouse.errors import WarehouseMisconfigured

from .ledgers import checked_ledger, checked_postgres

LOADER_FILE = ".milestones/loader.duckdb"
PUBLISHED_FILE = "milestones.duckdb"
# DuckDB would take most of the machine; a million rows merge as fast within this, on one thread.
_DUCKDB = {
    "memory_limit": "256MB",
    "threads": 1,
    "preserve_insertion_order": False,
    "autoinstall_known_extensions": False,
}
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@configspec
class KantataSettings(BaseConfiguration):
    """``[sources.kantata]``, as the source's arguments."""

    kantata_api_url: str = API_URL
    kantata_access_token: TSecretStrValue = ""
    requests_in_flight: int = 4
    requests_per_second: float = 0.0
    backoff_seconds: float = 2.0
    scan_every: str = "24h"

    def arguments(self) -> dict[str, Any]:
        """Arguments for the source."""
        return {name: getattr(self, name) for name in self.__annotations__ if name != "scan_every"}

    def longest_without_scan(self) -> timedelta:
        """``scan_every`` as a time.

        Raises:
            KantataMisconfigured: If it is none.
        """
        return duration(self.scan_every, "[sources.kantata] scan_every")

    def reader(self, attempts: int = 1, answered: Answered | None = None) -> KantataReader:
        """A reader of its own, for a few questions."""
        return KantataReader(
            self.kantata_api_url,
            self.kantata_access_token,
            self.requests_per_second,
            self.backoff_seconds,
            attempts,
            answered=answered,
        )


def kantata_settings() -> KantataSettings:
    """Where Kantata is, and the token.

    Raises:
        KantataError: If there is no token, or a setting cannot be what it is.
    """
    try:
        settings = resolve_configuration(KantataSettings(), sections=("sources", "kantata"))
    except (ConfigurationException, ValueError) as error:
        raise KantataMisconfigured(f"[sources.kantata]: {_first_line(error)}") from None
    if not settings.kantata_access_token:
        raise KantataMisconfigured(
            "no token: set KANTATA_ACCESS_TOKEN, or kantata_access_token under [sources.kantata] "
            "in .dlt/secrets.toml. `milestones demo` needs none."
        )
    settings.longest_without_scan()
    settings.reader()  # so that an impossible address or token is told before anything is made
    return settings


def duration(text: str, name: str) -> timedelta:
    """A time as people write it.

    Args:
        text: As 90m, 24h or 7d.
        name: What to call it when it is none.

    Raises:
        KantataMisconfigured: If it is none.
    """
    if not (found := _DURATION.fullmatch(text)):
        raise KantataMisconfigured(f"{name} is {text!r}; write it as 90m, 24h or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def without_secrets(text: str) -> str:
    """A text in which no secret that is configured stands."""
    for secret in _secrets():
        text = text.replace(secret, "[secret]") if len(secret) >= 4 else text
    return text


def _secrets() -> list[str]:
    found = []
    with suppress(ConfigurationException, ValueError):
        kantata = resolve_configuration(KantataSettings(), sections=("sources", "kantata"))
        found.append(kantata.kantata_access_token)
    with suppress(KantataMisconfigured):
        found.append(_write_token())
    found.append(_setting("alerts.webhook_url", ""))  # whoever has it may write to the channel
    return [secret for secret in found if secret]


@configspec
class _WriteToken(BaseConfiguration):
    """``[push] kantata_write_token``, or KANTATA_WRITE_TOKEN."""

    kantata_write_token: TSecretStrValue = ""


@dataclass(frozen=True)
class PushSettings:
    """``[push]``.

    Args:
        enabled: Whether anything may be written to Kantata.
        max_changes: At most so many in one push.
        reconcile_after: Seconds a write of unknown outcome is left alone: the server may work on a
            request for three minutes.
        write_token: The token for writing; empty for the one that reads.
    """

    enabled: bool = False
    max_changes: int = 1000
    reconcile_after: int = 240
    write_token: str = ""


def push_settings() -> PushSettings:
    """How much may be written, and with which token.

    Raises:
        KantataMisconfigured: If a setting cannot be what it is.
    """
    # Not resolved as a class: dlt would take ENABLED=true, meant for anything, for this.
    enabled = _setting("push.enabled", "false").lower()
    if enabled not in ("true", "false"):
        raise KantataMisconfigured(f"[push] enabled is {enabled!r}; write it as true or false")
    token = _write_token()
    if token:
        checked_token(token, "KANTATA_WRITE_TOKEN")
    return PushSettings(
        enabled == "true",
        _whole("push.max_changes", PushSettings.max_changes, least=1),
        _whole("push.reconcile_after", PushSettings.reconcile_after, least=0),
        token,
    )


def _write_token() -> str:
    try:
        found = resolve_configuration(_WriteToken(), sections=("push",))
    except (ConfigurationException, ValueError) as error:
        raise KantataMisconfigured(f"[push]: {_first_line(error)}") from None
    return found.kantata_write_token or ""


def _whole(name: str, otherwise: int, least: int) -> int:
    text = _setting(name, str(otherwise))
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise KantataMisconfigured(f"{name} is {text!r}; write a whole number, at least {least}")
    return int(text)


@dataclass(frozen=True)
class AlertSettings:
    """``[alerts]``.

    Args:
        webhook_url: Where to tell; empty for nowhere.
        after: How long there may be no success before it is told.
    """

    webhook_url: str = ""
    after: timedelta = timedelta(hours=6)


def alert_settings() -> AlertSettings:
    """Whom to tell when a person is needed.

    Raises:
        KantataMisconfigured: If a setting cannot be what it is.
    """
    url = _setting("alerts.webhook_url", "").strip()
    parts = urlsplit(url)
    safe = parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost", "::1")
    if url and not (safe and parts.scheme in ("http", "https") and parts.hostname):
        raise KantataMisconfigured("[alerts] webhook_url is not an https address")
    after = duration(_setting("alerts.alert_after", "6h"), "[alerts] alert_after")
    return AlertSettings(url, after)


def ledger_url(place: Place) -> str:
    """Where changes are kept: LEDGER__URL, else beside the warehouse.

    Raises:
        WarehouseMisconfigured: If it is not where a ledger can be.
    """
    if url := _setting("ledger.url", ""):
        return checked_ledger(url)
    if place.loader is None:
        return _postgres_url("LEDGER__URL is not set, so the ledger is there too. ")
    return f"sqlite:///{place.folder / 'ledger.sqlite'}"


@dataclass(frozen=True)
class Place:
    """A warehouse, and the files beside it.

    Args:
        destination: What dlt loads into.
        name: ``duckdb`` or ``postgres``.
        folder: Where the lock and dlt's working files are.
        stem: What they are called.
        loader: The DuckDB file dlt loads into, None for Postgres.
        published: The DuckDB file for readers, None for Postgres.
        timezone: Decides which day it is in the marts, and where a month begins.
    """

    destination: Destination[Any, Any]
    name: str
    folder: Path
    stem: str
    loader: Path | None = None
    published: Path | None = None
    timezone: str = "UTC"

    @property
    def lock(self) -> Path:
        """The file whose lock a run holds."""
        return self.folder / f"{self.stem}.lock"

    @property
    def working(self) -> Path:
        """Where dlt works; made anew by each run."""
        return self.folder / f"{self.stem}-working"

    def pipeline(self) -> dlt.Pipeline:
        """The pipeline that loads into it."""
        return dlt.pipeline(
            "milestones",
            pipelines_dir=str(self.working),
            destination=self.destination,
            dataset_name="kantata",
        )


def place(destination: str) -> Place:
    """The warehouse that is configured.

    Args:
        destination: ``duckdb`` or ``postgres``.

    Raises:
        WarehouseMisconfigured: If it leads nowhere.
    """
    timezone = _setting("warehouse.reporting_timezone", "UTC")
    if timezone not in pendulum.timezones():
        raise WarehouseMisconfigured(
            f"[warehouse] reporting_timezone is {timezone!r}; write it as Europe/Berlin or UTC"
        )
    if destination == "postgres":
        return replace(_postgres(), timezone=timezone)
    loader = _duckdb_file(_setting("destination.duckdb.credentials", LOADER_FILE))
    published = Path(_setting("warehouse.publish_to", PUBLISHED_FILE))
    return replace(duckdb_place(loader, published), timezone=timezone)


def duckdb_place(loader: Path, published: Path) -> Place:
    """A DuckDB warehouse.

    Args:
        loader: The file dlt loads into.
        published: The file for readers.

    Raises:
        WarehouseMisconfigured: If the files cannot be called so.
    """
    if loader.absolute() == published.absolute():
        raise WarehouseMisconfigured(
            f"{loader} cannot be both the loader's file and the one for readers: name another one "
            "in WAREHOUSE__PUBLISH_TO"
        )
    if loader.stem == "kantata":
        raise WarehouseMisconfigured(
            f"the loader's file must not be called {loader.name}: DuckDB would take the "
            "dataset kantata for it. Name another one in DESTINATION__DUCKDB__CREDENTIALS."
        )
    credentials = DuckDbCredentials(str(loader), global_config=dict(_DUCKDB))
    return Place(
        destination=dlt.destinations.duckdb(credentials),
        name="duckdb",
        folder=loader.parent,
        stem=loader.stem,
        loader=loader,
        published=published,
    )


def _postgres_url(why: str) -> str:
    """The address of the Postgres warehouse; why is told if it is none."""
    found: object = dlt.config.get("destination.postgres.credentials")
    if not isinstance(found, str):
        raise WarehouseMisconfigured(
            f"{why}[destination.postgres] credentials must be one text for that: credentials = "
            '"postgresql://user:password@host:5432/database"'
        )
    return checked_postgres(found, "DESTINATION__POSTGRES__CREDENTIALS")


def _postgres() -> Place:
    given: object = dlt.config.get("destination.postgres.credentials")
    if isinstance(given, str) and given:
        checked_postgres(given, "DESTINATION__POSTGRES__CREDENTIALS")
    if not given:
        raise WarehouseMisconfigured(
            "no Postgres: set DESTINATION__POSTGRES__CREDENTIALS to postgresql://user:password@"
            "host:5432/database, or [destination.postgres] credentials in .dlt/secrets.toml"
        )
    folder = Path(LOADER_FILE).parent
    return Place(dlt.destinations.postgres(), "postgres", folder, "postgres")


def _duckdb_file(credentials: str) -> Path:
    path = credentials.removeprefix("duckdb:///").partition("?")[0]
    if not path or path == ":memory:" or "://" in path:
        raise WarehouseMisconfigured(
            f"[destination.duckdb] credentials must be the path of a file, not {credentials!r}"
        )
    return Path(path)


def _setting(name: str, otherwise: str) -> str:
    value: object = dlt.config.get(name)  # of environment, config.toml and secrets.toml
    return otherwise if value is None else str(value)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
