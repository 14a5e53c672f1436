"""What the running dlt pipeline has loaded already, asked of its destination."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from weakref import WeakSet

import dlt
import pyarrow as pa
from dlt.common.storages.exceptions import CurrentLoadPackageStateNotAvailable
from dlt.common.storages.load_package import TLoadPackage
from dlt.destinations.sql_client import SqlClientBase

from .errors import KantataMisconfigured
from .loaded_state import LoadedState
from .report import Report
from .request import ExtractRequest
from .schema import HISTORY_TABLES, LOADED
from .warehouse_state import EmptyState, WarehouseState

AUTO: Literal["auto"] = "auto"
_ASKABLE = ("duckdb", "postgres")  # destinations whose SQL LoadedState speaks
_LAST_RUN = "last_run"  # key in the state that dlt keeps for the source
_ROWS_PER_BATCH = 50_000
_DLT_TYPES = {
    "varchar": "text",
    "character varying": "text",
    "boolean": "bool",
    "double precision": "double",
    "timestamp with time zone": "timestamp",
    "numeric": "decimal",
}


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a read starts from.

    Args:
        state: What is loaded already.
        request: What to read.
        keeps_history: Whether rows are merged into what is loaded, or replace it.
        load_id: The load package that dlt extracts to, if it is asked of dlt.
        remembers: Whether a complete read is remembered for the next one.
    """

    state: WarehouseState
    request: ExtractRequest
    keeps_history: bool = True
    load_id: str | None = None
    remembers: bool = False

    def remember(self, report: Report) -> None:
        """Remember a complete read in dlt's state: the next one continues where it began.

        Args:
            report: The report of the read.
        """
        at = report.server_time
        if not self.remembers or at is None or report.mode not in ("scan", "feed"):
            return
        scanned_at = at if report.mode == "scan" else self.request.scanned_at
        details_at = at if report.read_project_details else self.request.project_details_read_at
        dlt.current.source_state()[_LAST_RUN] = {
            "load_id": self.load_id,
            "cursor": at.isoformat(),
            "scanned_at": scanned_at and scanned_at.isoformat(),
            "project_details_read_at": details_at and details_at.isoformat(),
        }


@contextmanager
def start_of(
    state: WarehouseState | Literal["auto"] | None, request: ExtractRequest
) -> Iterator[Start]:
    """Open what a read starts from, as long as it reads.

    Args:
        state: What is loaded already; ``auto`` to ask the destination, None to replace it.
        request: What to read.

    Raises:
        KantataMisconfigured: If the pipeline has no destination, or versions would be lost.
    """
    package = _load_package()
    if not (state is None or state == AUTO):
        yield Start(state=state, request=request)
    elif package is None:  # iterated without a pipeline
        yield Start(state=EmptyState(), request=request, keeps_history=state == AUTO)
    elif state == AUTO and _can_be_asked():
        with _loaded(package) as loaded:
            yield _start_from(loaded, request, package)
    else:
        _check_no_history(package)
        yield Start(
            state=EmptyState(), request=request, keeps_history=False, load_id=package["load_id"]
        )


def _load_package() -> TLoadPackage | None:
    """Return the load package that the running pipeline extracts to; None if none is running."""
    with suppress(CurrentLoadPackageStateNotAvailable):
        return dlt.current.load_package_state()
    return None


def _can_be_asked() -> bool:
    """Return whether the running pipeline's destination can say what it holds."""
    destination = dlt.current.pipeline().destination
    if destination is None:
        raise KantataMisconfigured(
            "the pipeline has no destination yet, and the source asks it what is loaded: name the "
            "destination when you create the pipeline"
        )
    return destination.destination_type.rpartition(".")[2] in _ASKABLE


def _emptied_tables(package: TLoadPackage) -> set[str]:
    """Return the tables that dlt drops or empties before it loads, since it was asked to."""
    state: dict[str, Any] = dict(package["state"])
    emptied = [*(state.get("dropped_tables") or ()), *(state.get("truncated_tables") or ())]
    return {table["name"] for table in emptied}


