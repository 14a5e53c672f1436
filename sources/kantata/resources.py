"""The dlt resources of the source: one read of the account, and a transformer for each table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self, cast

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema.typing import TColumnSchema, TTableSchemaColumns, TWriteDispositionConfig
from dlt.extract.hints import TResourceHints
from dlt.extract.items import DataItemWithMeta
from dlt.sources import DltResource, DltSource

from .errors import KantataMisconfigured
from .schema import HISTORY_TABLES, LOADED, Kind, columns_and_key, history_columns
from .transform.rows import Batch

READ = "account"  # the resource that the tables share; it is not loaded
UNDECLARED = "undeclared_tables"  # the resource of side-loaded types that nobody declared
_MERGE: TWriteDispositionConfig = {"disposition": "merge", "strategy": "delete-insert"}
_REPLACE: TWriteDispositionConfig = {"disposition": "replace"}


@dataclass(frozen=True)
class ReadItem:
    """Rows of several raw tables that were read together.

    Args:
        tables: The rows, by table.
        keeps_history: Whether they are merged into what earlier loads left, or replace it.
        merged: Tables that must be merged after all, though they were empty.
    """

    tables: dict[str, list[pa.Table]]
    keeps_history: bool
    merged: Collection[str] = frozenset()


class TableResource(DltResource):
    """The resource of a table. A limit of it is a limit of the read that the tables share."""

    def add_limit(
        self,
        max_items: int | None = None,
        max_time: float | None = None,
        count_rows: bool | None = False,
    ) -> Self:
        """Limit the items of the read; those of a full scan grow from one page to 32."""
        read = DltResource(self._pipe.parent, dlt.mark.make_hints(), selected=False)
        read.add_limit(max_items, max_time, count_rows)
        return self


def account_resources(
    read: Callable[[], Iterable[ReadItem | None]], *, keeps_history: bool
) -> list[DltResource]:
    """Return the resources of the source.

    Args:
        read: Reads the account, each time it is called.
        keeps_history: Whether tables are merged, as far as it is known before the read.
    """
    account = DltResource.from_data(read, READ, hints=dlt.mark.make_hints(), selected=False)
    declared = [_table_resource(table, account, keeps_history) for table in LOADED]
    hints = dlt.mark.make_hints(write_disposition=_disposition(keeps_history))
    others = TableResource.from_data(_undeclared_rows, UNDECLARED, hints=hints, data_from=account)
    return [account, *declared, others]


def _table_resource(table: str, account: DltResource, keeps_history: bool) -> DltResource:
    """Return the resource of a declared table: it takes its rows from each item of the read."""

    def rows(item: ReadItem) -> Iterator[list[pa.Table] | DataItemWithMeta]:
        batches = item.tables.get(table, [])
        if table in item.merged:  # dlt loads all rows of a table as the last hint says
            merge = dlt.mark.make_hints(
                write_disposition=_MERGE, columns=_dlt_columns(table, keeps_history=True)
            )
            yield from (dlt.mark.with_hints(rows, merge) for rows in batches)
        elif batches:
            yield batches

    hints = _hints(table, keeps_history)
    return TableResource.from_data(rows, table, hints=hints, data_from=account)


def _undeclared_rows(item: ReadItem) -> Iterator[DataItemWithMeta]:
    """Yield the rows of tables that are not declared, each marked with its table."""
    for table in item.tables.keys() - LOADED.keys():
        for rows in item.tables[table]:
            yield marked(table, rows, keeps_history=item.keeps_history)


def marked(table: str, rows: pa.Table, *, keeps_history: bool = True) -> DataItemWithMeta:
    """Mark rows for dlt with the raw table they go to and how they are loaded into it."""
    hints = _hints(table, keeps_history)
    return dlt.mark.with_hints(with_required_keys(table, rows), hints, create_table_variant=True)


def _hints(table: str, keeps_history: bool) -> TResourceHints:
    """Return dlt's hints of a raw table."""
    return dlt.mark.make_hints(
        table_name=table,
        primary_key=columns_and_key(table)[1],
        write_disposition=_disposition(keeps_history),
        columns=_dlt_columns(table, keeps_history=keeps_history),
    )


def _disposition(keeps_history: bool) -> TWriteDispositionConfig:
    """Return how dlt loads a table: by merge, or as a replacement."""
    return _MERGE if keeps_history else _REPLACE


