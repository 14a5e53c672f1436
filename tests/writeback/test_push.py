"""A push writes each change at most once, only if approved, and never over an edit."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL

import psycopg2
import pytest

from sources.kantata.errors import KantataUnauthorized, KantataUnavailable
from sources.kantata_sandbox import Fault, Sandbox
from tests.support.job import Job
from tests.support.processes import Forked, start_milestones
from tests.support.writing_desk import WRITES, Desk
from warehouse.errors import WarehouseBusy
from warehouse.ledger.change import Action, Status
from warehouse.ledger.push_lock import push_lock


@pytest.mark.long_on("postgres")
def test_edits_are_never_overwritten(desk: Desk) -> None:
    """A milestone that was edited after the proposal is not written to: a conflict."""
    account = desk.sandbox.account
    edits = [
        ({"title": "edited"}, "is edited"), ({"amount_in_cents": 9}, "is 0.09 USD"),
        ({"date_to_invoice": "2031-01-01"}, "was none, is 2031-01-01"),
        ({"currency": "JPY"}, "was USD, is JPY"),
    ]  # fmt: skip
    for edit, expected in edits:
        for action in (Action.UPDATE, Action.DELETE):
            change = desk.approved(desk.draft(action))
            account.silently_update_milestone(str(change.milestone_id), **edit)
            result = desk.push()
            assert result.exit_code == 3
            now = desk.change(change)
            assert now.status is Status.CONFLICT
            assert expected in now.outcome
            found = account.milestones[str(change.milestone_id)]
            assert {name: found[name] for name in edit} == edit
    assert {request.method for request in desk.sandbox.requests} == {"GET"}


@pytest.mark.long_on("postgres")
def test_invoiced_milestones_are_not_written_to(desk: Desk) -> None:
    """A milestone on an invoice or draft is a conflict; a cancelled invoice does not count."""
    account = desk.sandbox.account
    for draft in (False, True):
        change = desk.approved(desk.draft(Action.UPDATE))
        account.invoice_milestone(str(change.milestone_id), draft=draft)
        desk.push()
        assert "invoice" in desk.assert_true(change).outcome
        assert desk.change(change).status is Status.CONFLICT
    id_ = desk.milestone()
    account.cancel_invoice(account.invoice_milestone(id_))
    unlocked = replace(
        desk.draft(Action.UPDATE), milestone_id=id_, before=desk.image(id_), after={"title": "free"}
    )
    change = desk.approved(unlocked)
    desk.push()
    assert desk.assert_true(change).status is Status.APPLIED


@pytest.mark.long_on("postgres")
def test_invoices_that_cannot_be_read(desk: Desk) -> None:
    """A milestone without readable invoice_ids is not written to."""
    change = desk.approved(desk.draft(Action.UPDATE))
    desk.sandbox.account.leave_out(str(change.milestone_id), "invoice_ids")
    assert desk.push().exit_code == 3
    assert "invoice_ids cannot be read" in desk.change(change).outcome
    assert desk.done(change) == 0


def test_withdrawn_during_a_push(desk: Desk) -> None:
    """A change that is withdrawn during a push is not sent; the others are."""
    first, second, third = (desk.approved(desk.draft(Action.UPDATE)) for _ in range(3))

    def withdraw(_account: object) -> None:
        with desk.ledger() as ledger:
            ledger.transition(
                ledger.change(second.change_id), Status.WITHDRAWN, who="ann", what="no"
            )

    desk.sandbox.misbehave(Fault("change", method="PUT", times=1, action=withdraw))
    assert desk.push().exit_code == 0
    statuses = [desk.change(change).status for change in (first, second, third)]
    assert statuses == [Status.APPLIED, Status.WITHDRAWN, Status.APPLIED]
    assert desk.done(second) == 0


@pytest.mark.long_on("postgres")
def test_an_edit_between_two_writes_is_found(desk: Desk) -> None:
    """A record that was read over five seconds ago is read again before the write."""
    first = desk.approved(desk.draft(Action.UPDATE))
    second = desk.approved(desk.draft(Action.UPDATE))
    id_ = str(second.milestone_id)
    desk.sandbox.misbehave(
        Fault("delay", method="PUT", path=f"/{first.milestone_id}$", seconds=5.2, times=1),
        Fault(
            "change", method="PUT", path=f"/{first.milestone_id}$", times=1,
            action=lambda account: account.update_milestone(id_, title="edited meanwhile"),
        ),
    )  # fmt: skip
    desk.push()
    assert desk.assert_true(first).status is Status.APPLIED
    assert desk.change(second).status is Status.CONFLICT
    assert desk.sandbox.account.milestones[id_]["title"] == "edited meanwhile"


def test_an_altered_change_is_not_sent(desk: Desk) -> None:
    """A change that was altered in the database after it was approved is not sent."""
    change = desk.approved(desk.draft(Action.UPDATE))
    desk.alter(change, '{"amount_in_cents": 999999}')
    desk.push()
    assert desk.change(change).status is Status.CONFLICT
    assert "it was altered in the ledger" in desk.change(change).outcome
    assert desk.done(change) == 0


def test_unknown_outcomes_wait(desk: Desk) -> None:
    """An unknown outcome is left alone for a time, and then reconciled."""
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_after", method="POST", times=1))
    assert desk.push(reconcile_after=240).exit_code == 3
    assert desk.change(change).status is Status.UNKNOWN
    desk.pass_time(200)
    waiting = desk.push(reconcile_after=240)
    assert [c.change_id for c, _ in waiting.waiting] == [change.change_id]
    desk.pass_time(41)
    assert desk.push(reconcile_after=240).exit_code == 0
    assert desk.assert_true(change).status is Status.APPLIED


@pytest.mark.long_on("postgres")
def test_an_equal_milestone_without_the_reference_is_a_conflict(desk: Desk) -> None:
    """An equal milestone without the change's reference does not count as its result."""
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_before", method="POST", times=1))
    desk.push()
    after = {k: v for k, v in change.after.items() if k != "workspace_id"}
    id_ = desk.sandbox.account.create_milestone(workspace_id=change.workspace_id, **after)
    assert desk.push().exit_code == 3
    now = desk.change(change)
    assert (now.status, id_ in now.outcome) == (Status.CONFLICT, True)
    assert desk.made_by(change) == [id_]


