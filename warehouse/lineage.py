"""Which copy of a DuckDB warehouse knows more: the loader's file, or the published one.

Versions, deletions and runs cannot be read again from Kantata. So a file that knows them is never
replaced by one that does not, unless a person says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from .account import AccountBinding, bound_account
from .database import DATASET, MARTS, Database
from .errors import WarehouseError, WarehouseMisconfigured, WarehouseUnwritable
from .failures import WITHOUT_EITHER, damaged, driver_message, open_elsewhere
from .private_files import make_private_folder, remove_unfinished, replacement
from .target import Target

TABLE = "restores"
DDL = f"""create table if not exists {DATASET}.{TABLE} (
    restored_at timestamptz not null, source text not null, reason text not null,
    last_run_id text, replaced_run_id text)"""
_LAST_RUN = f"select max(run_id) from {DATASET}.sync_runs where status = 'proven'"
_SCHEMAS = (
    "select distinct table_schema from information_schema.tables "
    "where table_catalog = current_database()"
)
_TIME_ZONE = f"select reporting_timezone from {MARTS}.data_freshness"


class EmptyLoader(Exception):
    """The loader's file holds no run, and the published file holds some."""


@dataclass(frozen=True, kw_only=True)
class PublishedState:
    """What the published file holds.

    Args:
        last_run_id: Its last validated run.
        timezone: The reporting time zone of its marts; None if it has none.
        account: The account it was filled from; None if it does not say so.
    """

    last_run_id: str
    timezone: str | None
    account: AccountBinding | None = None


def published_state(target: Target) -> PublishedState | None:
    """Return what the target's published file holds; None if it is missing, or no warehouse."""
    if target.published is None or not target.published.exists():
        return None
    return _state_of(target.published, target)


def _state_of(file: Path, target: Target) -> PublishedState | None:
    """Return the state of a file of the lineage; None if it has no validated run.

    Raises:
        WarehouseMisconfigured: If it holds only tables of others.
        OpenElsewhere: If another process is writing it.
    """
    try:
        return _read_state(file, file, target)
    except duckdb.Error as error:
        if not (held := open_elsewhere(error)):
            return None
    try:  # a person who has it open all day, not read-only, must not stop the runs
        with TemporaryDirectory(dir=target.folder) as folder:
            return _read_state(Path(shutil.copy(file, folder)), file, target)
    except (duckdb.Error, OSError):
        raise held from None


def _read_state(copy: Path, file: Path, target: Target) -> PublishedState | None:
    """Return the state of a file of the lineage, read from a copy or from the file itself."""
    with duckdb.connect(str(copy), read_only=True) as connection:
        if _holds_others({name for (name,) in connection.execute(_SCHEMAS).fetchall()}):
            raise _foreign(file, target)
        last = connection.execute(_LAST_RUN).fetchall()[0][0]
        if last is None:
            return None
        try:
            timezone = connection.execute(_TIME_ZONE).fetchall()[0][0]
        except (duckdb.Error, IndexError):
            timezone = None
        account = bound_account(_Reader(connection))
    return PublishedState(last_run_id=last, timezone=timezone, account=account)


class _Reader:
    """Reads a file of the lineage.

    Args:
        connection: An open connection to it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the file."""
        return self._connection.execute(sql).fetchall()


def check_files(target: Target, *, may_be_damaged: bool = False) -> None:
    """Check that the files of a DuckDB warehouse, if they exist, are files of DuckDB.

    Whose they are is checked when they are opened.

    Args:
        target: The warehouse.
        may_be_damaged: Whether the loader's file may be damaged, since it is replaced.

    Raises:
        WarehouseMisconfigured: If one belongs to something else, and would be overwritten.
    """
    for file in (target.published, None if may_be_damaged else target.loader):
        if file is not None and file.is_file() and file.stat().st_size and not _is_duckdb(file):
            raise _foreign(file, target)


def _foreign(file: Path, target: Target) -> WarehouseMisconfigured:
    """Return the error for a file that is outside the warehouse's lineage."""
    setting, remedy = "WAREHOUSE__PUBLISH_TO", "; or, if it is damaged, remove it"
    if file == target.loader:
        setting = "DESTINATION__DUCKDB__CREDENTIALS"
        remedy = "; or, if it is damaged: milestones restore --from published"
    return WarehouseMisconfigured(
        f"{file} exists and is no warehouse of milestones, so it is not overwritten: set {setting} "
        f"to another file{remedy}"
    )


def ensure_ours(database: Database, target: Target) -> None:
    """Check that the loader's file holds nothing but a warehouse.

    Args:
        database: A connection to it.
        target: Its warehouse.

    Raises:
        WarehouseMisconfigured: If it holds tables of others, and none of ours.
    """
    if target.loader and _holds_others({name for (name,) in database.rows(_SCHEMAS)}):
        raise _foreign(target.loader, target)


def _holds_others(schemas: Set[str]) -> bool:
    """Return whether a file with tables in these schemas is outside the lineage."""
    return bool(schemas) and DATASET not in schemas


