"""The job runs hourly for a long time, while the account changes and failures occur.

MILESTONES_SOAK sets the number of hours, MILESTONES_SOAK_SEED the seed of the events.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sources.kantata_sandbox import Fault, Sandbox
from tests.support.equality import assert_equal
from tests.support.hourly import Hour, hour
from tests.support.job import Job
from tests.support.webhook import Webhook, webhook
from tests.support.writing_desk import Desk
from warehouse.ledger.change import Action, Change

FEW = 4
HOURS = int(os.environ.get("MILESTONES_SOAK", FEW))
# Within a few hours, seed 251 has a kill, faults, a rejected record, an alert and change requests.
SEED = int(os.environ.get("MILESTONES_SOAK_SEED", "7" if HOURS > FEW else "251"))
START = datetime(2027, 1, 1, tzinfo=UTC)
LATE = 6  # hours: alert_after
MILESTONES = 300


@dataclass
class Disruptions:
    """The failures of each hour.

    Args:
        chance: The random numbers.
        away: Hours for which Kantata still does not answer.
        revoked: Hours for which the token is still refused.
        spoiled: A milestone that is rejected, and the remaining hours of that.
    """

    chance: random.Random
    away: int = 0
    revoked: int = 0
    spoiled: tuple[str, int] | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def next(self, sandbox: Sandbox) -> None:
        """Choose the failures of the next hour."""
        self.away, self.revoked = max(0, self.away - 1), max(0, self.revoked - 1)
        sandbox.behave()
        if not self.away and self.chance.random() < 0.04:
            self.away = self.chance.choice([1, 2, 5, 9, 14])
        if not self.revoked and self.chance.random() < 0.02:
            self.revoked = self.chance.choice([1, 2, 8])
        self._spoil(sandbox)
        if self.away:
            sandbox.misbehave(Fault(self.chance.choice(["error", "throttle", "drop_before"])))
            self.counts["hours away"] += 1
        elif self.chance.random() < 0.25:
            kind = self.chance.choice(["error", "throttle", "drop_before", "drop_after", "garbage"])
            skip, times = self.chance.randrange(6), self.chance.randint(1, 3)
            sandbox.misbehave(Fault(kind, method="GET", skip=skip, times=times))
            self.counts["hours with faults"] += 1

    def _spoil(self, sandbox: Sandbox) -> None:
        account = sandbox.account
        if self.spoiled is None:
            if self.chance.random() < 0.04:
                id_ = self.chance.choice(list(account.milestones)[: MILESTONES // 2])
                account.update_milestone(id_, title=f"spoiled {self.chance.random()}")
                account.set_raw(id_, "amount_in_cents", "12.50")
                self.spoiled = (id_, self.chance.randint(1, 10))
                self.counts["records spoiled"] += 1
            return
        id_, hours = self.spoiled
        self.spoiled = (id_, hours - 1) if hours > 1 else None
        if self.spoiled is None:
            account.clear_raw(id_)
            account.update_milestone(id_, title=f"repaired {self.chance.random()}")


@dataclass
class ExpectedAlerts:
    """Counts the alerts that must be sent, based only on the failures."""

    state: str = "well"
    known: frozenset[str] = frozenset()
    since: int = 0  # the last success, or the hour of the alert about the token
    reported_failure: bool = False  # since the last success
    messages: int = 0

    def note_run(self, number: int, state: str, ended: Hour) -> None:
        """Count the alert for the state of an hour: well, person, failed, or away."""
        happened = frozenset(ended.happened)
        needs = frozenset(ended.needs) - happened
        if state in ("well", "person"):
            self.since, self.reported_failure = number, False
        elif state == "failed":
            needs = frozenset()
            if self.state == "late" and self.reported_failure:
                state = "late"
            elif self.state != "failed":
                self.since, self.reported_failure = number, True
        else:
            state = "late" if number - self.since > LATE else self.state
            needs = self.known if state == self.state else frozenset()
        lasts = (self.state, state) == (
            "well",
            "person",
        )  # it may have been reported when it happened
        changed = state != self.state and not lasts
        if changed or (state == "person" and needs - self.known) or happened - self.known:
            self.messages += 1
        self.state, self.known = state, needs | happened


class Soak:
    """The account, the job and the expected alerts, hour by hour."""

    def __init__(self, job: Job, sandbox: Sandbox, hook: Webhook) -> None:
        self.job, self.sandbox, self.hook = job, sandbox, hook
        self.chance = random.Random(SEED)
        self.disruptions = Disruptions(self.chance)
        self.expected_alerts = ExpectedAlerts()
        self.desk = Desk(sandbox, job.target.ledger_url)
        self.changes: list[Change] = []
        self.moving = set(sandbox.account.milestones)  # milestones without change requests
        self.hours: list[Hour] = []
        self.disk: list[tuple[int, int]] = []

    def pass_hour(self, number: int) -> None:
        """Change the account, and run the job."""
        account = self.sandbox.account
        account.advance(3600)
        conflict = self.move()
        self.disruptions.next(self.sandbox)
        calm = self.expected_alerts.state == "well" and not (
            self.disruptions.away
            or self.disruptions.revoked
            or self.disruptions.spoiled
            or conflict
        )
        kill = self.chance.uniform(0.02, 0.6) if calm and self.chance.random() < 0.15 else None
        token = "revoked" if self.disruptions.revoked else self.sandbox.token
        settings = {
            "KANTATA_API_URL": self.sandbox.url,
            "KANTATA_ACCESS_TOKEN": token,
            "ALERTS__WEBHOOK_URL": self.hook.url,
            "SOURCES__KANTATA__BACKOFF_SECONDS": "0.001",
            "PUSH__ENABLED": "true",
            "PUSH__RECONCILE_AFTER": "0",
        }
        if self.job.url:
            settings["DESTINATION__POSTGRES__CREDENTIALS"] = self.job.url
        ended = hour(self.job.name, START + timedelta(hours=number), settings, kill)
        self.hours.append(ended)
        self.judge(number, ended, conflict)
        self.disk.append(size_of(Path.cwd()))

    def judge(self, number: int, ended: Hour, conflict: bool) -> None:
        """Assert that the run ended as the failures of the hour require."""
        if ended.exit_code is None:
            self.disruptions.counts["runs killed"] += 1
            self.expected_alerts.note_run(number, "away", ended)
        elif self.disruptions.away:
            assert ended.exit_code == 75, ended
            self.expected_alerts.note_run(number, "away", Hour(75))
        elif self.disruptions.revoked:
            assert ended.exit_code == 2, ended
            self.expected_alerts.note_run(number, "failed", Hour(2))
        else:
            wrong = bool(self.disruptions.spoiled or ended.needs)
            assert ended.exit_code == (3 if wrong else 0), ended
            assert not ended.needs or self.disruptions.spoiled or conflict or self.changes, ended
            lasts = self.disruptions.spoiled or set(ended.needs) - set(ended.happened)
            self.expected_alerts.note_run(number, "person" if lasts else "well", ended)
        assert len(self.hook.texts) == self.expected_alerts.messages, (
            number,
            ended,
            self.hook.texts[-3:],
        )

    def move(self) -> bool:
        """Make the changes of an hour; return whether one conflicts with an approved change."""
        account, chance = self.sandbox.account, self.chance
        milestones = self.moving & account.milestones.keys()
        free = sorted(i for i in milestones if not account.invoices_of.get(i))
        for _ in range(chance.randrange(4)):
            act, id_ = chance.randrange(5), chance.choice(free)
            if act == 0:
                new = account.create_milestone(amount_in_cents=chance.randrange(1, 10**6))
                self.moving.add(new)
            elif act == 1:
                account.update_milestone(id_, amount_in_cents=chance.randrange(1, 10**6))
            elif act == 2:
                account.silently_update_milestone(id_, date_to_invoice="2027-03-01")
            elif act == 3 and id_ in account.milestones and not account.invoices_of.get(id_):
                account.invoice_milestone(id_)
            elif act == 4 and chance.random() < 0.3 and id_ in account.milestones:
                account.delete_milestone(id_)
                free.remove(id_)
        conflict = False
        if chance.random() < 0.15:
            change = self.desk.approved(self.desk.draft(chance.choice(list(Action))))
            self.changes.append(change)
            if change.action is Action.UPDATE and chance.random() < 0.2:
                account.silently_update_milestone(str(change.milestone_id), title="edited")
                conflict = True
        return conflict


def size_of(folder: Path) -> tuple[int, int]:
    """The number of files in a folder, and their bytes."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return len(files), sum(file.stat().st_size for file in files)


