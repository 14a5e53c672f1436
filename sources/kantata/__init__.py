"""Billing milestones of Kantata OX, with the projects, tasks, invoices and references they name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Literal

import dlt
from dlt.sources import DltResource

from .account_read import AccountRead, read_items
from .api.reader import KantataReader
from .api.transport import OnRequest, RequestLog
from .destination import AUTO
from .errors import KantataMisconfigured
from .extract.scan import Progress
from .extract.strategies import Chunk
from .report import RejectedRecord, Report
from .request import ExtractRequest
from .resources import ReadItem, account_resources, marked
from .settings import API_URL, MOST_IN_FLIGHT
from .transform.rows import Batch
from .warehouse_state import EmptyState, WarehouseState

__all__ = [
    "AccountRead",
    "EmptyState",
    "ExtractRequest",
    "KantataReader",
    "RejectedRecord",
    "Report",
    "RequestLog",
    "WarehouseState",
    "kantata",
    "kantata_changes",
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
    state: WarehouseState | Literal["auto"] | None = AUTO,
    request: ExtractRequest | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
    on_request: OnRequest | None = None,
) -> list[DltResource]:
    """Return the dlt source of an account's billing milestones: flat tables, loaded by merge.

    Args:
        kantata_api_url: The API's address.
        kantata_access_token: A bearer token. The source reads what the token's user can see.
        requests_in_flight: Concurrent requests of a full scan, 1 to 200.
        requests_per_second: The greatest rate; 0 is no limit. Kantata's limits are not public.
        backoff_seconds: The first wait after a failure; doubles each time. Retry-After takes
            precedence.
        state: What is loaded already, so that only changes are loaded. ``auto`` asks the
            destination of the running pipeline. With None, tables are replaced, without history.
        request: What this run should do, if not what is due.
        report: Is filled with what the run found. Without it, dlt logs its warnings and rejects.
        progress: Called after each page of a scan.
        note: Called with one line of text: the kind of run and why, and each retry.
        on_request: Called after each request.

    Returns:
        A resource for each raw table, and the read of the account that they share.

    Raises:
        KantataError: Its class says what to do next. Nothing is loaded then.
    """

    def new_reader() -> KantataReader:
        return KantataReader(
            kantata_api_url,
            kantata_access_token,
            requests_per_second=requests_per_second,
            backoff_seconds=backoff_seconds,
            on_retry=note,
            on_request=on_request,
        )

    new_reader()  # checks the address and the token before anything runs
    if not 1 <= requests_in_flight <= MOST_IN_FLIGHT:
        raise KantataMisconfigured(
            f"requests_in_flight is {requests_in_flight}; it must be 1 to {MOST_IN_FLIGHT}"
        )
    if isinstance(state, str) and state != AUTO:
        raise KantataMisconfigured(
            f'state is "{state}"; it must be "auto", None or an object with the state'
        )
    read = AccountRead(
        new_reader=new_reader,
        state=state,
        request=request or ExtractRequest(),
        report=report,
        requests_in_flight=requests_in_flight,
        progress=progress,
        note=note,
    )
    return account_resources(read.items, keeps_history=state is not None)


@dlt.source(name="kantata", max_table_nesting=0)
def kantata_changes(
    changes: Iterable[Chunk], report: Report, empty: Collection[str] = frozenset()
) -> list[DltResource]:
    """Return the dlt source of a read that has begun already: as ``kantata``, loaded by merge.

    A merge writes each row twice, first to a staging table. A first load needs none: a table that
    is empty is replaced instead, unless two of the rows have the same key.

    To set up a load with dlt takes as long as to read that nothing changed, so ``milestones sync``
    does it only when it has rows.

    Args:
        changes: The rows, from ``AccountRead.changes``.
        report: The report of that read.
        empty: Tables without rows, as ``LoadedState.empty_tables`` names them.
    """

    def items() -> Iterator[ReadItem | None]:
        return read_items(changes, report, keeps_history=True, empty=empty)

    return account_resources(items, keeps_history=True)


@dlt.source(name="kantata", max_table_nesting=0)
def loaded_before(batches: Iterable[Batch]) -> DltResource:
    """Return a dlt source of rows as an earlier run loaded them, for another warehouse.

    Args:
        batches: The name of a raw table, and some of its rows; each row once.

    Returns:
        One resource that feeds every raw table, as that of ``kantata`` does.
    """
    resource = (marked(table, rows) for table, rows in batches)
    return dlt.resource(resource, name="billing_milestones")