@pytest.mark.long_on("postgres")
def test_a_create_made_by_hand_is_a_conflict(desk: Desk) -> None:
    """A milestone that a person made meanwhile is made again only as an allowed duplicate."""
    change = desk.approved(desk.draft(Action.CREATE))
    after = {k: v for k, v in change.after.items() if k != "workspace_id"}
    id_ = desk.sandbox.account.create_milestone(workspace_id=change.workspace_id, **after)
    assert desk.push().exit_code == 3
    assert desk.change(change).status is Status.CONFLICT
    allowed = desk.approved(replace(desk.draft(Action.CREATE), after=change.after, duplicate=True))
    assert desk.push().exit_code == 0
    assert len(desk.made_by(change)) == 2
    assert desk.change(allowed).milestone_id != id_


@pytest.mark.long_on("postgres")
def test_deleted_and_access_lost(desk: Desk) -> None:
    """Deleting a milestone ends its changes; while access is lost they stay approved."""
    account = desk.sandbox.account
    update, delete = (desk.approved(desk.draft(a)) for a in (Action.UPDATE, Action.DELETE))
    for change in (update, delete):
        account.delete_milestone(str(change.milestone_id))
    desk.push()
    assert desk.change(update).status is Status.CONFLICT
    assert desk.change(delete).status is Status.APPLIED
    hidden = desk.approved(desk.draft(Action.UPDATE))
    account.hide_workspace(hidden.workspace_id)
    result = desk.push()
    assert (result.exit_code, len(result.waiting)) == (3, 1)
    assert desk.change(hidden).status is Status.APPROVED
    account.show_workspace(hidden.workspace_id)
    assert desk.push().exit_code == 0


@pytest.mark.long_on("postgres")
def test_a_wrong_token_stops_everything(desk: Desk) -> None:
    """After a 401 nothing more is sent, and every change stays approved."""
    changes = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(3)]
    desk.sandbox.misbehave(Fault("refuse", status=401, method="PUT"))
    result = desk.push()
    assert isinstance(result.stopped, KantataUnauthorized)
    assert result.exit_code == 2
    puts = [r for r in desk.sandbox.requests if r.method == "PUT"]
    assert len(puts) == 1
    assert {desk.change(c).status for c in changes} == {Status.APPROVED}


@pytest.mark.long_on("postgres")
def test_writes_that_never_arrive_stop_the_push(desk: Desk) -> None:
    """Without a connection three changes are tried, all stay approved, and the exit code is 75."""
    changes = [desk.approved(desk.draft(action)) for action in (*Action, Action.UPDATE)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        desk.writes_to = f"http://127.0.0.1:{free.getsockname()[1]}/api/v1"
        result = desk.push()
    assert isinstance(result.stopped, KantataUnavailable)
    assert (result.exit_code, len(result.waiting)) == (75, 3)
    assert {desk.change(c).status for c in changes} == {Status.APPROVED}
    desk.writes_to = ""
    assert desk.push().exit_code == 0
    for change in changes:
        assert desk.assert_true(change).status is Status.APPLIED


@pytest.mark.long_on("postgres")
def test_no_more_than_allowed(desk: Desk) -> None:
    """A push takes at most ``max_changes``, the oldest first."""
    changes = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(5)]
    desk.push(most=2)
    assert [desk.change(c).status for c in changes] == [Status.APPLIED] * 2 + [Status.APPROVED] * 3
    served = [request.request_id for request in desk.sandbox.requests if request.method == "PUT"]
    with desk.ledger() as ledger:
        done = [event for event in ledger.events() if event.after is Status.APPLIED]
    assert [event.request_id for event in done] == served  # for Kantata's support


