"""Copying one run: the tables that changed, then ``published_runs``, then removing what is old.

Until ``published_runs`` is written, readers see the run before. If the copy ends anywhere, the next
one completes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa

from warehouse.database import Database
from warehouse.errors import WarehouseError
from warehouse.raw import runs
from warehouse.raw.lake_copies import PUBLISHED_RUNS, Copied, LakeState, Queryable
from warehouse.target import LakeTarget

from .delta import DeltaStore, Opened
from .failures import LakeFailure, lake_failure
from .published_runs import PublishedTable, read_published, still_readable, write_published
from .source import Contents, LakeSource, open_source, read_batches, read_contents
from .tables import LakeTable, lake_tables


@dataclass(frozen=True, kw_only=True)
class CopyRequest:
    """What to copy, and how.

    Args:
        lake: Where to.
        run_id: The run that the warehouse shows.
        account: The Kantata account of the warehouse, for people.
        now: The clock of this machine, UTC.
        check: Called between batches; raises an error if the copy must end.
    """

    lake: LakeTarget
    run_id: str
    account: str
    now: Callable[[], datetime]
    check: Callable[[], None]


class LakeCopy:
    """One copy of the warehouse to the lake.

    Args:
        database: A connection to the warehouse; the caller must hold its lock.
        request: What to copy.
        state: What the warehouse knows of the lake.
    """

    def __init__(self, database: Database, request: CopyRequest, state: LakeState) -> None:
        self._database, self._request = database, request
        self._store = DeltaStore(request.lake)
        #: What the warehouse knows of the lake now, however the copy ends.
        self.state = state
        #: Why old versions were not removed, although the run was published; None if they were.
        self.vacuum_failure: LakeFailure | None = None

    def run(self) -> None:
        """Copy the run.

        Raises:
            LakeFailure: If it was not published.
            WarehouseError: If the warehouse cannot be read.
        """
        opened = self._store.open(PUBLISHED_RUNS)
        earlier = read_published(self._store, opened)
        request = self._request
        check_lineage(self._database, request.lake.url, request.account, earlier)
        tables = lake_tables(self._database)
        with open_source(self._database) as source:
            for table in tables:
                self._request.check()
                self._copy(source, table)
        rows, opened = self._publish(tables, opened, earlier)
        try:
            self._remove_old_versions(rows, opened)
        except LakeFailure as failure:
            self.vacuum_failure = LakeFailure(
                f"the run was published, but old versions were not removed: {failure}",
                is_passing=failure.is_passing,
            )

    def _copy(self, source: LakeSource, table: LakeTable) -> None:
        """Copy one table, unless it is there already."""
        contents, opened = read_contents(source, table), self._store.open(table.path)
        if _holds(opened, self.state.tables.get(table.full_name), contents):
            return
        if opened is not None and not opened.is_ours:
            raise LakeFailure(
                f"{self._store.address(table.path)} is a table of another program: set LAKE__URL "
                "to another folder"
            )
        written = self._overwrite(source, table, opened)
        self.state = self.state.with_table(
            Copied(
                table_name=table.full_name,
                url=self._request.lake.url,
                run_id=self._request.run_id,
                copied_at=self._request.now(),
                row_count=contents.rows,
                amounts=contents.amounts,
                digest=contents.digest,
                delta_id=written.delta_id,
                version=written.version,
                log_version=written.version,
            )
        )

    def _overwrite(self, source: LakeSource, table: LakeTable, opened: Opened | None) -> Opened:
        """Overwrite one table with its rows; raise the error of reading them, if there is one."""
        rows = _CheckedRows(read_batches(source, table), self._request.check)
        reader = pa.RecordBatchReader.from_batches(table.arrow, iter(rows))
        try:
            return self._store.overwrite(table.path, opened, reader, self._request.run_id)
        except LakeFailure:
            if isinstance(rows.error, pa.ArrowException):
                raise LakeFailure(f"{table.full_name} has a value that does not fit the type of "
                    f"its column in the lake: {lake_failure(rows.error)}") from None  # fmt: skip
            if rows.error is not None:
                raise rows.error from None
            raise

    def _publish(
        self, tables: list[LakeTable], opened: Opened | None, earlier: list[PublishedTable]
    ) -> tuple[list[PublishedTable], Opened]:
        """Write to ``published_runs`` that the tables as they are now belong to this run."""
        request, now = self._request, self._request.now()
        request.check()
        copied = [self.state.tables[table.full_name] for table in tables]
        rows = still_readable(
            (row for row in earlier if row.run_id != request.run_id),
            now=now,
            keep=request.lake.keep,
        )
        rows += [_published(each, request, now) for each in copied]
        opened = write_published(self._store, opened, rows, request.run_id)
        self.state = LakeState(
            published=replace(
                self.state.published,
                run_id=request.run_id,
                copied_at=now,
                row_count=len(rows),
                delta_id=opened.delta_id,
                version=opened.version,
                log_version=opened.version,
                failing_since=None,
                problem=None,
            ),
            tables={each.table_name: each for each in copied},
        )
        return rows, opened

    def _remove_old_versions(self, rows: list[PublishedTable], published_runs: Opened) -> None:
        """Remove what no published run needs, if it was not done for half of ``keep``.

        A version that the last published run shows is kept, whatever happened since. So nothing is
        removed before a copy is complete.
        """
        published, keep = self.state.published, self._request.lake.keep
        now = self._request.now()
        if published.vacuumed_at and now - published.vacuumed_at < keep / 2:
            return
        for copied in tuple(self.state.tables.values()):
            self._request.check()
            versions = {row.version for row in rows if row.table_name == copied.table_name}
            opened = self._store.open(copied.table_name.replace(".", "/"))
            if opened is None or opened.version != copied.log_version:
                continue  # another program wrote it: the next copy writes it again
            last = self._store.vacuum(opened, keep, versions)
            self.state = self.state.with_table(replace(copied, log_version=last))
        last = self._store.vacuum(published_runs, keep, {published_runs.version})
        published = replace(self.state.published, log_version=last, vacuumed_at=now)
        self.state = replace(self.state, published=published)


class _CheckedRows:
    """Batches that are read while delta-rs writes them; it keeps only the text of an error.

    Args:
        batches: The batches.
        check: Called before each of them.
    """

    def __init__(self, batches: Iterator[pa.RecordBatch], check: Callable[[], None]) -> None:
        self._batches, self._check = batches, check
        #: The error that ended the reading; None if there was none.
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches."""
        try:
            for batch in self._batches:
                self._check()
                yield batch
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


