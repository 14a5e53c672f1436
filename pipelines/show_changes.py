"""Changes as a person reads them: before and after, in the currency's own money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from rich.markup import escape

from warehouse.change import Action, Change, Event, Status, Value

from .plan import Conflict, Later, NoOp, Step, Write
from .push import Pushed
from .show import exact, money, out

Units = Mapping[str, Decimal]
_COLOURS = {
    Status.APPLIED: "green",
    Status.CONFLICT: "red",
    Status.FAILED: "red",
    Status.UNKNOWN: "yellow",
}


def listed(changes: Sequence[Change], units: Units) -> None:
    """Changes, some lines each: an id is never cut, since it is what one types next."""
    for change in changes:
        who = change.proposer + (f", approved by {change.approver}" if change.approver else "")
        out.print(f"{change.change_id}  {status(change.status)}  {_headed(change)}")
        for line in lines(change, units):
            out.print(f"  {line}", markup=False, soft_wrap=True)
        out.print(f"  {who}: {change.reason}", markup=False, soft_wrap=True)
    if not changes:
        out.print("no changes")


def _headed(change: Change) -> str:
    where = f"milestone {change.milestone_id}" if change.milestone_id else "a milestone"
    return f"{change.action} {where} in project {change.workspace_id}"


def status(value: Status) -> str:
    """A status in its colour."""
    colour = _COLOURS.get(value, "default")
    return f"[{colour}]{value}[/]"


def lines(change: Change, units: Units) -> list[str]:
    """What a change does, a line each."""
    if change.action is Action.DELETE:
        title, amount = (change.before.get(name) for name in ("title", "amount_in_cents"))
        shown = _value("amount_in_cents", amount, change, units)
        return [f"delete {title!r} of {shown}"]
    if change.action is Action.CREATE:
        return [f"{_label(n)}: {_value(n, v, change, units)}" for n, v in change.after.items()]
    return [
        f"{_label(name)}: {_value(name, change.before.get(name), change, units)} → "
        f"{_value(name, value, change, units)}"
        for name, value in change.after.items()
    ]


def _label(name: str) -> str:
    return "amount" if name == "amount_in_cents" else name


def _value(name: str, value: Value, change: Change, units: Units) -> str:
    if value is None:
        return "none"
    if name == "amount_in_cents" and isinstance(value, int):
        return f"{money(value, units.get(change.currency or ''))} {change.currency or ''}".strip()
    return str(value)


def whole(change: Change, units: Units) -> None:
    """All of one change."""
    listed([change], units)
    if change.outcome:
        out.print(f"  {change.outcome}", markup=False, soft_wrap=True)
    out.print(f"  digest {change.digest}", markup=False, soft_wrap=True)


def change_json(change: Change, units: Units) -> dict[str, object]:
    """A change as JSON."""
    unit = units.get(change.currency or "")
    amounts = [fields.get("amount_in_cents") for fields in (change.before, change.after)]
    before, after = (exact(a, unit) if isinstance(a, int) else None for a in amounts)
    return {
        "change_id": change.change_id,
        "status": change.status,
        "action": change.action,
        "milestone_id": change.milestone_id,
        "workspace_id": change.workspace_id,
        "currency": change.currency,
        "before": dict(change.before),
        "after": dict(change.after),
        "amount_before": before,
        "amount_after": after,
        "reason": change.reason,
        "proposer": change.proposer,
        "approver": change.approver,
        "digest": change.digest,
        "proposed_at": change.proposed_at.isoformat() if change.proposed_at else None,
        "sent_at": change.sent_at.isoformat() if change.sent_at else None,
        "attempts": change.attempts,
        "outcome": change.outcome,
    }


def plan(steps: Sequence[Step], units: Units) -> None:
    """What a push would do."""
    for step in steps:
        change = step.change
        what = {Write: "write", NoOp: "nothing to do", Conflict: "conflict", Later: "later"}
        out.print(f"[bold]{what[type(step)]}[/]  {change.change_id}  {_headed(change)}")
        for line in lines(change, units):
            out.print(f"  {line}", markup=False, soft_wrap=True)
        if not isinstance(step, Write):
            out.print(f"  {step.why}", markup=False, soft_wrap=True)
    writes = sum(isinstance(step, Write) for step in steps)
    out.print(f"{writes} of {len(steps)} approved changes would be written")


def plan_json(steps: Sequence[Step], units: Units) -> list[dict[str, object]]:
    """What a push would do, as JSON."""
    return [
        change_json(step.change, units)
        | {
            "step": type(step).__name__.lower(),
            "why": "" if isinstance(step, Write) else step.why,
        }
        for step in steps
    ]


def pushed(result: Pushed) -> None:
    """What a push did."""
    for change in result.changes:
        out.print(
            f"{status(change.status)}  {change.change_id}  {_headed(change)}: "
            f"{escape(change.outcome)}",
            soft_wrap=True,
        )
    for change, why in result.waiting:
        out.print(f"[yellow]left[/] {change.change_id}: {escape(why)}", soft_wrap=True)
    for doubt in result.doubts:
        out.print(f"[yellow]needs a person:[/] {escape(doubt)}", soft_wrap=True)
    if result.more:
        out.print(f"{result.more} more approved: max_changes was reached, or it ended early")
    applied = sum(change.status is Status.APPLIED for change in result.changes)
    out.print(f"{applied} applied, {len(result.changes) - applied} not, {len(result.waiting)} left")


def pushed_json(result: Pushed, units: Units) -> dict[str, object]:
    """What a push did, as JSON."""
    return {
        "exit_code": result.exit_code,
        "changes": [change_json(change, units) for change in result.changes],
        "waiting": [{"change_id": c.change_id, "why": why} for c, why in result.waiting],
        "doubts": result.doubts,
        "more_approved": result.more,
        "error": str(result.stopped) if result.stopped else None,
    }


def audit(events: Sequence[Event]) -> None:
    """What happened to a change, a line each."""
    for event in events:
        moved = f"{event.before} → {event.after}" if event.before else str(event.after)
        request = f" (request {event.request_id})" if event.request_id else ""
        out.print(
            f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {event.who}  {moved}: {event.what}{request}",
            markup=False,
            soft_wrap=True,
        )