def summary_of(soak: Soak) -> str:
    """The events, the exit codes and the resources used."""
    codes = Counter(str(ended.exit_code) for ended in soak.hours)
    memory = [ended.memory for ended in soak.hours if ended.exit_code in (0, 3)]
    third = max(1, len(memory) // 3)
    early, late = (sum(part) / len(part) for part in (memory[:third], memory[-third:]))
    statuses = Counter(soak.desk.change(change).status.value for change in soak.changes)
    return (
        f"{len(soak.hours)} hours on {soak.job.name}, exit codes {dict(codes)}, "
        f"{dict(soak.disruptions.counts)}, changes {dict(statuses)}, "
        f"{soak.expected_alerts.messages} alerts; "
        f"memory {early:.0f} -> {late:.0f} MiB, files {soak.disk[third][0]} -> {soak.disk[-1][0]}, "
        f"disk {soak.disk[third][1] / 2**20:.1f} -> {soak.disk[-1][1] / 2**20:.1f} MiB"
    )


@pytest.mark.long_on("postgres")
@pytest.mark.timeout(0)  # as long as MILESTONES_SOAK asks for
def test_soak(job: Job, record_property: Callable[[str, object], None]) -> None:
    """Warehouse = account; each alert is a change of state; memory and disk do not grow."""
    with Sandbox(milestones=MILESTONES) as sandbox, webhook() as hook:
        soak = Soak(job, sandbox, hook)
        job.now = lambda: START
        assert job.sync(sandbox).exit_code == 0
        for number in range(1, HOURS + 1):
            soak.pass_hour(number)
        sandbox.behave()
        if soak.disruptions.spoiled:
            sandbox.account.clear_raw(soak.disruptions.spoiled[0])
        soak.desk.now = START + timedelta(hours=HOURS + 1)
        soak.desk.push()
        job.sync(sandbox)
        assert_equal(job, sandbox.account)
        for change in soak.changes:
            soak.desk.assert_true(change)
    summary = summary_of(soak)
    record_property("soak", summary)
    print(summary)
    memory = [ended.memory for ended in soak.hours if ended.exit_code in (0, 3)]
    assert max(memory[-5:]) < 1.2 * max(memory[:5])
    if HOURS <= FEW:
        return  # a few hours have the files of the first kill and of the first change request
    files = [count for count, _ in soak.disk]
    assert files[-1] <= max(files[: len(files) // 3])