class ItemBuilder:
    """Makes the items of one read.

    Args:
        keeps_history: Whether rows are merged into what earlier loads left, or replace it.
        load_id: The load package to name in each row, as ``milestones sync`` has dlt do.
    """

    def __init__(self, *, keeps_history: bool, load_id: str | None = None) -> None:
        self._keeps_history = keeps_history
        self._load_id = load_id
        self._seen: dict[str, set[tuple[object, ...]]] = {}  # keys, by table

    def item(self, batches: Iterable[Batch], merged: Collection[str] = frozenset()) -> ReadItem:
        """Return batches as an item of the read; some tables must be merged after all."""
        tables: dict[str, list[pa.Table]] = {}
        for table, rows in batches:
            if not self._keeps_history:
                rows = self._new_rows(table, rows)
            if self._load_id:
                load_ids = pa.repeat(pa.scalar(self._load_id), rows.num_rows)
                rows = rows.append_column("_dlt_load_id", load_ids)
            if table not in HISTORY_TABLES or self._keeps_history:
                tables.setdefault(table, []).append(with_required_keys(table, rows))
        return ReadItem(tables, self._keeps_history, merged)

    def _new_rows(self, table: str, rows: pa.Table) -> pa.Table:
        """Return rows that replace a table: one for each key, without what is about history.

        A record that changes while the account is read is read twice. A merge would take the later
        row. Here the earlier one is on its way already, and stays.
        """
        seen = self._seen.setdefault(table, set())
        keys = zip(
            *(rows.column(name).to_pylist() for name in columns_and_key(table)[1]), strict=True
        )
        last = {key: position for position, key in enumerate(keys)}
        positions = [position for key, position in last.items() if key not in seen]
        new = rows.take(pa.array(positions, pa.int64()))
        seen.update(last)
        for column in history_columns(table):
            new = new.filter(pc.is_null(new.column(column)))
        return new.drop_columns(list(history_columns(table)))


def with_required_keys(table: str, rows: pa.Table) -> pa.Table:
    """Return rows whose keys are not nullable in Arrow either: dlt warns of a difference."""
    key = columns_and_key(table)[1]
    fields = [field.with_nullable(field.name not in key) for field in rows.schema]
    return pa.Table.from_arrays(rows.columns, schema=pa.schema(fields))


def set_dispositions(
    source: DltSource, *, keeps_history: bool, empty: Collection[str] = frozenset()
) -> None:
    """Set how the tables of a source are loaded, which is only known when it is read.

    Args:
        source: The source.
        keeps_history: Whether its tables are merged, or replaced.
        empty: Tables that are replaced in every case.

    Raises:
        KantataMisconfigured: If the caller set it.
    """
    for name, resource in source.resources.selected.items():
        if name != READ and resource.write_disposition not in (_MERGE, _REPLACE):
            raise KantataMisconfigured(
                f"the write disposition of {name} cannot be set to {resource.write_disposition}: "
                "the source merges tables, and with state=None it replaces them"
            )
        merges = keeps_history and name not in empty
        resource.apply_hints(write_disposition=_disposition(merges))
        if name in LOADED:
            hints = dict(cast(TTableSchemaColumns, resource.columns or {}))
            others = {n: hint for n, hint in hints.items() if n not in columns_and_key(name)[0]}
            resource.apply_hints(columns={})
            declared = _dlt_columns(name, keeps_history=keeps_history, merges=merges)
            resource.apply_hints(columns=others | declared)


def _dlt_columns(table: str, *, keeps_history: bool, merges: bool = True) -> TTableSchemaColumns:
    """Describe a table's declared columns to dlt; of rows with one key, the later read wins."""
    columns, key = columns_and_key(table)
    described: dict[str, Any] = {}
    for name, kind in columns.items():
        if name in history_columns(table) and not keeps_history:
            continue
        hint: TColumnSchema = {"data_type": kind.dlt_type, "nullable": name not in key}  # type: ignore[typeddict-item]
        if kind is Kind.UNIT:
            hint |= {"precision": 12, "scale": 6}
        if name == "observed_at" and keeps_history and merges:
            hint["dedup_sort"] = "desc"
        described[name] = hint
    return described
