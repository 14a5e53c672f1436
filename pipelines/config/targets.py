"""The configured warehouse and ledger: dlt destination, files, ledger URL."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import dlt
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

from warehouse.errors import WarehouseMisconfigured
from warehouse.ledger.url import check_ledger_url
from warehouse.moved import check_not_moved
from warehouse.postgres_destination import LibpqDestination
from warehouse.postgres_url import check_postgres_url, postgres_parameters
from warehouse.target import Target

from .declared_settings import DEFAULTS
from .lake_settings import configured_lake
from .settings import setting, shown_name
from .time_zones import check_time_zone

LOADER_FILE = DEFAULTS["destination.duckdb.credentials"]
PUBLISHED_FILE = DEFAULTS["warehouse.publish_to"]
ERROR_LOG = Path(LOADER_FILE).parent / "error.log"
_DUCKDB = {
    "allocator_background_threads": True,
    "threads": 1,
    "preserve_insertion_order": False,
    "autoinstall_known_extensions": False,
}
_POSTGRES_CREDENTIALS = "DESTINATION__POSTGRES__CREDENTIALS"
# A DuckDB file whose stem is the name of a schema makes kantata_marts.x ambiguous.
_STAGING_NAME = "staging_dataset_name_layout"
_NOT_STAGING = ("kantata", "kantata_marts", "kantata_stg", "kantata_ledger", "kantata_user")
_SCHEMAS = ("kantata", "kantata_marts", "kantata_stg", "kantata_staging", "kantata_user")


def configured_target(destination: str | None = None, *, moved_too: bool = False) -> Target:
    """Return the configured target: the warehouse and its ledger.

    Args:
        destination: ``duckdb`` or ``postgres``; None for the one in ``[warehouse] destination``.
        moved_too: Whether a DuckDB warehouse may have been moved to Postgres.

    Raises:
        WarehouseMisconfigured: If a setting of it is invalid.
        WarehouseMoved: If it was moved to Postgres.
    """
    if (destination or configured_destination()) == "postgres":
        return _with_reporting(_postgres_target())
    loader = _duckdb_file(setting("destination.duckdb.credentials"))
    target = _with_reporting(duckdb_target(loader, _published_file()))
    if not moved_too:
        check_not_moved(target)
    return target


def _with_reporting(target: Target) -> Target:
    """Return a target with the settings of its marts, checked."""
    rates, models = setting("warehouse.exchange_rates"), setting("warehouse.models")
    return replace(
        target,
        timezone=_timezone(),
        reporting_currency=_reporting_currency(),
        exchange_rates=Path(rates) if rates else None,
        models=_path(models, "WAREHOUSE__MODELS") if models else None,
        lake=configured_lake(),
    )


def _reporting_currency() -> str:
    """Return the reporting currency of the target; empty for none.

    Raises:
        WarehouseMisconfigured: If it is not an ISO code.
    """
    currency = setting("warehouse.reporting_currency")
    if currency and not re.fullmatch("[A-Z]{3}", currency):
        raise WarehouseMisconfigured(
            f"{shown_name('warehouse.reporting_currency')} is {currency!r}; write the ISO code of "
            "a currency, such as EUR"
        )
    return currency


def configured_destination() -> str:
    """Return the kind of warehouse that is configured: ``duckdb`` or ``postgres``.

    Raises:
        WarehouseMisconfigured: If it is another one.
    """
    destination = setting("warehouse.destination")
    if destination not in ("duckdb", "postgres"):
        raise WarehouseMisconfigured(
            f"{shown_name('warehouse.destination')} is {destination!r}; write it as duckdb or "
            "postgres"
        )
    return destination


def check_warehouse_settings() -> None:
    """Check the values in ``[warehouse]``, ``[ledger]`` and ``[lake]``, whatever the target is.

    Raises:
        WarehouseMisconfigured: If one of them is invalid.
    """
    configured_destination()
    _timezone()
    _reporting_currency()
    _memory_limit()
    _published_file()
    configured_lake()
    if url := setting("ledger.url"):
        check_ledger_url(url)
    if url := setting("warehouse.reader_credentials"):
        check_postgres_url(url, "WAREHOUSE__READER_CREDENTIALS")
    for destination in ("duckdb", "postgres"):
        _check_staging_dataset(destination)


def _check_staging_dataset(destination: str) -> None:
    """Refuse a staging dataset of dlt that is one of the warehouse's schemas: it would be emptied.

    Raises:
        WarehouseMisconfigured: If it is.
    """
    for section in (f"destination.{destination}", "destination"):
        layout: object = dlt.config.get(f"{section}.{_STAGING_NAME}")
        # As dlt does: a name becomes an identifier.
        dataset = re.sub(r"\W+", "_", str(layout).replace("%s", "kantata").strip()).lower()
        if layout is not None and dataset in _NOT_STAGING:
            variable = f"{section}.{_STAGING_NAME}".upper().replace(".", "__")
            name = variable if variable in os.environ else f"[{section}] {_STAGING_NAME}"
            raise WarehouseMisconfigured(
                f"{name} is {layout!r}, so dlt would use the schema {dataset} of the warehouse for "
                "staging. Remove it, or write another name, such as %s_staging"
            )


def _timezone() -> str:
    """Return the time zone in which the target's marts are built, checked."""
    return check_time_zone(setting("warehouse.reporting_timezone"))


