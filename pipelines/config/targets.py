"""Where the warehouse is, and the ledger: what dlt loads into, and the files beside it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import dlt
import pendulum
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

from warehouse.errors import WarehouseMisconfigured
from warehouse.ledger.engine import check_ledger_url
from warehouse.postgres_url import check_postgres_url
from warehouse.target import Target

from .settings import setting

LOADER_FILE = ".milestones/loader.duckdb"
PUBLISHED_FILE = "milestones.duckdb"
# DuckDB would take most of the machine, and keep what it took; a million rows merge as fast within
# so little, on one thread, and what three million need beyond it goes to disk.
_MEMORY = "256MB"
_DUCKDB = {
    "allocator_background_threads": True,
    "threads": 1,
    "preserve_insertion_order": False,
    "autoinstall_known_extensions": False,
}
_POSTGRES_CREDENTIALS = "DESTINATION__POSTGRES__CREDENTIALS"
# A file called as a schema is taken for it by DuckDB: kantata_marts.x would be ambiguous.
_SCHEMAS = ("kantata", "kantata_marts", "kantata_stg", "kantata_staging")


def configured_target(destination: str) -> Target:
    """The warehouse that is configured.

    Args:
        destination: ``duckdb`` or ``postgres``.

    Raises:
        WarehouseMisconfigured: If it leads nowhere.
    """
    timezone = setting("warehouse.reporting_timezone", "UTC")
    if timezone not in pendulum.timezones():
        raise WarehouseMisconfigured(
            f"[warehouse] reporting_timezone is {timezone!r}; write it as Europe/Berlin or UTC"
        )
    if destination == "postgres":
        return replace(_postgres_target(), timezone=timezone)
    loader = _duckdb_file(setting("destination.duckdb.credentials", LOADER_FILE))
    published = setting("warehouse.publish_to", PUBLISHED_FILE)
    if not published:
        raise WarehouseMisconfigured(
            "WAREHOUSE__PUBLISH_TO is empty: name a file, or leave it out for " + PUBLISHED_FILE
        )
    return replace(duckdb_target(loader, Path(published)), timezone=timezone)


def duckdb_target(loader: Path, published: Path) -> Target:
    """A DuckDB warehouse.

    Args:
        loader: The file dlt loads into.
        published: The file for readers.

    Raises:
        WarehouseMisconfigured: If the files cannot be called so.
    """
    if _real_path(loader) == _real_path(published):
        raise WarehouseMisconfigured(
            f"{loader} cannot be both the loader's file and the one for readers: name another one "
            "in WAREHOUSE__PUBLISH_TO"
        )
    _check_file(loader, "the loader's file", "DESTINATION__DUCKDB__CREDENTIALS")
    _check_file(published, "the file for readers", "WAREHOUSE__PUBLISH_TO")
    limit = {"memory_limit": _memory_limit()}
    credentials = DuckDbCredentials(str(loader), global_config=_DUCKDB | limit)
    return Target(
        destination=dlt.destinations.duckdb(credentials),
        name="duckdb",
        find_ledger=partial(_ledger_url, f"sqlite:///{loader.parent / 'ledger.sqlite'}"),
        folder=loader.parent,
        stem=loader.stem,
        loader=loader,
        published=published,
    )


def _memory_limit() -> str:
    limit = setting("warehouse.memory_limit", _MEMORY)
    if not re.fullmatch(r"[1-9][0-9]{0,5} ?[MG]B", limit):
        raise WarehouseMisconfigured(f"[warehouse] memory_limit is {limit!r}; write it as 512MB")
    return limit


def _real_path(path: Path) -> Path:
    """Where it is when no link is left; unlike ``resolve`` it bears one that leads to itself."""
    return Path(os.path.realpath(path))


def _check_file(path: Path, what: str, name: str) -> None:
    """Refuse what is no file, and what DuckDB would take for one of our schemas."""
    if os.path.isdir(path):  # Path.is_dir would raise if it may not look there
        raise WarehouseMisconfigured(f"{path} is a folder: name {what} in {name}")
    for file in (path, _real_path(path)):  # a link may be opened by either name
        # DuckDB's name for it ends at the first full stop, and big and small letters are the same.
        catalog = file.name.lstrip(".").partition(".")[0].lower()
        if catalog in _SCHEMAS:
            raise WarehouseMisconfigured(
                f"{what} must not be called {file.name}: DuckDB would take the schema {catalog} "
                f"for it. Name another one in {name}."
            )


def _ledger_url(default: str | None) -> str:
    """LEDGER__URL, else the default, else the database of the Postgres warehouse."""
    if url := setting("ledger.url", ""):
        return check_ledger_url(url)
    return default or _postgres_url()


def _postgres_url() -> str:
    found = _postgres_credentials()
    if not isinstance(found, str):
        raise WarehouseMisconfigured(
            "LEDGER__URL is not set, so the ledger is there too. [destination.postgres] "
            "credentials must be one text for that: credentials = "
            '"postgresql://user:password@host:5432/database"'
        )
    return check_postgres_url(found, _POSTGRES_CREDENTIALS)


def _postgres_credentials() -> object:
    """The credentials as they are configured: one URL, or a section of a file."""
    return dlt.config.get("destination.postgres.credentials")


def _postgres_target() -> Target:
    credentials = _postgres_credentials()
    if isinstance(credentials, str) and credentials:
        check_postgres_url(credentials, _POSTGRES_CREDENTIALS)
    if not credentials:
        raise WarehouseMisconfigured(
            "no Postgres: set DESTINATION__POSTGRES__CREDENTIALS to postgresql://user:password@"
            "host:5432/database, or [destination.postgres] credentials in .dlt/secrets.toml"
        )
    return Target(
        destination=dlt.destinations.postgres(),
        name="postgres",
        find_ledger=partial(_ledger_url, None),
        folder=Path(LOADER_FILE).parent,
        stem="postgres",
    )


def _duckdb_file(credentials: str) -> Path:
    path = credentials.removeprefix("duckdb:///").partition("?")[0]
    if not path or path == ":memory:" or "://" in path:
        raise WarehouseMisconfigured(
            f"[destination.duckdb] credentials must be the path of a file, not {credentials!r}"
        )
    return Path(path)
