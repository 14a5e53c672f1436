"""When a create of unknown outcome may be sent again: for each history of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.writeback.resend import (
    corrected_look,
    look_at,
    resends_after,
    throttled_at,
    why_not_again,
)
from warehouse.ledger.change import Action, Change, Status

NOW = datetime(2027, 1, 2, 12, tzinfo=UTC)
WAIT = timedelta(minutes=10)
NONE = timedelta(0)
SECOND = timedelta(seconds=1)


def create(
    resends: int = 0, looked_at: datetime | None = None, sent_at: datetime | None = None
) -> Change:
    """A create that was sent an hour ago, unless it says when."""
    return Change(
        action=Action.CREATE,
        milestone_id=None,
        workspace_id="3",
        currency="USD",
        after={"title": "Go-live"},
        before={},
        reason="as agreed",
        proposer="ann",
        change_id="c1",
        status=Status.UNKNOWN,
        attempts=resends + 1,
        sent_at=sent_at or NOW - timedelta(hours=1),
        looked_at=looked_at,
        resends=resends,
    )


AGAIN = {
    "a create that nobody looked for waits from now on": (create(), WAIT, "after 12:10:00 UTC"),
    "a create that nobody looked for is looked for, though there is no wait": (
        create(), NONE, "after 12:00:00 UTC",
    ),
    "a create that was just looked for waits": (
        create(looked_at=NOW), WAIT, "after 12:10:00 UTC",
    ),
    "a create waits until the last second": (
        create(looked_at=NOW - WAIT + SECOND), WAIT, "after 12:00:01 UTC",
    ),
    "a create that was looked for a wait ago is sent again": (
        create(looked_at=NOW - WAIT), WAIT, "",
    ),
    "a create that was looked for is sent again at once, if there is no wait": (
        create(looked_at=NOW), NONE, "",
    ),
    "a look of the future does not count without a wait": (
        create(looked_at=NOW + SECOND), NONE, "",
    ),
    "a create that was sent twice is left to a person": (
        create(resends=1, looked_at=NOW - WAIT), WAIT, "sent twice",
    ),
    "a create that was sent twice is left to a person before it is looked for": (
        create(resends=1), NONE, "reconcile c1 --created",
    ),
    "a create that was only throttled is sent again": (
        create(looked_at=NOW - WAIT, sent_at=NOW - WAIT), WAIT, "",
    ),
    "a create that was sent twice, and then throttled, is sent again": (
        create(resends=1, looked_at=NOW - WAIT, sent_at=NOW - WAIT), WAIT, "",
    ),
    "a create that was sent three times, and then throttled, is left to a person": (
        create(resends=2, looked_at=NOW - WAIT, sent_at=NOW - WAIT), WAIT, "sent twice",
    ),
    "a throttled create waits, too": (
        create(looked_at=NOW, sent_at=NOW), WAIT, "after 12:10:00 UTC",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "wait", "words"), AGAIN.values(), ids=AGAIN)
def test_sending_again(change: Change, wait: timedelta, words: str) -> None:
    """The reason names the time, or what a person must do; without one it is sent again."""
    why = why_not_again(change, NOW, wait)
    assert words in why
    assert bool(why) == bool(words)


RESENDS = {
    "the first time": (create(looked_at=NOW), 1),
    "the first time, before it was looked for": (create(), 1),
    "the second time": (create(resends=1, looked_at=NOW), 2),
    "after it was throttled": (create(looked_at=NOW, sent_at=NOW), 0),
    "after it was sent again, and throttled": (create(resends=1, looked_at=NOW, sent_at=NOW), 1),
}


@pytest.mark.parametrize(("change", "resends"), RESENDS.values(), ids=RESENDS)
def test_resends_are_counted(change: Change, resends: int) -> None:
    """A throttled create was not executed, so sending it again does not count."""
    assert resends_after(change) == resends


def test_a_throttled_create_counts_as_looked_for() -> None:
    """Its time is that of its sending; a change that was never sent has none."""
    assert throttled_at(create(sent_at=NOW)) == NOW.isoformat()
    never = Change(**vars(create()) | {"sent_at": None})
    assert throttled_at(never) is None
    assert resends_after(never) == 1


CORRECTED = {
    "a throttled create stays throttled": (create(looked_at=NOW + WAIT, sent_at=NOW + WAIT), 0),
    "a look before the correction does not make it throttled": (create(looked_at=NOW - WAIT), 1),
    "a look at the time of the correction does not, either": (create(looked_at=NOW), 1),
    "a look of the future does not, either": (create(looked_at=NOW + WAIT), 1),
    "a create that nobody looked for": (create(), 1),
}


@pytest.mark.parametrize(("change", "resends"), CORRECTED.values(), ids=CORRECTED)
def test_a_corrected_clock_changes_no_count(change: Change, resends: int) -> None:
    """A create that was throttled stays so, no other becomes so, and none waits for the future."""
    corrected = replace(change, sent_at=NOW, looked_at=corrected_look(change, NOW))
    assert resends_after(corrected) == resends_after(change) == resends
    assert (corrected.looked_at is None) == (change.looked_at is None)
    assert corrected.looked_at is None or corrected.looked_at < NOW + SECOND


def test_a_look_at_the_time_of_sending_is_no_throttling() -> None:
    """Without a wait, both can have the same time."""
    change = create(sent_at=NOW)
    just_after = NOW + timedelta(microseconds=1)
    assert resends_after(replace(change, looked_at=look_at(change, NOW))) == 1
    assert look_at(change, NOW) == just_after
    assert corrected_look(create(looked_at=NOW + WAIT), NOW) == just_after
    assert look_at(change, NOW + SECOND) == NOW + SECOND
