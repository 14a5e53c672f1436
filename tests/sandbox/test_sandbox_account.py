"""The account: its mutators, the events they raise, odd values, and the seed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sources.kantata_sandbox import Account
from sources.kantata_sandbox.clock import instant
from tests.support.kantata import LIST, NOW, Kantata

Change = Callable[[Account, str], object]

CHANGES: list[tuple[str, Change, set[str], bool]] = [
    ("update", lambda a, i: a.update_milestone(i, title="x"), {"billing_milestone:updated"}, True),
    ("same", lambda a, i: a.update_milestone(i, title=a.milestones[i]["title"]), set(), False),
    ("silent", lambda a, i: a.silently_update_milestone(i, title="x"), set(), False),
    ("invoice", lambda a, i: a.invoice_milestone(i), {"invoice:created"}, False),
    ("draft", lambda a, i: a.invoice_milestone(i, draft=True), {"invoice:created"}, False),
    ("cancel", lambda a, i: a.cancel_invoice(a.invoice_milestone(i)),
     {"invoice:created", "invoice:updated"}, False),
    ("send", lambda a, i: a.update_invoice(a.invoice_milestone(i, draft=True), draft=False),
     {"invoice:created", "invoice:updated"}, False),
    ("unbill", lambda a, i: a.delete_invoice(a.invoice_milestone(i, draft=True)),
     {"invoice:created", "invoice:deleted"}, False),
    ("reference", lambda a, i: a.save_reference(i, {"service_name": "us"}), set(), False),
    ("story", lambda a, i: a.update_story("1001", state="completed"), {"story:updated"}, False),
    ("rename", lambda a, i: a.rename_workspace(a.milestones[i]["workspace_id"], "x"),
     {"workspace:updated"}, False),
    ("archive", lambda a, i: a.archive_workspace(a.milestones[i]["workspace_id"]),
     {"workspace:updated"}, False),
    ("currency", lambda a, i: a.update_workspace(a.milestones[i]["workspace_id"], currency="XXX"),
     {"workspace:updated"}, False),
    ("hide", lambda a, i: a.hide_workspace(a.milestones[i]["workspace_id"]), set(), False),
    ("raw", lambda a, i: a.set_raw(i, "title", 5), set(), False),
    ("field", lambda a, i: a.add_field("weight", 5), set(), False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "events", "moves"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES]
)
def test_events_of_each_change(
    kantata: Kantata, change: Change, events: set[str], moves: bool
) -> None:
    """Only an edit moves updated_at. Edits, invoices, tasks and projects raise events."""
    account, id_ = kantata.account, kantata.open_milestone()
    before, events_before = account.true_milestones[id_]["updated_at"], len(account.events)
    change(account, id_)
    assert {event["event_type"] for event in account.events[events_before:]} == events
    assert (account.true_milestones[id_]["updated_at"] != before) is moves


def test_every_change_is_visible_at_once(kantata: Kantata) -> None:
    """After a change, no page is served from a cache."""
    id_ = kantata.open_milestone()
    for number, change in enumerate(c[1] for c in CHANGES):
        before, version = kantata.get(LIST, per_page=200), kantata.account.version
        assert kantata.get(LIST, per_page=200) == before
        if not kantata.account.milestones[id_]["invoice_id"]:
            change(kantata.account, id_)
            assert kantata.account.version > version, number
    kantata.account.silently_update_milestone(id_, amount_in_cents=number)
    assert kantata.get(f"{LIST}/{id_}")[LIST][id_]["amount_in_cents"] == number


def test_a_deleted_project_takes_its_milestones_along(kantata: Kantata) -> None:
    """Deleting a project deletes its milestones and tasks; the milestones raise no event."""
    account = kantata.account
    project = account.milestones[kantata.ids()[0]]["workspace_id"]
    mine = kantata.count(workspace_ids=project)
    events_before = len(account.events)
    account.delete_workspace(project)
    assert [event["event_type"] for event in account.events[events_before:]] == [
        "workspace:deleted"
    ]
    assert kantata.count() == 450 - mine
    assert project not in {s["workspace_id"] for s in account.stories.values()}
    assert kantata.get(LIST, per_page=200, include="workspace")


def test_mutators_refuse_nonsense(kantata: Kantata) -> None:
    """A missing object raises KeyError, an invalid request ValueError. Nothing changes."""
    account = kantata.account
    id_ = kantata.open_milestone()
    invoice = account.invoice_milestone(id_)
    for call in (account.update_milestone, account.delete_milestone, account.hide_workspace):
        with pytest.raises(KeyError):
            call("999999999")
    with pytest.raises(ValueError, match="already"):
        account.invoice_milestone(id_)
    with pytest.raises(ValueError, match="draft"):
        account.delete_invoice(invoice)
    assert kantata.count() == 450


def test_ids_are_never_reused(kantata: Kantata) -> None:
    """A new milestone's id is higher than any id used before."""
    first = kantata.account.create_milestone()
    kantata.account.delete_milestone(first)
    assert int(kantata.account.create_milestone()) > int(first)