def test_one_push_at_a_time(desk: Desk) -> None:
    """A second push at the same time is refused and writes nothing."""
    with desk.ledger() as ledger, push_lock(ledger), pytest.raises(WarehouseBusy):
        desk.push()


@pytest.mark.long_on("postgres")
def test_an_unexpected_value_after_a_write_is_reported(desk: Desk) -> None:
    """If Kantata accepts a write and then returns another value, the push exits with 3."""
    change = desk.approved(desk.draft(Action.UPDATE))
    id_ = str(change.milestone_id)
    desk.sandbox.misbehave(
        Fault(
            "change", method="GET", query={"only": id_}, skip=1, times=1,
            action=lambda account: account.silently_update_milestone(id_, amount_in_cents=6),
        )
    )  # fmt: skip
    result = desk.push()
    assert result.exit_code == 3
    assert "amount is 0.06 USD instead of 0.05 USD" in result.doubts[0]


@pytest.mark.parametrize(
    ("kind", "troubled"),
    [
        pytest.param("sqlite", False, id="sqlite-quiet"),
        pytest.param("postgres", True, id="postgres-troubled"),
        pytest.param("sqlite", True, id="sqlite-troubled", marks=pytest.mark.long),
        pytest.param("postgres", False, id="postgres-quiet", marks=pytest.mark.long),
    ],
)
def test_three_pushes_at_once(
    kind: str,
    troubled: bool,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With three concurrent pushes, each change is written once.

    This also holds if answers are lost and the writing process is killed: the next push
    reconciles, and sends nothing again that arrived.
    """
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    if kind == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
    with Sandbox(milestones=50, latency_ms=20) as sandbox:
        desk = Desk(sandbox, url)
        monkeypatch.setenv("KANTATA_API_URL", sandbox.url)
        monkeypatch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
        monkeypatch.setenv("LEDGER__URL", url)
        monkeypatch.setenv("PUSH__ENABLED", "true")
        monkeypatch.setenv("PUSH__RECONCILE_AFTER", "0")
        Job("duckdb").synced(sandbox)
        of_each = 8 if troubled else 4
        changes = [desk.approved(desk.draft(action)) for action in [*Action] * of_each]
        pushes: list[Forked] = []
        if troubled:
            for number, method in enumerate(WRITES.values(), start=1):
                sandbox.misbehave(  # three unknowns in a row would stop the push
                    Fault("drop_after", method=method, skip=number, times=1),
                    Fault("throttle", method=method, skip=3, times=2, retry_after=0),
                    Fault("drop_before", method=method, skip=7, times=1),
                )
            sandbox.misbehave(
                Fault(
                    "change", method="DELETE", skip=4, times=1,
                    action=lambda _: [process.kill() for process in pushes],
                )
            )  # fmt: skip
        pushes += [
            start_milestones("push", "--json", stdout=DEVNULL, stderr=DEVNULL) for _ in range(3)
        ]
        codes = {process.wait() for process in pushes}
        assert codes <= ({-9, 75} if troubled else {0, 75}), codes
        assert (-9 if troubled else 0) in codes
        sandbox.behave()
        desk.finish()
        for change in changes:
            assert desk.assert_true(change).status is Status.APPLIED
        sent = Counter(
            (r.method, r.path) for r in sandbox.requests if r.method in ("PUT", "DELETE")
        )
        again = sum(times - 1 for times in sent.values())
        # Each method is throttled twice and lost once; the killed push's own write arrived.
        assert again <= (2 * 3 if troubled else 0), sent
        assert desk.requests("POST") <= of_each + (3 if troubled else 0)


def test_a_lost_ledger_connection_ends_the_push(postgres_url: str) -> None:
    """On Postgres the push lock ends with its connection, and then nothing more is sent."""
    with Sandbox(milestones=50) as sandbox:
        desk = Desk(sandbox, postgres_url)
        changes = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(3)]

        def end_connections(_account: object) -> None:
            with psycopg2.connect(postgres_url) as connection, connection.cursor() as cursor:
                cursor.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                )
            connection.close()

        sandbox.misbehave(Fault("change", method="PUT", times=1, action=end_connections))
        with pytest.raises(Exception, match="the ledger failed"):
            desk.push()
        assert sum(r.method == "PUT" for r in sandbox.requests) == 1
        desk.finish()
        for change in changes:
            assert desk.assert_true(change).status is Status.APPLIED
