"""Configuration, the way dlt reads it: environment, .dlt/config.toml, .dlt/secrets.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dlt
from dlt.common.configuration import configspec, resolve_configuration
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.configuration.providers.toml import TomlProviderReadException
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.typing import TSecretStrValue

from sources.kantata import KantataReader
from sources.kantata.api.transport import OnRequest, check_token
from sources.kantata.errors import KantataMisconfigured
from sources.kantata.settings import API_URL

_DURATION = re.compile(r"(\d{1,6})([smhd])")
# Where a sandbox, a webhook of a test and the like listen.
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
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
        return parse_duration(self.scan_every, "[sources.kantata] scan_every")

    def reader(self, attempts: int = 1, on_request: OnRequest | None = None) -> KantataReader:
        """A reader of its own, for a few questions."""
        return KantataReader(
            self.kantata_api_url,
            self.kantata_access_token,
            requests_per_second=self.requests_per_second,
            backoff_seconds=self.backoff_seconds,
            attempts=attempts,
            on_request=on_request,
        )


def kantata_settings() -> KantataSettings:
    """Where Kantata is, and the token.

    Raises:
        KantataError: If there is no token, or a setting cannot be what it is.
    """
    settings = resolve_kantata()
    if not settings.kantata_access_token:
        raise KantataMisconfigured(
            "no token: set KANTATA_ACCESS_TOKEN, or kantata_access_token under [sources.kantata] "
            "in .dlt/secrets.toml. `milestones demo` needs none."
        )
    settings.longest_without_scan()
    settings.reader()  # so that an impossible address or token is told before anything is made
    return settings


def resolve_kantata() -> KantataSettings:
    """Read ``[sources.kantata]``, with or without a token.

    Raises:
        KantataMisconfigured: If it cannot be read.
    """
    with _one_line_errors("[sources.kantata]"):
        return resolve_configuration(KantataSettings(), sections=("sources", "kantata"))


def parse_duration(text: str, name: str) -> timedelta:
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


@configspec
class _WriteToken(BaseConfiguration):
    """``[push] kantata_write_token``, or KANTATA_WRITE_TOKEN."""

    kantata_write_token: TSecretStrValue = ""


@dataclass(frozen=True, kw_only=True)
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
    enabled = setting("push.enabled", "false").lower()
    if enabled not in ("true", "false"):
        raise KantataMisconfigured(f"[push] enabled is {enabled!r}; write it as true or false")
    token = resolve_write_token()
    if token:
        check_token(token, "KANTATA_WRITE_TOKEN")
    return PushSettings(
        enabled=enabled == "true",
        max_changes=_whole_number("push.max_changes", minimum=1),
        reconcile_after=_whole_number("push.reconcile_after", minimum=0),
        write_token=token,
    )


def resolve_write_token() -> str:
    """Read the token for writing; empty for the one that reads.

    Raises:
        KantataMisconfigured: If it cannot be read.
    """
    with _one_line_errors("[push]"):
        found = resolve_configuration(_WriteToken(), sections=("push",))
    return found.kantata_write_token or ""


def _whole_number(name: str, minimum: int) -> int:
    """A number of ``[push]``; without the setting that of ``PushSettings``."""
    text = setting(name, str(getattr(PushSettings, name.removeprefix("push."))))
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < minimum:
        raise KantataMisconfigured(f"{name} is {text!r}; write a whole number, at least {minimum}")
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
    url = setting("alerts.webhook_url", "").strip()
    if url and not _is_safe(url):
        raise KantataMisconfigured("[alerts] webhook_url is not an https address")
    after = parse_duration(setting("alerts.alert_after", "6h"), "[alerts] alert_after")
    return AlertSettings(webhook_url=url, after=after)


def _is_safe(url: str) -> bool:
    """Whether it is an address, and nobody can read on the way what is sent there."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is checked when it is asked for
    except ValueError:
        return False
    is_local = parts.hostname in LOCAL_HOSTS
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_local)
    )


def setting(name: str, default: str) -> str:
    """What the environment, config.toml or secrets.toml say, else default.

    Raises:
        KantataMisconfigured: If one of the files cannot be read.
    """
    with _one_line_errors(name):
        value: object = dlt.config.get(name)
    return default if value is None else str(value)


@contextmanager
def _one_line_errors(name: str) -> Iterator[None]:
    """Say in one line what is wrong with a setting, or with a file of settings."""
    try:
        yield
    except TomlProviderReadException as error:
        paths = [path for path in error.full_paths if Path(path).exists()] or error.full_paths
        raise KantataMisconfigured(
            f"cannot read the settings in {' or '.join(paths)}: "
            f"{str(error).strip().splitlines()[-1]}. Mend the file."
        ) from None
    except (ConfigurationException, ValueError) as error:
        raise KantataMisconfigured(f"{name}: {str(error).strip().splitlines()[0]}") from None
