"""Alerts are sent once for each change of state."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.config.settings import alert_settings
from pipelines.ops.alert_policy import JobOutcome, decide_alert
from pipelines.ops.alerts import send_alert
from pipelines.ops.job import run_job
from pipelines.runtime.observer import RunObserver
from sources.kantata.errors import KantataUnauthorized, KantataUnavailable
from sources.kantata_sandbox import Fault, Sandbox
from tests.support.job import Job
from tests.support.webhook import Webhook, webhook
from tests.support.writing_desk import Desk
from warehouse.alert_state import AlertState
from warehouse.ledger.change import Action

ONE_ROW = ("row 1 is rejected",)
ONCE = "requires action on what happened during a push (sent once"
START = datetime(2027, 1, 1, tzinfo=UTC)
AFTER = timedelta(hours=6)
WELL, LATER, STOPPED = (
    JobOutcome(0),
    JobOutcome(75, ("throttled",), "KantataThrottled"),
    JobOutcome(143),
)
TOKEN = JobOutcome(2, ("the token is wrong",), "KantataUnauthorized")
DISK = JobOutcome(1, ("no space on /data",), "WarehouseUnwritable")
WRONG = [
    JobOutcome(2, (problem,), "KantataMisconfigured")
    for problem in ("no token", "max_changes is 'x'")
]
BUSY = [JobOutcome(1, (f"{n} of {n + 9} ids, at {n}:00",), "WarehouseUnproven") for n in (3, 4)]
CONFLICT = JobOutcome(3, happened=("change 7 is conflict",))
BOTH = JobOutcome(3, ONE_ROW, happened=("change 7 is conflict",))
CUT = JobOutcome(2, ("the token is wrong",), "KantataUnauthorized", ("change 7 is conflict",))
DOUBT = JobOutcome(3, happened=ONE_ROW)
BAD = {"KANTATA_ACCESS_TOKEN": "bad"}
ONE, TWO = (
    JobOutcome(3, ("row 1 is rejected",)),
    JobOutcome(3, ("row 1 is rejected", "row 2 is rejected")),
)


def headlines(*ends: JobOutcome) -> list[str]:
    """Return the first words of the alerts about runs that end so, one an hour."""
    state, messages = AlertState(), []
    for hour, ended in enumerate(ends):
        decision = decide_alert(
            state, ended, after=AFTER, job="job", now=START + timedelta(hours=hour)
        )
        state = decision.state
        messages.append(decision.message.partition("\n")[0].removeprefix("job "))
    return [message.split(",")[0].split(":")[0] for message in messages]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([WELL, WELL], ["", ""]),
        ([TOKEN, TOKEN, WELL], ["failed", "", "has recovered. It failed for 2 hours."]),
        ([TOKEN, DISK, DISK], ["failed", "failed", ""]),
        ([TOKEN, LATER, TOKEN], ["failed", "", ""]),
        ([ONE, ONE, TWO, ONE, TWO], ["is done", "", "is done", "", "is done"]),
        ([ONE, WELL], ["is done", "has recovered. It required action for 1 hour."]),
        ([ONE, LATER, ONE], ["is done", "", ""]),
        ([WELL, *[LATER] * 8], [*[""] * 7, "has not succeeded since 2027-01-01 00", ""]),
        ([WELL, *[STOPPED] * 8], [*[""] * 7, "has not succeeded since 2027-01-01 00", ""]),
        ([LATER] * 8, [*[""] * 7, "has not succeeded since 2027-01-01 00"]),
        (
            [WELL, *[LATER] * 7, ONE],
            [*[""] * 7, "has not succeeded since 2027-01-01 00", "is done"],
        ),
        (
            [WELL, TOKEN, *[LATER] * 8, WELL],
            ["", "failed", *[""] * 6, "has not succeeded since 2027-01-01 00", "",
             "has recovered. It was late for 2 hours."],
        ),
        ([WELL, *[TOKEN] * 8, LATER, TOKEN, LATER, TOKEN, DISK],
         ["", "failed", *[""] * 7, "has not succeeded since 2027-01-01 00", *[""] * 3, "failed"]),
        (WRONG, ["failed", "failed"]),
        (BUSY, ["failed", ""]),
        ([CONFLICT, WELL, WELL], [ONCE, "", ""]),
        ([BOTH, ONE, WELL], ["is done", "", "has recovered. It required action for 2 hours."]),
        ([ONE, CONFLICT], ["is done", "has recovered. It required action for 1 hour."]),
        ([CUT, TOKEN], ["failed", ""]),
        ([DOUBT, ONE, WELL], [ONCE, "", "has recovered. It required action for 1 hour."]),
    ],
)  # fmt: skip
def test_each_change_of_state_is_sent_once(ends: list[JobOutcome], expected: list[str]) -> None:
    """An alert is sent when a problem is new or over, and not while it lasts."""
    assert headlines(*ends) == expected


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Webhook:
    """A webhook that the alert settings name."""
    with webhook() as hook:
        monkeypatch.setenv("ALERTS__WEBHOOK_URL", hook.url)
        yield hook


def attempt(job: Job, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, **settings: str) -> int:
    """Run the job as cron does; return its exit code."""
    environment = {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": sandbox.token} | settings
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    try:
        return run_job(job.name, observer=RunObserver(note=job.notes.append), now=job.now).exit_code
    except (KantataUnauthorized, KantataUnavailable) as error:
        return error.exit_code


@pytest.mark.long_on("duckdb")
@pytest.mark.long_on("postgres")
def test_messages_say_what_to_do(job: Job, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure, a required action and a recovery are sent, even if the local folder is lost."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        assert attempt(job, sandbox, monkeypatch) == 0
        assert hook.texts == []
        for _ in range(2):
            assert attempt(job, sandbox, monkeypatch, **BAD) == 2
        (failure,) = hook.texts
        assert failure.startswith(f"milestones run, {job.name} on ")
        assert "Set a valid one in KANTATA_ACCESS_TOKEN" in failure
        if job.url:  # another worker, without this one's disk
            for file in job.target.folder.glob("alerts-*"):
                file.unlink()
        spoiled = next(iter(sandbox.account.milestones))
        sandbox.account.set_raw(spoiled, "amount_in_cents", "12.50")
        for _ in range(2):
            monkeypatch.setenv("SOURCES__KANTATA__SCAN_EVERY", "0s")
            assert attempt(job, sandbox, monkeypatch) == 3
        assert len(hook.texts) == 2
        assert f"billing_milestones {spoiled} is rejected" in hook.texts[1]
        sandbox.account.clear_raw(spoiled)
        assert attempt(job, sandbox, monkeypatch) == 0
        assert "has recovered. It required action for" in hook.texts[2]
        assert len(hook.texts) == 3


@pytest.mark.long_on("postgres")
@pytest.mark.long_on("duckdb")
def test_lateness_is_sent_even_without_the_database(
    job: Job, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One alert follows alert_after without a success, and one the recovery."""
    hours = 0
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        job.now = lambda: START + timedelta(hours=hours)
        assert attempt(job, sandbox, monkeypatch) == 0
        url = job.url.replace(job.url.partition("@")[2], "127.0.0.1:9/nowhere")
        for hours in (1, 6, 7, 8):
            if job.url:
                monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
                with pytest.raises(Exception, match="no connection"):
                    attempt(job, sandbox, monkeypatch)
            else:
                sandbox.misbehave(Fault("error"))
                assert attempt(job, sandbox, monkeypatch) == 75
            assert len(hook.texts) == (hours > 6)
        assert "has not succeeded since 2027-01-01 00:00 UTC" in hook.texts[0]
        sandbox.behave()
        if job.url:
            monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", job.url)
        assert attempt(job, sandbox, monkeypatch) == 0
        assert "has recovered. It was late" in hook.texts[1]