def test_a_milestone_can_be_backdated(kantata: Kantata) -> None:
    """A list sorts a milestone by its created_at, even after that changes."""
    id_ = kantata.account.create_milestone(created_at="1999-01-01T00:00:00Z")
    assert kantata.ids(order="created_at:asc")[0] == id_
    kantata.account.update_milestone(id_, created_at=NOW)
    assert id_ in kantata.ids()[:1]
    assert kantata.count() == 451


def _shown(kantata: Kantata, id_: str) -> dict[str, Any]:
    return dict(kantata.get(f"{LIST}/{id_}", include="invoices")[LIST][id_])


def test_fields_come_and_go(kantata: Kantata) -> None:
    """Fields can be added (also by a function), removed from all, and restored."""
    id_ = kantata.open_milestone()
    plain = _shown(kantata, id_)
    kantata.account.add_field("weight", 5)
    kantata.account.add_field("double", lambda m: m["amount_in_cents"] * 2)
    for name in ("title", "invoice_ids", "id"):
        kantata.account.remove_field(name)
    expected = plain | {"weight": 5, "double": plain["amount_in_cents"] * 2}
    for name in ("title", "invoice_ids", "id"):
        del expected[name]
    assert _shown(kantata, id_) == expected
    for name in ("weight", "double", "title", "invoice_ids", "id"):
        kantata.account.restore_field(name)
    assert _shown(kantata, id_) == plain


@pytest.mark.parametrize("value", [None, "12.50", 1000.5, {"a": [1]}, [], True, 2**60])
def test_any_value_can_be_shown(kantata: Kantata, value: object) -> None:
    """One milestone shows any JSON value in any field, the id included, until it is cleared."""
    id_, other = kantata.open_milestone(), max(kantata.account.milestones, key=int)
    plain = _shown(kantata, id_)
    for field in ("amount_in_cents", "id", "invoice_ids"):
        kantata.account.set_raw(id_, field, value)
    assert _shown(kantata, id_) == plain | dict.fromkeys(
        ("amount_in_cents", "id", "invoice_ids"), value
    )
    assert _shown(kantata, other)["id"] == other
    kantata.account.clear_raw(id_)
    assert _shown(kantata, id_) == plain


def test_one_milestone_can_lack_a_field(kantata: Kantata) -> None:
    """Absent is not null: a field can be absent in one milestone alone."""
    id_, other = kantata.open_milestone(), max(kantata.account.milestones, key=int)
    kantata.account.leave_out(id_, "currency")
    assert "currency" not in _shown(kantata, id_)
    assert "currency" in _shown(kantata, other)
    assert kantata.account.milestone(id_) == _shown(kantata, id_) | {"external_reference_ids": []}


def _bytes(account: Account) -> bytes:
    tables = ("milestones", "workspaces", "stories", "invoices", "external_references", "events")
    return json.dumps([getattr(account, name) for name in tables]).encode()


@pytest.mark.parametrize("milestones", [0, 1, 450])
def test_the_same_seed_is_the_same_account(milestones: int) -> None:
    """The same number, seed and time give the same bytes in any process; another seed does not."""
    one = _bytes(Account.seeded(milestones, 7, NOW))
    assert one == _bytes(Account.seeded(milestones, 7, NOW))
    assert one != _bytes(Account.seeded(milestones, 8, NOW))
    program = (
        "import sys, json; from datetime import *; from sources.kantata_sandbox import Account;"
        f"a = Account.seeded({milestones}, 7, datetime(2026, 7, 1, 12, tzinfo=timezone.utc));"
        "sys.stdout.write(json.dumps([a.milestones, a.workspaces, a.stories, a.invoices,"
        "a.external_references, a.events]))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert other.stdout == one


def test_the_seed_is_varied() -> None:
    """The seed has all currencies, credits, zeros, null dates, drafts, cancellations and ties."""
    account = Account.seeded(2000, 1, NOW)
    records = account.milestones.values()
    assert {m["currency"] for m in records} == {"USD", "EUR", "JPY", "KWD"}
    assert min(m["amount_in_cents"] for m in records) < 0
    assert 0 in {m["amount_in_cents"] for m in records}
    assert None in {m["date_to_invoice"] for m in records}
    assert {m["billing_type"] for m in records} == {"fixed_date", "upon_completion"}
    invoices = account.invoices.values()
    assert {i["status"] for i in invoices} == {"new", "cancelled", "accepted payment"}
    assert {i["draft"] for i in invoices} == {True, False}
    assert len({m["created_at"] for m in records}) < 2000
    assert {w["archived"] for w in account.workspaces.values()} == {True, False}


def test_the_seed_is_consistent() -> None:
    """Times, currencies, tasks and invoices of a seeded milestone agree with each other."""
    account = Account.seeded(2000, 1, NOW)
    for id_, m in account.milestones.items():
        assert m["currency"] == account.workspaces[m["workspace_id"]]["currency"]
        assert instant(m["created_at"]) <= instant(m["updated_at"]) <= NOW.timestamp()
        assert (m["story_id"] is not None) == (m["billing_type"] == "upon_completion")
        for invoice in (account.invoices[i] for i in account.invoices_of.get(id_, [])):
            assert invoice["currency"] == m["currency"]
            assert invoice["created_at"] >= m["created_at"]
            assert instant(invoice["created_at"]) <= NOW.timestamp()
            assert (m["invoice_id"] is None) == (invoice["status"] == "cancelled")
