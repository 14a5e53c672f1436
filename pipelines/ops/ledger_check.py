"""The preflight's check of the ledger: nobody altered it, and it has all events of its copy."""

from __future__ import annotations

from pipelines.runtime.clock import utc_now
from pipelines.runtime.exit_codes import ExitCode
from warehouse.errors import NoWarehouse, WarehouseError
from warehouse.ledger.connection import connect_ledger, ledger_exists
from warehouse.ledger.mirror import CopyEnd, copy_end
from warehouse.ledger.recovery import LostLedger, ensure_complete
from warehouse.ledger.verification import ledger_problems
from warehouse.reader import open_reader
from warehouse.target import Target
from warehouse.words import counted

_LOST = "it is missing or empty, but its copy in the warehouse is not: the next command restores it"


def check_ledger(target: Target) -> tuple[str, int]:
    """Check in the preflight that the ledger can be trusted; return what was found and a code."""
    try:
        copy = _copy_end(target)
        if not ledger_exists(target.ledger_url):
            if not copy.is_empty:
                return _LOST, ExitCode.ACTION_REQUIRED
            return "no ledger yet; the first proposal or close creates it", ExitCode.DONE
        with connect_ledger(target.ledger_url, utc_now) as ledger:
            ensure_complete(ledger, copy)
            problems, events = ledger_problems(ledger, settled_too=False), len(ledger.events())
    except LostLedger:
        return _LOST, ExitCode.ACTION_REQUIRED
    except WarehouseError as error:
        return str(error), error.exit_code
    if problems:
        return f"it was altered: {'; '.join(problems)}", ExitCode.FAILED
    return f"{counted(events, 'event')}: all are as they were recorded", ExitCode.DONE


def _copy_end(target: Target) -> CopyEnd:
    """Return the end of the copy to check the ledger against; an empty one if there is none."""
    try:
        with open_reader(target) as warehouse:
            return copy_end(warehouse)
    except NoWarehouse:
        return CopyEnd()
