"""Subscribed Events: who may read them, what they contain, delays and duplicates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sources.kantata_sandbox.clock import instant
from tests.support.kantata import LIST, NOW, Kantata

EVENTS = "subscribed_events"
TYPES = f"{EVENTS}/event_types"
DAY = 86400
Record = dict[str, Any]


def events_of(kantata: Kantata, id_: str, **query: object) -> list[Record]:
    """The events about a milestone, newest first."""
    rows = kantata.rows(EVENTS, per_page=200, **query)
    return [
        row
        for row in rows
        if row["subject_type"] == "BillingMilestone" and row["subject_id"] == int(id_)
    ]


def kinds(events: list[Record]) -> list[str]:
    """The verbs of the events, oldest first."""
    return sorted(event["event_type"].partition(":")[2] for event in events)


@pytest.mark.parametrize("switch", [{"enabled": False}, {"administrator": False}])
@pytest.mark.parametrize("path", [EVENTS, TYPES])
def test_who_may_read_events(kantata: Kantata, switch: dict[str, bool], path: str) -> None:
    """Without events or administrator rights the feed is 403; the lists stay readable."""
    kantata.account.set_feed(**switch)
    status, errors = kantata.errors("GET", path)
    assert (status, errors[0]["type"]) == (403, "system")
    assert kantata.ask("GET", LIST).ok
    kantata.account.set_feed()
    assert kantata.ask("GET", path).ok


def test_event_types(kantata: Kantata) -> None:
    """The names of event types are a plain list, and each has a schema."""
    body = kantata.get(TYPES)
    names = body["subscribed_event_types"]
    assert {f"billing_milestone:{v}" for v in ("created", "updated", "deleted")} <= set(names)
    assert set(body["subscribed_event_type_schemas"]) == set(names)


def test_what_events_contain(kantata: Kantata) -> None:
    """Events have the documented kinds of ids, and no subject_ref after a delete."""
    id_ = kantata.account.create_milestone(title="a")
    kantata.account.update_milestone(id_, title="b")
    events = events_of(kantata, id_)
    assert kinds(events) == ["created", "updated"]
    for event in events:
        assert event["subject_ref"] == {"key": LIST, "id": id_}
        assert isinstance(event["account_id"], int)
        assert isinstance(event["user_id"], int)
        assert isinstance(event["id"], str)
        assert event["context_workspace_id"] == kantata.account.milestones[id_]["workspace_id"]
    kantata.account.delete_milestone(id_)
    events = events_of(kantata, id_)
    assert kinds(events) == ["created", "deleted", "updated"]
    assert {event["subject_ref"] for event in events} == {None}


def test_payloads_are_strings_and_optional(kantata: Kantata) -> None:
    """The three payloads are returned only on request, as JSON in strings."""
    id_ = kantata.open_milestone()
    before = kantata.account.milestones[id_]["title"]
    kantata.account.update_milestone(id_, title="b")
    names = ("previous_payload", "current_payload", "payload_changes")
    assert not set(names) & set(events_of(kantata, id_)[0])
    (event,) = events_of(kantata, id_, optional_fields=",".join(names), event_types=_updated())[:1]
    old, new, changes = (json.loads(event[name]) for name in names)
    assert (old["title"], new["title"]) == (before, "b")
    assert changes["title"] == [before, "b"]
    assert "previous_payload" not in events_of(kantata, id_, optional_fields="current_payload")[0]


def _updated() -> str:
    return "billing_milestone:updated"


def test_subjects_are_included(kantata: Kantata) -> None:
    """`include=subject` side-loads the subjects that still exist."""
    id_ = kantata.account.create_milestone()
    deleted = kantata.account.create_milestone()
    kantata.account.delete_milestone(deleted)
    body = kantata.get(EVENTS, include="subject", per_page=200)
    assert body[LIST][id_] == kantata.account.milestones[id_]
    assert deleted not in body[LIST]


def test_filters(kantata: Kantata) -> None:
    """Filters by type, user and subject restrict; by subject_type no milestone is found."""
    id_ = kantata.account.create_milestone()
    kantata.account.update_story("1001", state="completed")
    created = kantata.rows(EVENTS, event_types="billing_milestone:created,nonsense", per_page=200)
    assert {row["event_type"] for row in created} == {"billing_milestone:created"}
    assert int(id_) in {row["subject_id"] for row in created}
    assert kantata.count(EVENTS, event_types="nonsense") == 0
    assert kantata.count(EVENTS, subject_type="BillingMilestone") == 0
    assert kantata.count(EVENTS, subject_type="Story", subject_id=1001) == 1
    assert kantata.count(EVENTS, subject_id=1001) == kantata.count(EVENTS)
    assert kantata.count(EVENTS, user_ids="1") == 0
    assert kantata.count(EVENTS, subject_changed_after="2999-01-01") == kantata.count(EVENTS)


def test_pages_and_order(kantata: Kantata) -> None:
    """Events are newest first unless created_at:asc, 20 to a page, ties by id."""
    for _ in range(25):
        kantata.account.create_milestone()
    rows = kantata.rows(EVENTS, per_page=200)
    key = [(-instant(row["created_at"]), int(row["id"])) for row in rows]
    assert key == sorted(key)
    assert kantata.ids(EVENTS) == [row["id"] for row in rows[:20]]
    oldest = kantata.rows(EVENTS, per_page=200, order="created_at:asc")
    key = [(instant(row["created_at"]), int(row["id"])) for row in oldest]
    assert key == sorted(key)
    assert kantata.ids(EVENTS, only=rows[3]["id"]) == [rows[3]["id"]]


def test_created_after_excludes_its_second(kantata: Kantata) -> None:
    """created_after and created_before exclude the second they name."""
    kantata.account.advance(3600)
    id_ = kantata.account.create_milestone()
    at = events_of(kantata, id_)[0]["created_at"]
    assert events_of(kantata, id_, created_after=at) == []
    assert events_of(kantata, id_, created_before=at) == []
    assert len(events_of(kantata, id_, created_after=NOW.isoformat())) == 1
    assert len(events_of(kantata, id_, created_before="2999-01-01")) == 1


def test_most_recent(kantata: Kantata) -> None:
    """most_recent keeps the last event of each subject, or of each subject and type."""
    id_ = kantata.account.create_milestone()
    for title in ("a", "b", "c"):
        kantata.account.update_milestone(id_, title=title)
    assert kinds(events_of(kantata, id_, most_recent="true")) == ["updated"]
    assert kinds(events_of(kantata, id_, most_recent_by_event_type="true")) == [
        "created",
        "updated",
    ]
    assert len(events_of(kantata, id_, most_recent="false")) == 4


def test_events_expire(kantata: Kantata) -> None:
    """After nine days an event can no longer be read."""
    id_ = kantata.account.create_milestone()
    kantata.account.advance(9 * DAY - 60)
    assert len(events_of(kantata, id_)) == 1
    kantata.account.advance(120)
    assert events_of(kantata, id_) == []


def test_late_events_are_backdated(kantata: Kantata) -> None:
    """A late event appears after its delay, with the time of the change."""
    kantata.account.set_feed(delay_seconds=300)
    late = kantata.account.create_milestone()
    kantata.account.set_feed()
    kantata.account.advance(100)
    early = kantata.account.create_milestone()
    assert events_of(kantata, late) == []
    seen = events_of(kantata, early)[0]["created_at"]
    kantata.account.advance(300)
    assert instant(events_of(kantata, late)[0]["created_at"]) < instant(seen)
    assert events_of(kantata, late, created_after=seen) == []


def test_duplicate_events(kantata: Kantata) -> None:
    """Copies of an event have the same content and different ids."""
    kantata.account.set_feed(copies=3)
    id_ = kantata.account.create_milestone()
    events = events_of(kantata, id_)
    assert kinds(events) == ["created"] * 3
    assert len({event["id"] for event in events}) == 3
    assert len({event["created_at"] for event in events}) == 1


def test_events_of_hidden_projects_are_hidden(kantata: Kantata) -> None:
    """The feed has no events of a project that the user cannot read."""
    id_ = kantata.account.create_milestone()
    project = kantata.account.milestones[id_]["workspace_id"]
    kantata.account.rename_workspace(project, "x")
    kantata.account.hide_workspace(project)
    assert events_of(kantata, id_) == []
    assert kantata.count(EVENTS, subject_type="Workspace", subject_id=project) == 0


def test_a_seeded_account_remembers_its_last_days() -> None:
    """A seeded account has events for the milestones created or edited in the last days."""
    from sources.kantata_sandbox import Account

    account = Account.seeded(3000, 1, NOW)
    types = {event["event_type"] for event in account.events}
    assert types == {"billing_milestone:created", "billing_milestone:updated"}
    assert len(account.feed.visible(account.clock.now())) > 10
