"""A row of the ledger with values that this program never writes is named, not passed on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from sqlalchemy import RowMapping

from warehouse.errors import LedgerDamaged
from warehouse.ledger.change import Action, Change, Event, Status
from warehouse.ledger.rows import change_from_row, change_values, event_from_row, event_values

AT = datetime(2027, 1, 1, 12, tzinfo=UTC)
CHANGE = Change(
    Action.UPDATE, "7", "3", "USD", {"title": "é"}, {"title": "old"}, "because", "Ann",
    change_id="c1", proposed_at=AT,
)  # fmt: skip
EVENT = Event(4, "c1", AT, None, Status.PROPOSED, "Ann", "because", None, None)


def row(values: dict[str, object], **altered: object) -> RowMapping:
    """A row with these values."""
    return cast("RowMapping", values | altered)


def test_a_row_is_read_as_it_was_written() -> None:
    """Changes and events survive being written."""
    assert change_from_row(row(change_values(1, CHANGE))) == CHANGE
    assert event_from_row(row(event_values(EVENT))) == EVENT


WRONG: dict[str, dict[str, Any]] = {
    "an unknown status": {"status": "done"},
    "an unknown action": {"action": "move"},
    "half JSON": {"fields_before": "{"},
    "no JSON object": {"fields_after": "[1, 2]"},
    "no time": {"proposed_at": "yesterday"},
    "nothing": {"twins": None},
}


@pytest.mark.parametrize("altered", WRONG.values(), ids=WRONG)
def test_a_damaged_change(altered: dict[str, Any]) -> None:
    """The change is named."""
    with pytest.raises(LedgerDamaged, match="its change c1 has an invalid value"):
        change_from_row(row(change_values(1, CHANGE), **altered))


def test_a_damaged_event() -> None:
    """The event is named."""
    with pytest.raises(LedgerDamaged, match="its event 4 has an invalid value"):
        event_from_row(row(event_values(EVENT), at="now"))