def check_lineage(
    warehouse: Queryable | None, url: str, account: str, published: list[PublishedTable]
) -> None:
    """Check that the lake shows a run of this warehouse, or none.

    Args:
        warehouse: The warehouse; None if there is none yet.
        url: The lake.
        account: The Kantata account of the warehouse, for people.
        published: The rows of ``published_runs``.

    Raises:
        LakeFailure: If it shows one that this warehouse does not know.
    """
    last = max(published, key=lambda row: row.run_id, default=None)
    if last is None or (warehouse is not None and runs.is_known(warehouse, last.run_id)):
        return
    raise LakeFailure(
        f"the lake in {url} shows run {last.run_id} of {last.account or 'an unknown account'}, "
        f"which this warehouse of {account} does not know: nothing was written. Set "
        "LAKE__URL to another folder; or, if this warehouse replaces that one or was restored, "
        f"remove the folder {PUBLISHED_RUNS} there"
    )


def _holds(opened: Opened | None, copied: Copied | None, contents: Contents) -> bool:
    """Return whether a table in the lake holds these contents, as this warehouse wrote them."""
    return (
        opened is not None
        and copied is not None
        and copied.digest == contents.digest
        and copied.delta_id == opened.delta_id
        and copied.log_version == opened.version
    )


def _published(copied: Copied, request: CopyRequest, now: datetime) -> PublishedTable:
    """Return the row of ``published_runs`` for a table."""
    if copied.version is None or copied.row_count is None:
        raise WarehouseError(
            f"the warehouse does not know which version of {copied.table_name} it wrote"
        )
    return PublishedTable(
        run_id=request.run_id,
        table_name=copied.table_name,
        version=copied.version,
        rows=copied.row_count,
        amount_by_currency=copied.amounts,
        published_at=now,
        account=request.account,
    )