def _published_file() -> Path:
    """Return the DuckDB target's file for readers, as configured."""
    published = setting("warehouse.publish_to")
    if not published:
        raise WarehouseMisconfigured(
            f"WAREHOUSE__PUBLISH_TO is empty: set it to a file, or unset it for {PUBLISHED_FILE}"
        )
    return _path(published, "WAREHOUSE__PUBLISH_TO")


def ledger_in_effect() -> str:
    """Return the URL of the ledger, or where it is if LEDGER__URL is not set.

    Raises:
        WarehouseMisconfigured: If the settings do not say where it is.
    """
    if url := setting("ledger.url"):
        return url
    if configured_destination() == "postgres":
        return "the schema kantata_ledger in the Postgres warehouse"
    return _ledger_beside(_duckdb_file(setting("destination.duckdb.credentials")))


def _ledger_beside(loader: Path) -> str:
    """Return the URL of a DuckDB target's ledger if LEDGER__URL is not set."""
    return f"sqlite:///{loader.parent / 'ledger.sqlite'}"


def duckdb_target(loader: Path, published: Path) -> Target:
    """Return the target of a DuckDB warehouse.

    Args:
        loader: The file dlt loads into.
        published: The file for readers.

    Raises:
        WarehouseMisconfigured: If the files cannot have these names.
    """
    if _real_path(loader) == _real_path(published):
        raise WarehouseMisconfigured(
            f"{loader} cannot be both the loader's file and the file for readers: set "
            "WAREHOUSE__PUBLISH_TO to another file"
        )
    _check_file(loader, "the loader's file", "DESTINATION__DUCKDB__CREDENTIALS")
    _check_file(published, "the file for readers", "WAREHOUSE__PUBLISH_TO")
    limit = _memory_limit()
    credentials = DuckDbCredentials(global_config=_DUCKDB | {"memory_limit": limit})
    credentials.database = str(loader)  # as an argument, dlt would import SQLAlchemy to parse it
    return Target(
        destination=dlt.destinations.duckdb(credentials),
        name="duckdb",
        find_ledger=partial(_ledger_url, _ledger_beside(loader)),
        folder=loader.parent,
        stem=loader.stem,
        loader=loader,
        published=published,
        memory_limit=limit,
    )


def _memory_limit() -> str:
    """Return the memory limit of the DuckDB target, checked."""
    limit = setting("warehouse.memory_limit")
    if not re.fullmatch(r"[1-9][0-9]{0,5} ?[MG]B", limit):
        raise WarehouseMisconfigured(
            f"{shown_name('warehouse.memory_limit')} is {limit!r}; write it as 512MB"
        )
    return limit


