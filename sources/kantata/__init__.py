"""Billing milestones of Kantata OX, with the projects, tasks, invoices and references they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import dlt
from dlt.common.schema.typing import TColumnSchema, TTableSchemaColumns
from dlt.extract.items import DataItemWithMeta
from dlt.sources import DltResource

from .api.reader import KantataReader
from .api.transport import OnRequest, RequestLog
from .extract.context import ExtractContext
from .extract.scan import Progress
from .extract.strategies import read_account
from .report import RejectedRecord, Report
from .request import ExtractRequest
from .schema import Kind, columns_and_key
from .settings import API_URL
from .state import EmptyState, WarehouseState
from .transform.rows import Batch

__all__ = [
    "EmptyState",
    "ExtractRequest",
    "KantataReader",
    "RejectedRecord",
    "Report",
    "RequestLog",
    "WarehouseState",
    "kantata",
    "loaded_before",
]


@dlt.source(name="kantata", max_table_nesting=0)
def kantata(
    kantata_api_url: str = API_URL,
    kantata_access_token: str = dlt.secrets.value,
    requests_in_flight: int = 4,
    requests_per_second: float = 0.0,
    backoff_seconds: float = 2.0,
    *,
    state: WarehouseState | None = None,
    request: ExtractRequest | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
    on_request: OnRequest | None = None,
) -> DltResource:
    """Return the dlt source of an account's billing milestones, as merges into flat tables.

    Args:
        kantata_api_url: The API's address.
        kantata_access_token: A bearer token. The source reads what the token's user can see.
        requests_in_flight: Concurrent requests of a full scan, 1 to 200.
        requests_per_second: The greatest rate; 0 is no limit. Kantata's limits are not public.
        backoff_seconds: The first wait after a failure; doubles each time. Retry-After takes
            precedence.
        state: What the warehouse holds, so that only changes are loaded. Without it, everything is.
        request: What this run should do. Without it, a full scan.
        report: Is filled with what the run found.
        progress: Called after each page of a scan.
        note: Called with one line of text: the kind of run and why, and each retry.
        on_request: Called after each request.

    Returns:
        One resource that feeds every raw table.

    Raises:
        KantataError: Its class says what to do next. Nothing is loaded then.
    """
    reader = KantataReader(
        kantata_api_url,
        kantata_access_token,
        requests_per_second=requests_per_second,
        backoff_seconds=backoff_seconds,
        on_retry=note,
        on_request=on_request,
    )
    context = ExtractContext(
        reader=reader,
        state=state or EmptyState(),
        request=request or ExtractRequest(),
        report=report or Report(),
    )
    batches = read_account(
        context, requests_in_flight=requests_in_flight, progress=progress, note=note
    )
    return _resource(batches)


@dlt.source(name="kantata", max_table_nesting=0)
def loaded_before(batches: Iterable[Batch]) -> DltResource:
    """Return a dlt source of rows as an earlier run loaded them, for another warehouse.

    Args:
        batches: The name of a raw table, and some of its rows; each row once.

    Returns:
        One resource that feeds every raw table, as that of ``kantata`` does.
    """
    return _resource(batches)


def _resource(batches: Iterable[Batch]) -> DltResource:
    """Return the one dlt resource of the source, which feeds every raw table from batches."""
    return dlt.resource(map(_loadable, batches), name="billing_milestones")


def _loadable(batch: Batch) -> DataItemWithMeta:
    """Mark a batch for dlt with the raw table it goes to and how it is merged into it."""
    table, rows = batch
    columns, key = columns_and_key(table)
    hints = dlt.mark.make_hints(
        table_name=table,
        primary_key=key,
        write_disposition={"disposition": "merge", "strategy": "delete-insert"},
        columns=_dlt_columns(columns, key),
    )
    return dlt.mark.with_hints(rows, hints, create_table_variant=True)


def _dlt_columns(columns: dict[str, Kind], key: tuple[str, ...]) -> TTableSchemaColumns:
    """Describe the source's declared columns to dlt; of rows with one key, the later read wins."""
    described: dict[str, Any] = {}
    for name, kind in columns.items():
        hint: TColumnSchema = {"data_type": kind.dlt_type, "nullable": name not in key}  # type: ignore[typeddict-item]
        if kind is Kind.UNIT:
            hint |= {"precision": 12, "scale": 6}
        if name == "observed_at":
            hint["dedup_sort"] = "desc"
        described[name] = hint
    return described