def _check_no_history(package: TLoadPackage) -> None:
    """Refuse to replace tables next to which earlier loads have kept versions."""
    if _can_be_asked():
        with _loaded(package) as loaded:
            has_versions = loaded.has_versions()
    else:
        schema = dlt.current.source_schema()
        names = {schema.naming.normalize_tables_path(table) for table in HISTORY_TABLES}
        seen = {table["name"] for table in schema.data_tables(seen_data_only=True)}
        has_versions = bool(names & (seen - _emptied_tables(package)))
    if has_versions:
        raise KantataMisconfigured(
            f"dataset {dlt.current.pipeline().dataset_name} has versions of milestones, and the "
            "tables they belong to would be replaced: load into another dataset, or drop them "
            'with refresh="drop_sources"'
        )


@contextmanager
def _loaded(package: TLoadPackage) -> Iterator[LoadedState]:
    """Ask the destination, with dlt's client, what the pipeline's dataset has loaded."""
    pipeline, schema = dlt.current.pipeline(), dlt.current.source_schema()
    is_known = schema.name in pipeline.schemas
    client = pipeline.sql_client(schema.name) if is_known else pipeline.sql_client()
    with client, closing(DestinationDatabase(client)) as database:
        _check_names(database)
        yield LoadedState(
            database,
            database.dataset,
            naming=schema.naming.normalize_tables_path,
            ignored=_emptied_tables(package),
        )


def _check_names(database: DestinationDatabase) -> None:
    """Refuse a DuckDB file named like the dataset, before the account is read in vain."""
    ((catalog,),) = database.rows("select current_database()")
    if database.is_duckdb and catalog.lower() == database.name.lower():
        raise KantataMisconfigured(
            f"the DuckDB file cannot be named like the dataset, {database.name}: DuckDB confuses "
            "them. Give the pipeline or the dataset another name"
        )


def _start_from(loaded: LoadedState, request: ExtractRequest, package: TLoadPackage) -> Start:
    """Return the start of a read that continues where the last complete one of all tables began."""
    last: dict[str, str] = dlt.current.source_state().get(_LAST_RUN) or {}
    may_continue = request.cursor is None and not _emptied_tables(package)
    if last and may_continue and loaded.has_load(last["load_id"]):
        details_at = last.get("project_details_read_at")  # earlier releases did not read any
        request = replace(
            request,
            cursor=datetime.fromisoformat(last["cursor"]),
            scanned_at=datetime.fromisoformat(last["scanned_at"]),
            has_validated_run=True,
            project_details_read_at=datetime.fromisoformat(details_at) if details_at else None,
        )
    return Start(
        state=loaded,
        request=request,
        load_id=package["load_id"],
        remembers=dlt.current.source().resources.selected.keys() >= LOADED.keys(),
    )


class DestinationDatabase:
    """The dataset of a pipeline, as ``LoadedState`` reads it.

    Args:
        client: dlt's SQL client, opened.
    """

    def __init__(self, client: SqlClientBase[Any]) -> None:
        self._client = client
        self._read: WeakSet[Generator[pa.RecordBatch, None, None]] = WeakSet()
        self.name = client.dataset_name
        self.dataset = client.fully_qualified_dataset_name()
        self.is_duckdb = client.capabilities.sqlglot_dialect == "duckdb"

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query; the values replace its ``%s``."""
        with self._client.execute_query(sql, *values) as cursor:
            return [tuple(row) for row in cursor.fetchall()]

    def batches(self, sql: str, *values: object) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query in bounded batches, until this object is closed."""
        batches = self._batches(sql, *values)
        self._read.add(batches)
        return batches

    def _batches(self, sql: str, *values: object) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows of a query as Arrow batches of bounded size."""
        with (
            self._client.execute_query(sql, *values) as cursor,
            closing(cursor.iter_arrow(chunk_size=_ROWS_PER_BATCH)) as tables,
        ):
            for table in tables:
                yield from table.to_batches()

    def close(self) -> None:
        """Close batches not read to their end: an error's traceback may keep them, and the file."""
        for batches in tuple(self._read):
            batches.close()

    def tables(self) -> dict[str, dict[str, str]]:
        """Return the columns of every table of the dataset: dlt types by table and column."""
        tables: dict[str, dict[str, str]] = {}
        for table, column, data_type in self.rows(
            "select table_name, column_name, data_type from information_schema.columns "
            "where table_schema = %s and table_catalog = current_database() "
            "order by table_name, ordinal_position",
            self.name,
        ):
            name = data_type.lower().partition("(")[0]
            tables.setdefault(table, {})[column] = _DLT_TYPES.get(name, name)
        return tables
