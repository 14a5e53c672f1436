"""Subscribed Events: the account's record of its changes (API.md#subscribed-events)."""

from typing import Any

import orjson

from .blank_records import USER_ID, Record
from .clock import stamp

RETENTION = 9 * 86400
"""Seconds an event can be read; older copies of the documentation say 7 days."""

EVENT_TYPES = tuple(
    f"{subject}:{verb}"
    for subject in ("billing_milestone", "invoice", "workspace", "story")
    for verb in ("created", "updated", "deleted")
)

SUBJECT_TYPES = frozenset({"Invoice", "Workspace", "Story"})
"""What `subject_type` may filter by. BillingMilestone is not among the documented values."""

_KEYS = {
    "BillingMilestone": "billing_milestones",
    "Invoice": "invoices",
    "Workspace": "workspaces",
    "Story": "stories",
}


def _payload(value: Record | None) -> str | None:
    """Return a record as JSON text, as events of the feed carry it; None without a record."""
    # Declared a string and described as JSON; clients that expect an object must cope.
    return None if value is None else orjson.dumps(value).decode()


def _changes(before: Record | None, after: Record | None) -> Record:
    """Return the fields an event of the feed shows as changed, each with both values."""
    names = {**(before or {}), **(after or {})}
    pairs = {name: [(before or {}).get(name), (after or {}).get(name)] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


class Feed:
    """The feed's events, in the order in which they were raised.

    Events can be late and double, as the documentation warns: a late one has the date of the change
    and appears `delay_seconds` later.
    """

    def __init__(self, account_id: int) -> None:
        self.account_id = account_id
        self.enabled = True
        self.delay_seconds = 0
        self.copies = 1
        self.records: list[Record] = []
        self._visible: list[int] = []

    def emit(
        self,
        subject_type: str,
        verb: str,
        at: int,
        *,
        before: Record | None = None,
        after: Record | None = None,
    ) -> None:
        """Raise an event in the feed: a record changed from `before` to `after` at this second."""
        subject = after or before
        if subject is None:
            raise ValueError("an event needs a record before or after the change")
        for _ in range(self.copies):
            event = self._record(subject_type, verb, at, subject)
            event["previous_payload"] = _payload(before)
            event["current_payload"] = _payload(after)
            event["payload_changes"] = _payload(_changes(before, after))
            self.records.append(event)
            self._visible.append(at + self.delay_seconds)

    def _record(self, subject_type: str, verb: str, at: int, subject: Record) -> Record:
        """Return the feed's record of one event, without payloads."""
        key = _KEYS[subject_type]
        name = {"BillingMilestone": "billing_milestone"}.get(subject_type, subject_type.lower())
        return {
            "id": str(8_000_001 + len(self.records)),
            "account_id": self.account_id,
            "context_workspace_id": subject.get("workspace_id"),
            "created_at": stamp(at),
            "event_type": f"{name}:{verb}",
            "subject_changed_at": stamp(at),
            "subject_id": int(subject["id"]),
            "subject_type": subject_type,
            "subject_ref": None if verb == "deleted" else {"key": key, "id": subject["id"]},
            "user_id": USER_ID,
        }

    def visible(self, now: int) -> list[Record]:
        """Return the feed's events that can be read at `now`."""
        return [
            event
            for moment, event in zip(self._visible, self.records, strict=True)
            if now - RETENTION <= moment <= now
        ]


def schemas() -> dict[str, Any]:
    """Return the `subscribed_event_type_schemas` of /subscribed_events/event_types."""
    return {name: {"type": "object", "subject": name.split(":")[0]} for name in EVENT_TYPES}
