"""The digest is due once a week, from its day on, and no week is lost."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from pipelines.ops.digest import is_due

MONDAY = date(2026, 11, 30)


@pytest.mark.parametrize(
    ("today", "last_sent", "due"),
    [
        (0, None, True),  # the first one, on its day
        (1, None, False),  # the first one waits for its day
        (6, None, False),
        (0, 0, False),  # sent today
        (0, -1, True),  # sent on the day before, late
        (0, -7, True),
        (3, 0, False),
        (3, -7, True),  # no run has succeeded from Monday to Thursday
        (6, -1, True),
        (7, 3, True),
        (2, 9, False),  # written while a clock was wrong, and not its day
        (0, 9, True),
    ],
)
def test_is_due(today: int, last_sent: int | None, due: bool) -> None:
    """Days count from a Monday; the digest is for Mondays."""
    last = None if last_sent is None else MONDAY + timedelta(days=last_sent)
    assert is_due("monday", MONDAY + timedelta(days=today), last) is due


def test_once_a_week_whatever_runs_succeed() -> None:
    """Over a year of runs on nine days of ten, one digest is sent for each week."""
    last, sent = None, 0
    for number in range(7 * 52):
        day = MONDAY + timedelta(days=number)
        if number % 10 != 7 and is_due("wednesday", day, last):
            last, sent = day, sent + 1
    assert sent == 52
