"""The milestones of a list as CSV, and as a workbook in which changes can be prepared."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from anyio import CapacityLimiter
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from warehouse.milestone_list import all_listed, totals

from .access import viewed
from .milestones import wanted_milestones
from .roles import Identity
from .services import Console

COLUMNS = (
    "id", "title", "workspace_id", "project", "client", "status", "billing_type",
    "date_to_invoice", "days_overdue", "currency", "amount", "amount_in_cents", "invoice_id",
)  # fmt: skip
_MOST_AT_ONCE = 4  # files: the others wait outside the threads that answer pages
_CSV = "text/csv; charset=utf-8"
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def _csv_file(console: Console, request: Request, _identity: Identity) -> Response:
    """Return the file of a list as CSV, exactly."""
    wanted = wanted_milestones(request)
    with (
        _new_file(".csv") as path,
        console.readers.open() as reader,
        path.open("w", encoding="utf-8-sig", newline="") as out,
    ):
        built = console.built(reader)
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        with closing(all_listed(reader, wanted, COLUMNS)) as pages:
            for rows in pages:
                writer.writerows(rows)
    return _sent(path, _CSV, f"milestones-{built.freshness.as_of}.csv")


def _workbook_file(console: Console, request: Request, _identity: Identity) -> Response:
    """Return the file of a list as a workbook, with a sheet to change its milestones in."""
    # Here, since its library needs megabytes that a console without workbooks does without.
    from pipelines.ops.list_workbook import write_list_workbook
    from pipelines.ops.workbook import MOST_ROWS

    wanted = wanted_milestones(request)
    with _new_file(".xlsx") as path, console.readers.open() as reader:
        built = console.built(reader)
        if (found := sum(total.milestones for total in totals(reader, wanted))) > MOST_ROWS:
            raise HTTPException(
                400,
                f"The list has {found:,} milestones, and a sheet holds {MOST_ROWS:,}: filter the "
                "list, or take CSV.",
            )
        with closing(all_listed(reader, wanted, COLUMNS)) as pages:
            write_list_workbook(
                path, reader, columns=COLUMNS, pages=pages, timezone=console.target.timezone
            )
    return _sent(path, _XLSX, f"milestones-{built.freshness.as_of}.xlsx")


@contextmanager
def _new_file(ending: str) -> Iterator[Path]:
    """Provide a new private file to send; remove it if it cannot be written."""
    number, name = tempfile.mkstemp(prefix="milestones-console-", suffix=ending)
    os.close(number)
    path = Path(name)
    try:
        yield path
    except BaseException:
        _remove(path)
        raise


def _remove(path: Path) -> None:
    """Remove a file that was sent, or will not be."""
    with suppress(OSError):
        path.unlink()


def _sent(path: Path, kind: str, name: str) -> Response:
    """Return the answer that sends a file, and removes it."""
    return FileResponse(
        path, media_type=kind, filename=name, background=BackgroundTask(_remove, path)
    )


_downloads = CapacityLimiter(_MOST_AT_ONCE)
csv_file = viewed(_csv_file, limiter=_downloads)
workbook_file = viewed(_workbook_file, limiter=_downloads)