def _real_path(path: Path) -> Path:
    """Return the path of a target's file with links resolved, even if they are circular."""
    return Path(os.path.realpath(path))


def _check_file(path: Path, what: str, name: str) -> None:
    """Refuse a target's file if it is a folder, or DuckDB would confuse it with a schema."""
    if os.path.isdir(path):  # Path.is_dir raises without permission
        raise WarehouseMisconfigured(f"{path} is a folder: set {name} to {what}")
    for file in (path, _real_path(path)):  # a link can be opened by either name
        # DuckDB's catalog name ends at the first full stop and ignores case.
        catalog = file.name.lstrip(".").partition(".")[0].lower()
        if catalog in _SCHEMAS:
            raise WarehouseMisconfigured(
                f"{what} cannot be called {file.name}: DuckDB would confuse it with the schema "
                f"{catalog}. Set {name} to another file."
            )


def _ledger_url(default: str | None) -> str:
    """Return the URL of a target's ledger: LEDGER__URL, the default, or the Postgres warehouse."""
    if url := setting("ledger.url"):
        return check_ledger_url(url.replace("sqlite:///~/", f"sqlite:///{Path.home()}/", 1))
    return default or _postgres_url()


def _postgres_url() -> str:
    """Return the URL of the Postgres target, checked, for the ledger in it."""
    found = _postgres_credentials()
    if not isinstance(found, str):
        raise WarehouseMisconfigured(
            "LEDGER__URL is not set, so the ledger is in the Postgres warehouse. For that, "
            "[destination.postgres] credentials must be one URL: credentials = "
            '"postgresql://user:password@host:5432/database"'
        )
    return check_postgres_url(found, _POSTGRES_CREDENTIALS)


def _postgres_credentials() -> object:
    """Return the Postgres target's credentials as configured: one URL, or a section of a file."""
    return dlt.config.get("destination.postgres.credentials")


def _postgres_target() -> Target:
    """Return the target of a Postgres warehouse."""
    credentials = _postgres_credentials()
    address = ""
    if isinstance(credentials, str) and credentials:
        found = postgres_parameters(credentials, _POSTGRES_CREDENTIALS)
        address = f"{found.get('host', 'this machine')}/{found.get('dbname', '')}"
    if not credentials:
        raise WarehouseMisconfigured(
            "Postgres is not configured: set DESTINATION__POSTGRES__CREDENTIALS to postgresql://user:password@"
            "host:5432/database, or [destination.postgres] credentials in .dlt/secrets.toml"
        )
    return Target(
        destination=LibpqDestination(),
        name="postgres",
        find_ledger=partial(_ledger_url, None),
        folder=Path(LOADER_FILE).parent,
        stem="postgres",
        reader_credentials=setting("warehouse.reader_credentials"),
        address=address,
    )


def _duckdb_file(credentials: str) -> Path:
    """Return the DuckDB target's file that the configured credentials name."""
    path = credentials.removeprefix("duckdb:///").partition("?")[0]
    if not path or path == ":memory:" or "://" in path:
        raise WarehouseMisconfigured(
            f"{shown_name('destination.duckdb.credentials')} is {credentials!r}; write the path of "
            "a file"
        )
    return _path(path, "DESTINATION__DUCKDB__CREDENTIALS")


def _path(text: str, name: str) -> Path:
    """Return the path of a target's file; ``~`` is the home folder.

    Raises:
        WarehouseMisconfigured: If it is written for another system, or has a variable.
    """
    is_foreign = "://" in text or text.startswith("md:") or re.match(r"[A-Za-z]:\\", text)
    if (is_foreign and os.name == "posix") or "$" in text:
        raise WarehouseMisconfigured(
            f"{name} is {text!r}: write the path of a file on this machine, without variables"
        )
    return Path(text).expanduser()