def test_an_alert_that_was_refused_is_sent_again(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that fails changes no exit code, is logged without its address, and is retried."""
    job = Job("duckdb")
    with Sandbox(milestones=30) as sandbox:
        hook.status = 500
        assert attempt(job, sandbox, monkeypatch, **BAD) == 2
        assert any("the webhook answered 500" in note for note in job.notes)
        assert not any("secret-part" in note for note in job.notes)
        hook.status = 200
        assert attempt(job, sandbox, monkeypatch, **BAD) == 2
        assert len(hook.texts) == 1


def test_one_message_has_events_and_lasting_problems() -> None:
    """A run sends one message, even if it fails and has conflicts as well."""
    for ended in (BOTH, CUT):
        message = decide_alert(AlertState(), ended, after=AFTER, job="job", now=START).message
        assert message.splitlines()[-1] == "• change 7 is conflict"
        assert "\nIt requires action" in message


@pytest.mark.long_on("duckdb")
@pytest.mark.long_on("postgres")
def test_a_conflict_is_sent_once_and_never_recovers(
    job: Job, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conflict sends one alert, even after a failed delivery, and no recovery follows it."""
    monkeypatch.setenv("PUSH__ENABLED", "true")
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        desk = Desk(sandbox, job.target.ledger_url)
        for taken in (True, False):
            change = desk.approved(desk.draft(Action.UPDATE))
            sandbox.account.update_milestone(str(change.milestone_id), title="edited meanwhile")
            hook.texts.clear()
            hook.status = 200 if taken else 500
            assert attempt(job, sandbox, monkeypatch) == 3
            assert len(hook.texts) == taken
            hook.status = 200
            for _ in range(2):
                assert attempt(job, sandbox, monkeypatch) == 0
            (text,) = hook.texts
            assert f"• change {change.change_id} is conflict" in text


def test_a_worker_without_the_warehouse_knows_no_state(
    postgres: Job, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local state of such a worker is replaced by the one in the warehouse."""
    (file,) = (Path(".milestones") / f"alerts-{postgres.name}-run.json",)
    away = postgres.url.replace(postgres.url.partition("@")[2], "127.0.0.1:9/nowhere")
    hours = 0

    def elsewhere(ended: JobOutcome) -> None:
        """End so on another worker, which has no local file and cannot read the warehouse."""
        nonlocal hours
        file.unlink()
        hours += 1
        where = None if ended is STOPPED else postgres.target
        send_alert(
            alert_settings(),
            ended,
            destination="postgres",
            target=where,
            job="run",
            now=postgres.now(),
            note=print,
        )

    with Sandbox(milestones=30) as sandbox:
        postgres.synced(sandbox)
        postgres.now = lambda: START + timedelta(hours=hours)
        assert attempt(postgres, sandbox, monkeypatch) == 0
        assert attempt(postgres, sandbox, monkeypatch, **BAD) == 2
        elsewhere(STOPPED)
        assert attempt(postgres, sandbox, monkeypatch, **BAD) == 2
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", away)
        elsewhere(LATER)
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres.url)
        assert attempt(postgres, sandbox, monkeypatch, **BAD) == 2
        assert len(hook.texts) == 1
        elsewhere(STOPPED)
        assert attempt(postgres, sandbox, monkeypatch) == 0
        assert "has recovered. It failed for 3 hours" in hook.texts[1]


def test_values_from_the_account_are_escaped(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slack would notify everybody for <!channel>, and make a link of <https://...>."""
    job = Job("duckdb")
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        spoiled = next(iter(sandbox.account.milestones))
        sandbox.account.update_milestone(spoiled, title="changed")
        sandbox.account.set_raw(spoiled, "amount_in_cents", "<!channel> & <https://a.example|b>")
        assert attempt(job, sandbox, monkeypatch) == 3
        (text,) = hook.texts
        assert "&lt;!channel&gt; &amp; &lt;https://a.example|b&gt;" in text
        assert not set("<>") & set(text)


@pytest.mark.parametrize(("drips", "taken"), [("head", False), ("body", True)])
def test_a_webhook_that_never_ends_does_not_block(hook: Webhook, drips: str, taken: bool) -> None:
    """The webhook's status is enough; without one, a stopped run gives up after 1.5 seconds."""
    hook.drips = drips
    notes: list[str] = []
    settings = alert_settings()
    for hour in (0, 9):  # 9 hours later the job is late
        began = time.monotonic()
        now = START + timedelta(hours=hour)
        send_alert(
            settings,
            STOPPED,
            destination="duckdb",
            target=None,
            job="run",
            now=now,
            note=notes.append,
        )
        assert time.monotonic() - began < 60  # the webhook never ends its answer
    assert len(hook.texts) == 1
    assert [note for note in notes if "within 1.5 seconds" in note] == notes
    assert bool(notes) != taken
