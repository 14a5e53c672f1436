"""The overview: the figures that answer at a glance, each with a way to its rows."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pipelines.ops.report import age_charts, month_charts
from warehouse.errors import NoLedger, WarehouseError
from warehouse.ledger.change import Status
from warehouse.shared_reader import SharedReader

from .access import viewed
from .roles import Identity
from .services import Console


def _overview(console: Console, request: Request, identity: Identity) -> Response:
    """Return the overview."""
    with console.readers.open() as reader:
        built = console.built(reader)
        figures = console.figures(reader, built)
        waiting, problem = _waiting(console, reader, identity)
    return console.page(
        request,
        "overview.html",
        built=built,
        figures=figures,
        waiting=waiting,
        ledger_problem=problem,
        month_charts=month_charts,
        age_charts=age_charts,
    )


def _waiting(console: Console, reader: SharedReader, identity: Identity) -> tuple[int, str]:
    """Return how many changes wait for an approval, and why that is unknown, for the overview."""
    try:
        with console.ledger(reader, identity) as ledger:
            return len(ledger.changes(frozenset({Status.PROPOSED}))), ""
    except NoLedger:
        return 0, ""
    except WarehouseError as error:  # the figures are shown in any case
        return 0, str(error)


overview = viewed(_overview)