def _is_duckdb(file: Path) -> bool:
    """Return whether a file begins as DuckDB's files do."""
    with file.open("rb") as opened:
        return opened.read(12)[8:] == b"DUCK"


def ensure_not_older(database: Database, target: Target) -> None:
    """Check that the loader's file knows the last run of the published one.

    Args:
        database: A connection to the loader's file.
        target: Its warehouse.

    Raises:
        EmptyLoader: If it holds no run at all.
        WarehouseError: If it does not, and holds other runs.
    """
    if (published := published_state(target)) is None:
        return
    known = database.rows(
        f"select count(*), max(run_id), count(case when run_id = %s then 1 end) "
        f"from {DATASET}.sync_runs",
        published.last_run_id,
    )
    ((count, last, has_published),) = known
    if has_published:
        return
    if not count:
        raise EmptyLoader
    own, other = bound_account(database), published.account
    if own and other and not own.is_same_account(other):
        raise WarehouseMisconfigured(
            f"{target.published} was filled from {other}, and this warehouse from {own}: set "
            "WAREHOUSE__PUBLISH_TO to another file"
        )
    raise WarehouseError(
        f"{target.published} has the run {published.last_run_id}, which {target.loader} does not "
        f"know; its last run is {last}. Nothing was changed. Keep one of them: milestones restore "
        "--from published --reason TEXT, or --from loader. To start over, remove both files"
    )


def restore_from_published(target: Target) -> str | None:
    """Replace a missing or empty loader's file by a copy of the published one, if there is one.

    Returns:
        A line for people; None if there is nothing to restore.

    Raises:
        WarehouseError: If the published marts have another reporting time zone.
        WarehouseUnwritable: If the copy cannot be written.
    """
    if (published := published_state(target)) is None:
        return None
    assert target.loader  # noqa: S101 - only DuckDB publishes
    assert target.published  # noqa: S101 - it was read
    if published.timezone not in (None, target.timezone):
        raise WarehouseError(
            f"{target.loader} is missing, and {target.published}, from which it could be restored, "
            f"has the reporting time zone {published.timezone}, not {target.timezone}. Set "
            "WAREHOUSE__REPORTING_TIMEZONE to that one for the next run; or, to start over, remove "
            f"{target.published}"
        )
    replace_loader(target, target.published)
    return (
        f"{target.loader} was missing or empty, so it was restored from {target.published}, with "
        f"all runs up to {published.last_run_id}. Find out why it was lost: a container without "
        "its volume, for example"
    )


def replace_loader(target: Target, source: Path) -> None:
    """Replace the loader's file by a copy of another warehouse file, in one step.

    Raises:
        WarehouseUnwritable: If the copy cannot be written.
    """
    assert target.loader  # noqa: S101 - only for DuckDB
    try:
        make_private_folder(target.loader.parent)
        remove_unfinished(target.loader)
        with replacement(target.loader, private=True) as new:
            shutil.copyfile(source, new)
            with new.open("rb") as file:
                os.fsync(file.fileno())
            target.loader.with_name(f"{target.loader.name}.wal").unlink(missing_ok=True)
            new.replace(target.loader)
    except OSError as error:
        raise WarehouseUnwritable(
            f"cannot restore {target.loader} from {source}: {error.strerror or error}"
        ) from None


def accounts_of(target: Target, *files: Path | None) -> list[AccountBinding | None]:
    """Return the account each file was filled from; None if it does not exist or does not say."""
    states = [_state_of(file, target) if file and file.exists() else None for file in files]
    return [state.account if state else None for state in states]


def check_restorable(file: Path, target: Target) -> str:
    """Check that a file is a warehouse that can be restored; return its last validated run.

    Raises:
        WarehouseError: If it is not.
    """
    if not file.is_file():
        raise WarehouseMisconfigured(f"there is no file {file} to restore")
    try:
        duckdb.connect(str(file), read_only=True).close()
    except duckdb.Error as error:
        remedy = f". {WITHOUT_EITHER}" if damaged(error) else ""
        raise open_elsewhere(error) or WarehouseError(
            f"cannot restore {file}: {driver_message(error)}{remedy}"
        ) from None
    if (state := _state_of(file, target)) is None:
        raise WarehouseError(f"cannot restore {file}: it is no warehouse with a validated run")
    return state.last_run_id


def record_restore(
    database: Database, *, at: datetime, source: str, reason: str, replaced_run_id: str | None
) -> None:
    """Record in the warehouse that a person restored it.

    Args:
        database: A connection; the caller must hold the lock.
        at: The time, UTC.
        source: What it was restored from.
        reason: Why, for people.
        replaced_run_id: The last validated run of the file that was replaced.
    """
    last = database.rows(_LAST_RUN)[0][0]
    database.insert(
        f"{DATASET}.{TABLE} (restored_at, source, reason, last_run_id, replaced_run_id)",
        [(at, source, reason, last, replaced_run_id)],
    )
