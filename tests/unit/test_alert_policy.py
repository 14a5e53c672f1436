"""The alert policy: one message for each change of state, and the state that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.ops.alert_policy import Condition, JobOutcome, decide_alert
from warehouse.alert_state import AlertState

NOW = datetime(2027, 1, 2, 12, tzinfo=UTC)
AFTER = timedelta(hours=6)
WELL, PERSON, FAILED, LATE = Condition.WELL, Condition.PERSON, Condition.FAILED, Condition.LATE

UNIT = "MinorUnitChanged: one EUR"
DISK = "WarehouseUnwritable: no space on /data"
TOKEN = "KantataUnauthorized: the token is wrong"  # noqa: S105 - no token


def ago(hours: float) -> datetime:
    """The time so many hours before now."""
    return NOW - timedelta(hours=hours)


def was(
    condition: Condition, *matters: str, success: float = 1, untold: tuple[str, ...] = ()
) -> AlertState:
    """A state that began three hours ago; ``success`` is hours since the last success."""
    return AlertState(condition, matters, ago(3), ago(success), ago(1), untold)


def done(*matters: str, happened: tuple[str, ...] = ()) -> JobOutcome:
    """A run that succeeded; the matters require action."""
    return JobOutcome(3 if matters or happened else 0, matters, happened=happened)


def failed(cause: str, exit_code: int = 1, happened: tuple[str, ...] = ()) -> JobOutcome:
    """A run that failed with this error."""
    kind, _, matter = cause.partition(": ")
    return JobOutcome(exit_code, (matter,), kind, happened)


BUSY = JobOutcome(75, ("throttled",), "KantataThrottled")
STOPPED, KILLED = JobOutcome(130), JobOutcome(143)


@dataclass(frozen=True)
class Outcome:
    """The expected result of a run.

    Args:
        condition: The new state.
        says: Words of the message; None for no message.
        since: When the state began, in hours before now; None if it never did.
        matters: The matters that are stored.
        success: The last success, in hours before now.
        omits: Words the message must not have.
    """

    condition: Condition
    says: tuple[str, ...] | None = None
    since: float | None = 0
    matters: tuple[str, ...] = ()
    success: float = 0
    omits: tuple[str, ...] = ()


CASES = {
    # success
    "the first run of all that is well reports nothing": (
        AlertState(),
        done(),
        Outcome(WELL, since=None),
    ),
    "well as before reports nothing": (was(WELL), done(), Outcome(WELL, since=3)),
    "the first run of all that requires action reports why": (
        AlertState(), done("row 1"), Outcome(PERSON, ("job", "row 1"), matters=("row 1",)),
    ),
    "a well job that requires action reports why": (
        was(WELL), done("row 1"), Outcome(PERSON, ("row 1",), matters=("row 1",)),
    ),
    "the same matter is not repeated": (
        was(PERSON, "row 1"), done("row 1"), Outcome(PERSON, since=3, matters=("row 1",)),
    ),
    "of two matters only the new one is reported": (
        was(PERSON, "row 1"), done("row 1", "row 2"),
        Outcome(PERSON, ("row 2",), matters=("row 1", "row 2"), omits=("row 1",)),
    ),
    "a settled matter is forgotten without a message": (
        was(PERSON, "row 1", "row 2"), done("row 2"),
        Outcome(PERSON, since=3, matters=("row 2",)),
    ),
    "a matter that changes into another is reported": (
        was(PERSON, "row 1"), done("row 2"),
        Outcome(PERSON, ("row 2",), matters=("row 2",), omits=("row 1",)),
    ),
    "ten matters are all reported": (
        was(WELL), done(*(f"row {n}." for n in range(1, 11))),
        Outcome(PERSON, ("row 1.", "row 10."), matters=tuple(f"row {n}." for n in range(1, 11)),
                omits=("more",)),
    ),
    "of twelve matters ten are reported, and the number of the others": (
        was(WELL), done(*(f"row {n}." for n in range(1, 13))),
        Outcome(PERSON, ("row 10.", "2 more", "milestones status"),
                matters=tuple(f"row {n}." for n in range(1, 13)), omits=("row 11.", "row 12.")),
    ),
    # recovery
    "a job that required action recovers": (
        was(PERSON, "row 1"), done(), Outcome(WELL, ("job", "3 hours"), omits=("row 1",)),
    ),
    "a failed job recovers": (was(FAILED, DISK), done(), Outcome(WELL, ("failed", "3 hours"))),
    "a late job recovers": (was(LATE, success=9), done(), Outcome(WELL, ("late", "3 hours"))),
    "a recovery from a state without a beginning reports no time": (
        AlertState(FAILED, (DISK,), None, ago(1), ago(1)), done(),
        Outcome(WELL, ("failed",), omits=("hour",)),
    ),
    "a failed job that succeeds and requires action reports only that": (
        was(FAILED, DISK), done("row 1"),
        Outcome(PERSON, ("row 1",), matters=("row 1",), omits=("no space",)),
    ),
    "a matter known before a failure is reported again after it": (
        was(FAILED, "row 1"), done("row 1"), Outcome(PERSON, ("row 1",), matters=("row 1",)),
    ),
    # failure
    "a job that fails reports why": (
        was(WELL), failed(DISK),
        Outcome(FAILED, ("no space on /data",), matters=(DISK,), success=1),
    ),
    "wrong configuration is a failure, too": (
        was(WELL), failed(TOKEN, 2), Outcome(FAILED, ("token",), matters=(TOKEN,), success=1),
    ),
    "a failure that a person must accept is a failure, too": (
        was(WELL), failed(UNIT, 3), Outcome(FAILED, ("EUR",), matters=(UNIT,), success=1),
    ),
    "the first run of all that fails counts time from now": (
        AlertState(), failed(DISK), Outcome(FAILED, ("no space",), matters=(DISK,)),
    ),
    "the same failure is not repeated": (
        was(FAILED, DISK), failed(DISK), Outcome(FAILED, since=3, matters=(DISK,), success=1),
    ),
    "a failure by another error is reported": (
        was(FAILED, DISK), failed(TOKEN),
        Outcome(FAILED, ("token",), matters=(TOKEN,), success=1, omits=("no space",)),
    ),
    "the same words by another error are reported": (
        was(FAILED, "KantataRefused: no"), failed("KantataForbidden: no"),
        Outcome(FAILED, ("no",), matters=("KantataForbidden: no",), success=1),
    ),
    "numbers do not make another failure": (
        was(FAILED, "E: # of # rows at #"), failed("E: 3 of 14 rows at 10:30"),
        Outcome(FAILED, since=3, matters=("E: # of # rows at #",), success=1),
    ),
    "a job that required action and fails reports that": (
        was(PERSON, "row 1"), failed(DISK),
        Outcome(FAILED, ("no space",), matters=(DISK,), success=1, omits=("row 1",)),
    ),
    "a matter in the words of a failure does not hide it": (
        was(PERSON, DISK), failed(DISK),
        Outcome(FAILED, ("no space",), matters=(DISK,), success=1),
    ),
    "a failure for longer than the limit is not late, since it was reported": (
        was(FAILED, DISK, success=9), failed(DISK),
        Outcome(FAILED, since=3, matters=(DISK,), success=9),
    ),
    # later and late
    "try again later is no news": (was(WELL), BUSY, Outcome(WELL, since=3, success=1)),
    "a stopped run is no news": (was(WELL), STOPPED, Outcome(WELL, since=3, success=1)),
    "try again later keeps a failure": (
        was(FAILED, DISK), BUSY, Outcome(FAILED, since=3, matters=(DISK,), success=1),
    ),
    "try again later keeps what requires action": (
        was(PERSON, "row 1"), BUSY, Outcome(PERSON, since=3, matters=("row 1",), success=1),
    ),
    "exactly the limit without success is not late yet": (
        was(WELL, success=6), BUSY, Outcome(WELL, since=3, success=6),
    ),
    "no success for longer than the limit is late": (
        was(WELL, success=6.5), BUSY,
        Outcome(LATE, ("2027-01-02 05:30", "throttled"), success=6.5),
    ),
    "runs that are always killed are late": (
        was(WELL, success=6.5), KILLED, Outcome(LATE, ("05:30",), success=6.5),
    ),
    "a job that requires action becomes late": (
        was(PERSON, "row 1", success=7), BUSY, Outcome(LATE, ("throttled",), success=7),
    ),
    "lateness is not repeated": (was(LATE, success=9), BUSY, Outcome(LATE, since=3, success=9)),
    "a failure is given the whole limit from when it was reported": (
        was(FAILED, DISK, success=9), BUSY, Outcome(FAILED, since=3, matters=(DISK,), success=9),
    ),
    "a failure that began longer ago than the limit becomes late, and is stored": (
        AlertState(FAILED, (DISK,), ago(7), ago(9), ago(1)), BUSY,
        Outcome(LATE, ("throttled",), matters=(DISK,), success=9),
    ),
    "a success after the failure began counts": (
        AlertState(FAILED, (DISK,), ago(7), ago(2), ago(1)), BUSY,
        Outcome(FAILED, since=7, matters=(DISK,), success=2),
    ),
    "a late job that fails as it did before it was late reports nothing": (
        was(LATE, DISK, success=9), failed(DISK),
        Outcome(LATE, since=3, matters=(DISK,), success=9),
    ),
    "a late job that fails otherwise reports why": (
        was(LATE, DISK, success=9), failed(TOKEN),
        Outcome(FAILED, ("token",), matters=(TOKEN,), success=9),
    ),
    # what happened once
    "what happened once is reported by a well job": (
        was(WELL), done(happened=("change 7",)),
        Outcome(WELL, ("job", "change 7"), since=3, matters=("change 7",)),
    ),
    "of twelve things that happened ten are reported, and the number of the others": (
        was(WELL), done(happened=tuple(f"change {n}." for n in range(1, 13))),
        Outcome(WELL, ("change 10.", "2 more", "milestones changes --all"), since=3,
                matters=tuple(f"change {n}." for n in range(1, 13)), omits=("change 11.",)),
    ),
    "what happened once is not reported again while it is known": (
        was(WELL, "change 7"), done(happened=("change 7",)),
        Outcome(WELL, since=3, matters=("change 7",)),
    ),
    "what happened once is forgotten by the next run": (
        was(WELL, "change 7"), done(), Outcome(WELL, since=3),
    ),
    "what happened once and lasts is not reported twice": (
        was(WELL, "row 1"), done("row 1"), Outcome(PERSON, matters=("row 1",)),
    ),
    "what lasts and what happened once share one message": (
        was(WELL), done("row 1", happened=("change 7",)),
        Outcome(PERSON, ("row 1", "change 7"), matters=("row 1", "change 7")),
    ),
    "what happened before a failure is reported with it, and not stored": (
        was(WELL), failed(TOKEN, 2, happened=("change 7",)),
        Outcome(FAILED, ("token", "change 7"), matters=(TOKEN,), success=1),
    ),
    "what happened in a run that ends early is reported": (
        was(WELL), JobOutcome(75, ("throttled",), "K", ("change 7",)),
        Outcome(WELL, ("change 7",), since=3, matters=("change 7",), success=1,
                omits=("throttled",)),
    ),
    "what happened while a job is late leaves the failure before that known": (
        was(LATE, DISK, success=9), JobOutcome(75, happened=("change 7",)),
        Outcome(LATE, ("change 7",), since=3, matters=(DISK,), success=9),
    ),
    "what the webhook did not accept is reported by the next run": (
        was(WELL, untold=("change 7",)), done(), Outcome(WELL, ("change 7",), since=3),
    ),
    "what was not accepted comes before what happened now, each once": (
        was(WELL, untold=("change 7", "change 8")), done(happened=("change 8", "change 9")),
        Outcome(WELL, ("change 7", "change 8", "change 9"), since=3,
                matters=("change 8", "change 9")),
    ),
    "what was not accepted is reported even if the next run ends early": (
        was(WELL, untold=("change 7",)), BUSY, Outcome(WELL, ("change 7",), since=3, success=1),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "ended", "wanted"), CASES.values(), ids=CASES)
def test_policy(before: AlertState, ended: JobOutcome, wanted: Outcome) -> None:
    """A run gives the expected message and the expected new state."""
    verdict = decide_alert(before, ended, after=AFTER, job="job", now=NOW)
    message = verdict.message
    assert bool(message) == (wanted.says is not None), message
    assert all(word in message for word in wanted.says or ()), message
    assert len(set(message.splitlines())) == len(message.splitlines()), message
    assert not any(word in message for word in wanted.omits), message
    state = verdict.state
    assert (state.condition, state.matters) == (wanted.condition, wanted.matters)
    assert state.since == (None if wanted.since is None else ago(wanted.since))
    assert state.last_success == ago(wanted.success)
    assert state.untold == () or state is before


NO_NEWS = {
    "try again later": (was(WELL), BUSY, False),
    "the same failure": (was(FAILED, DISK), failed(DISK), False),
    "late as before": (was(LATE, success=9), BUSY, False),
    "a success is news, since its time is": (was(WELL), done(), True),
    "another failure": (was(FAILED, DISK), failed(TOKEN), True),
    "what happened once": (was(WELL), JobOutcome(75, happened=("change 7",)), True),
    "the first run of all, since time counts from it": (AlertState(), BUSY, True),
}  # fmt: skip


@pytest.mark.parametrize(("before", "ended", "news"), NO_NEWS.values(), ids=NO_NEWS)
def test_no_news_leaves_the_state_alone(before: AlertState, ended: JobOutcome, news: bool) -> None:
    """A run without news does not overwrite the state, which a concurrent run may have saved."""
    state = decide_alert(before, ended, after=AFTER, job="job", now=NOW).state
    assert (state is before) == (not news)
    assert state.saved_at == (NOW if news else before.saved_at)


ALONE = {
    "a success without a message counts less than what others stored": (done(), False),
    "a message was sent, so it counts": (failed(DISK), True),
    "what happened once was sent, so it counts": (done(happened=("change 7",)), True),
}  # fmt: skip


@pytest.mark.parametrize(("ended", "counts"), ALONE.values(), ids=ALONE)
def test_state_saved_without_the_warehouse(ended: JobOutcome, counts: bool) -> None:
    """A state saved without reading the warehouse is new only if a message was sent."""
    before = was(WELL)
    state = decide_alert(before, ended, after=AFTER, job="job", now=NOW, warehouse_read=False).state
    assert state.saved_at == (NOW if counts else before.saved_at)
    assert state.last_success == (NOW if ended.exit_code in (0, 3) else before.last_success)


CAUSES = {
    "a number, a time and an id are one sign": (
        JobOutcome(1, ("3 of 14 rows at 10:30, id=ab1",), "E"), "E: # of # rows at # #",
    ),
    "words stay": (JobOutcome(2, ("no token",), "E"), "E: no token"),
    "all lines count": (JobOutcome(1, ("one", "two"), "E"), "E: one two"),
}  # fmt: skip


@pytest.mark.parametrize(("ended", "cause"), CAUSES.values(), ids=CAUSES)
def test_cause(ended: JobOutcome, cause: str) -> None:
    """Two causes are equal if only counts, times and ids differ."""
    assert ended.cause == cause
