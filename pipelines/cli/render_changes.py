"""Rendering of changes, plans and pushes: as text for people, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.padding import Padding
from rich.text import Text

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.text import visible
from pipelines.writeback.approvals import DIGEST_LENGTH, DecisionResult
from pipelines.writeback.plan import Conflict, Deferred, NoOp, Step, Write
from pipelines.writeback.result import PushResult
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action, Change, Event, Status, Value
from warehouse.words import counted

from .change_table import COLOURS, render_table, render_totals
from .labels import Labels
from .output import exact_amount, format_amount, out, print_out, safe_markup

# The names of steps in `plan --json`, which other programs read.
_NAME_LENGTH = 60  # characters of a title
_STEP_NAMES = {Write: "write", NoOp: "noop", Conflict: "conflict", Deferred: "later"}


def render_list(changes: Sequence[Change], known: Labels) -> None:
    """Print a list of changes with its totals and its digest."""
    if not changes:
        out.print("no changes")
        return
    render_table(changes, known)
    render_totals(changes, known)


def _heading(what: str, change: Change, known: Labels) -> None:
    """Print the heading of a change: its ids, its status, its milestone and its project."""
    target = f"milestone {change.milestone_id}" if change.milestone_id else "a milestone"
    out.print(
        f"{safe_markup(change.change_id)}  {what}  {change.action} {safe_markup(target)}",
        soft_wrap=True,
    )
    _line(f"milestone: {(change.before or change.after).get('title')}")
    project = known.projects.get(change.workspace_id)
    _line(f"project: {f'{project} ' if project else ''}({change.workspace_id})")


def _line(text: str) -> None:
    """Print a line below a change; on a terminal, wrapped lines stay indented."""
    shown = Text(visible(text))
    if out.is_terminal:
        out.print(Padding(shown, (0, 0, 0, 4)))
    else:
        out.print(Text("    ") + shown, soft_wrap=True)


def status_text(value: Status) -> str:
    """Return the status of a change as text in its colour."""
    colour = COLOURS.get(value, "default")
    return f"[{colour}]{value}[/]"


def change_name(change: Change) -> str:
    """Return what a change does to which milestone, for a line."""
    title = str((change.before or change.after).get("title") or "")
    shown = title if len(title) <= _NAME_LENGTH else f"{title[:_NAME_LENGTH]}…"
    target = f"milestone {change.milestone_id}" if change.milestone_id else "a milestone"
    return f"{change.action} {target}: {shown}"


def change_lines(change: Change, known: Labels) -> list[str]:
    """Return the lines that show what a change does, with amounts in money."""
    if change.action is Action.DELETE:
        amount = _value("amount_in_cents", change.before.get("amount_in_cents"), change, known)
        return [f"amount: {amount}, to be deleted"]
    if change.action is Action.CREATE:
        fields = ((n, v) for n, v in change.after.items() if n not in ("workspace_id", "title"))
        return [f"{_label(n)}: {_value(n, v, change, known)}" for n, v in fields]
    return [
        f"{_label(name)}: {_value(name, change.before.get(name), change, known)} → "
        f"{_value(name, value, change, known)}"
        for name, value in change.after.items()
    ]


def _label(name: str) -> str:
    """Return the name of a change's field as people read it."""
    return "amount" if name == "amount_in_cents" else name


def _value(name: str, value: Value, change: Change, known: Labels) -> str:
    """Return the value of a change's field as text, with amounts in money."""
    if value is None:
        return "none"
    if name == "amount_in_cents" and isinstance(value, int):
        unit = known.units.get(change.currency or "")
        return f"{format_amount(value, unit)} {change.currency or ''}".strip()
    return str(value)


def render_change(change: Change, known: Labels) -> None:
    """Print one change, with its outcome."""
    _heading(status_text(change.status), change, known)
    for line in change_lines(change, known):
        _line(line)
    _line(f"reason: {change.reason}")
    by = f", approved by {change.approver}" if change.approver else ""
    _line(f"proposed by {change.proposer}{by}; digest {change.digest[:DIGEST_LENGTH]}")
    if why := known.untrusted.get(change.change_id):
        _line(f"push will refuse it: {why}")
    if change.outcome:
        _line(mask_secrets(change.outcome))


