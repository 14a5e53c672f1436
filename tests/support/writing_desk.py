"""A ledger and an account, and what must hold between them after any failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from pipelines.writeback.dry_run import dry_run
from pipelines.writeback.manual_settlement import Finding, settle_by_hand
from pipelines.writeback.milestone import milestone_image
from pipelines.writeback.plan import Step
from pipelines.writeback.push import push
from pipelines.writeback.push_session import PushSession
from pipelines.writeback.reconcile import reconcile
from pipelines.writeback.resend import MAX_RESENDS
from pipelines.writeback.result import PushResult
from sources.kantata import KantataReader
from sources.kantata.api.writer import KantataWriter
from sources.kantata_sandbox import Sandbox
from warehouse.ledger.change import Action, Change, Draft, Status
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.push_lock import push_lock
from warehouse.ledger.store import Ledger

WRITES = {Action.CREATE: "POST", Action.UPDATE: "PUT", Action.DELETE: "DELETE"}


@dataclass
class Desk:
    """A ledger and an account, to propose, approve and push changes.

    Args:
        sandbox: The account.
        url: The URL of the ledger.
        writes_to: The URL that writes are sent to; empty for the sandbox.
        batch_creates: The most creates in one request.
    """

    sandbox: Sandbox
    url: str
    writes_to: str = ""
    batch_creates: int = 1
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _made: int = 0

    @property
    def kind(self) -> str:
        """The kind of the ledger: ``sqlite`` or ``postgres``."""
        return self.url.partition(":")[0].replace("postgresql", "postgres")

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """The ledger, with the clock of this desk."""
        with connect_ledger(self.url, lambda: self.now) as ledger:
            yield ledger

    def pass_time(self, seconds: float) -> None:
        """Advance the time of the desk and of Kantata."""
        self.now += timedelta(seconds=seconds)
        self.sandbox.account.advance(seconds)

    def milestone(self) -> str:
        """Create a milestone that may be written to."""
        self._made += 1
        project = next(iter(self.sandbox.account.workspaces))
        return self.sandbox.account.create_milestone(
            title=f"open {self._made}", workspace_id=project, billing_type="fixed_date",
            story_id=None, invoice_id=None, amount_in_cents=100 * self._made,
        )  # fmt: skip

    def draft(self, action: Action) -> Draft:
        """A change that can be applied."""
        self._made += 1
        project = next(iter(self.sandbox.account.workspaces))
        if action is Action.CREATE:
            after = {
                "workspace_id": project, "title": f"made {self._made}", "amount_in_cents": 7,
                "billing_type": "fixed_date",
            }  # fmt: skip
            return Draft(action, None, project, "USD", after, {}, "test", "ann")
        id_ = self.milestone()
        after = {} if action is Action.DELETE else {"title": f"new {id_}", "amount_in_cents": 5}
        return Draft(action, id_, project, "USD", after, self.image(id_), "test", "ann")

    def image(self, id_: str) -> dict[str, str | int | None]:
        """Return a milestone as a proposer sees it."""
        return dict(milestone_image(self.sandbox.account.milestone(id_)))

    def proposed(self, draft: Draft) -> Change:
        """Propose a change, without an approval."""
        with self.ledger() as ledger:
            (change_id,) = ledger.propose([draft])
            return ledger.change(change_id)

    def approved(self, draft: Draft) -> Change:
        """Propose a change that another person approves."""
        change = self.proposed(draft)
        with self.ledger() as ledger:
            return ledger.approve(change, "bob")

    def push(self, reconcile_after: float = 0, most: int = 1000) -> PushResult:
        """Push once."""
        with (
            self.ledger() as ledger,
            push_lock(ledger),
            closing(self.reader()) as reader,
            closing(
                KantataWriter(self.writes_to or self.sandbox.url, self.sandbox.token, reader.pace)
            ) as writer,
        ):
            session = PushSession(ledger, reader, timedelta(seconds=reconcile_after))
            return push(session, writer, most, batch_creates=self.batch_creates)

    def reader(self) -> KantataReader:
        """Return a reader that backs off for a short time only."""
        return KantataReader(self.sandbox.url, self.sandbox.token, 0.0, 0.001)

    def change(self, change: Change) -> Change:
        """Return a change as it is now."""
        with self.ledger() as ledger:
            return ledger.change(change.change_id)

    def requests(self, method: str, path: str = "") -> int:
        """How many requests of a method and path the account received."""
        return sum(r.method == method and path in r.path for r in list(self.sandbox.requests))

    def sent(self, change: Change) -> int:
        """How often a change was sent, whatever the result."""
        if change.action is Action.CREATE:
            key = change.change_id.encode()
            return sum(key in r.body for r in list(self.sandbox.requests) if r.method == "POST")
        method = "PUT" if change.action is Action.UPDATE else "DELETE"
        return self.requests(method, f"/{change.milestone_id}")

    def finish(self, most: int = 8) -> None:
        """Push until no change is open."""
        for _ in range(most):
            with self.ledger() as ledger:
                moving = frozenset({Status.APPROVED, Status.APPLYING, Status.UNKNOWN})
                if not ledger.changes(moving):
                    return
            self.push()
        with self.ledger() as ledger:
            for change in ledger.changes(moving):
                assert change.resends == MAX_RESENDS, "only a create that was sent twice stays open"
                assert "milestones reconcile" in self.push().waiting[0].why
                self.settle(change, None)

    def settle(
        self,
        change: Change,
        milestone_id: str | None,
        actor: str = "bob",
        reconcile_after: float = 0,
    ) -> PushResult:
        """Settle a create by hand."""
        finding = Finding(
            change_id=change.change_id, milestone_id=milestone_id, actor=actor, reason="I looked"
        )
        with self.ledger() as ledger, push_lock(ledger), closing(self.reader()) as reader:
            session = PushSession(ledger, reader, timedelta(seconds=reconcile_after))
            settle_by_hand(session, finding)
            return session.result

    def reconcile(self, reconcile_after: float = 0) -> PushResult:
        """Settle unknown outcomes, without sending anything."""
        with self.ledger() as ledger, push_lock(ledger), closing(self.reader()) as reader:
            return reconcile(PushSession(ledger, reader, timedelta(seconds=reconcile_after)))

    def plan(self, reconcile_after: float = 0, most: int = 1000) -> list[Step]:
        """The steps that a push would take."""
        with self.ledger() as ledger, closing(self.reader()) as reader:
            session = PushSession(ledger, reader, timedelta(seconds=reconcile_after))
            return dry_run(session, most)

    def alter(self, change: Change, after: str) -> None:
        """Alter an approved change, as a user who may also drop the trigger that forbids it."""
        url = self.url.replace("postgresql://", "postgresql+psycopg2://")
        engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        table = "changes" if "sqlite" in url else "kantata_ledger.changes"
        on = "" if "sqlite" in url else f" on {table}"
        with engine.begin() as connection:
            connection.execute(sa.text(f"drop trigger if exists changes_update_refused{on}"))
            connection.execute(
                sa.text(f"update {table} set fields_after = :after where change_id = :id"),
                {"after": after, "id": change.change_id},
            )
        engine.dispose()

    def events_of(self, id_: str, kind: str) -> int:
        """Count the events of a kind of a milestone."""
        return sum(
            event["event_type"] == f"billing_milestone:{kind}" and str(event["subject_id"]) == id_
            for event in list(self.sandbox.account.events)
        )

    def made_by(self, change: Change) -> list[str]:
        """Milestones that a create made."""
        title = change.after["title"]
        milestones = self.sandbox.account.milestones
        return [id_ for id_, record in milestones.items() if record["title"] == title]

    def done(self, change: Change) -> int:
        """How often a change was applied in the account."""
        if change.action is Action.CREATE:
            return len(self.made_by(change))
        kind = "updated" if change.action is Action.UPDATE else "deleted"
        return self.events_of(str(change.milestone_id), kind)

    def assert_true(self, change: Change, finished: bool = True) -> Change:
        """Assert that ledger and account agree on a change, and it was applied at most once."""
        now = self.change(change)
        times = self.done(change)
        assert times <= 1, (now, times)
        if finished:
            assert now.status in (Status.APPLIED, Status.FAILED, Status.CONFLICT), now
        if now.status is Status.APPLIED:
            assert times == 1, now
            if change.action is Action.CREATE:
                assert self.made_by(change) == [now.milestone_id]
            if change.action is not Action.DELETE:
                found = self.image(str(now.milestone_id))
                assert {name: found[name] for name in change.after} == dict(change.after)
        elif now.status in (Status.FAILED, Status.CONFLICT, Status.APPROVED, Status.PROPOSED):
            assert times == 0, now
        return now