def change_json(change: Change, known: Labels) -> dict[str, object]:
    """Return a change as JSON."""
    unit = known.units.get(change.currency or "")
    amounts = [fields.get("amount_in_cents") for fields in (change.before, change.after)]
    before, after = (exact_amount(a, unit) if isinstance(a, int) else None for a in amounts)
    return {
        "change_id": change.change_id,
        "status": change.status,
        "action": change.action,
        "milestone_id": change.milestone_id,
        "workspace_id": change.workspace_id,
        "project": known.projects.get(change.workspace_id),
        "currency": change.currency,
        "before": dict(change.before),
        "after": dict(change.after),
        "amount_before": before,
        "amount_after": after,
        "reason": change.reason,
        "proposer": change.proposer,
        "approver": change.approver,
        "digest": change.digest,
        "approved_digest": change.approved_digest,
        "proposed_at": change.proposed_at.isoformat() if change.proposed_at else None,
        "sent_at": change.sent_at.isoformat() if change.sent_at else None,
        "attempts": change.attempts,
        "outcome": mask_secrets(change.outcome),
    }


def decision_json(result: DecisionResult, known: Labels) -> dict[str, object]:
    """Return a decision that was refused for some changes, as JSON."""
    return {
        "error": "\n".join(result.refused.values()),
        "exit_code": ChangeRefused.exit_code,
        "changes": [change_json(change, known) for change in result.decided],
        "refused": [{"change_id": id_, "why": why} for id_, why in result.refused.items()],
    }


def render_plan(steps: Sequence[Step], known: Labels) -> None:
    """Print the plan of a push: what it would do with each change."""
    what = {Write: "write", NoOp: "nothing to do", Conflict: "conflict", Deferred: "deferred"}
    for step in steps:
        _heading(f"[bold]{what[type(step)]}[/]", step.change, known)
        for line in change_lines(step.change, known):
            _line(line)
        if not isinstance(step, Write):
            _line(mask_secrets(step.why))
    writes = sum(isinstance(step, Write) for step in steps)
    out.print(f"{writes} of {counted(len(steps), 'approved change')} would be written")


def plan_json(steps: Sequence[Step], known: Labels) -> list[dict[str, object]]:
    """Return the plan of a push as JSON, a step for each change."""
    return [
        change_json(step.change, known)
        | {
            "step": _STEP_NAMES[type(step)],
            "why": "" if isinstance(step, Write) else mask_secrets(step.why),
        }
        for step in steps
    ]


def render_push(result: PushResult, known: Labels) -> None:
    """Print the result of a push, change by change."""
    for change in result.changes:
        _heading(status_text(change.status), change, known)
        _line(mask_secrets(change.outcome))
    for change, why in result.waiting:
        _heading("[yellow]waiting[/]", change, known)
        _line(mask_secrets(why))
    for doubt in result.doubts:
        out.print(f"[yellow]action required:[/] {safe_markup(mask_secrets(doubt))}", soft_wrap=True)
    if result.more:
        out.print(
            f"{counted(result.more, 'more approved change')} for the next push: this one reached "
            "max_changes, or ended early",
            soft_wrap=True,
        )
    counts = Counter(change.status for change in result.changes)
    applied, unknown = counts[Status.APPLIED], counts[Status.UNKNOWN]
    others = len(result.changes) - applied - unknown
    doubtful = f"{unknown} unknown, " if unknown else ""
    out.print(f"{applied} applied, {doubtful}{others} not applied, {len(result.waiting)} waiting")


def push_json(result: PushResult, known: Labels) -> dict[str, object]:
    """Return the result of a push and its changes as JSON."""
    return {
        "exit_code": result.exit_code,
        "changes": [change_json(change, known) for change in result.changes],
        "waiting": [
            {"change_id": c.change_id, "why": mask_secrets(why)} for c, why in result.waiting
        ],
        "doubts": list(map(mask_secrets, result.doubts)),
        "more_approved": result.more,
        "error": mask_secrets(str(result.stopped)) if result.stopped else None,
    }


def render_audit(events: Sequence[Event]) -> None:
    """Print the history of a change, a line per event."""
    for event in events:
        moved = f"{event.before} → {event.after}" if event.before else str(event.after)
        request = f" (request {event.request_id})" if event.request_id else ""
        how = f" ({event.identified_by})" if event.identified_by else ""
        line = f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {event.who}{how}  {moved}: "
        line += f"{mask_secrets(event.what)}{request}"
        print_out(line)


def event_json(event: Event) -> dict[str, object]:
    """Return an event in the history of a change as JSON."""
    return vars(event) | {"what": mask_secrets(event.what)}
