"""The table of changes: a row and a few details each, then totals and the digest of the list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from rich.cells import cell_len
from rich.padding import Padding
from rich.text import Text

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.text import visible
from pipelines.writeback.approvals import DIGEST_LENGTH, list_digest
from pipelines.writeback.net_effect import amounts, net_effects
from warehouse.ledger.change import OPEN, Action, Change, Status
from warehouse.words import counted

from .labels import Labels
from .output import format_amount, out

COLOURS = {
    Status.APPLIED: "green",
    Status.CONFLICT: "red",
    Status.FAILED: "red",
    Status.UNKNOWN: "yellow",
}
_HEADINGS = ("change", "status", "action", "milestone", "before", "", "after", "currency")
_RIGHT = frozenset({"milestone", "before", "after"})
_INDENT = 4
# An outcome of these says nothing that the status does not.
_NO_CAUSE = frozenset({Status.PROPOSED, Status.APPROVED, Status.APPLIED})


def render_table(changes: Sequence[Change], known: Labels) -> None:
    """Print a table of changes. An id is never cut, since people type it next."""
    rows = [_row(change, known) for change in changes]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    _print(_aligned(_HEADINGS, widths))
    for change, row in zip(changes, rows, strict=True):
        line = _aligned(row, widths)
        start = widths[0] + 2
        line.stylize(COLOURS.get(change.status, "default"), start, start + len(row[1]))
        _print(line)
        for detail in _packed(_details(change, known), out.width - _INDENT):
            _print(Text(detail), _INDENT)


def render_totals(changes: Sequence[Change], known: Labels) -> None:
    """Print how many changes there are, the net effect of the open ones, and the list's digest."""
    open_ones = [change for change in changes if change.status in OPEN]
    finished = len(changes) - len(open_ones)
    also = f", {finished:,} finished" if finished else ""
    _print(Text(f"{counted(len(open_ones), 'open change')}{also}"))
    for effect in net_effects(open_ones):
        unit = known.units.get(effect.currency or "")
        before, after, net = (
            _number(value, unit) for value in (effect.before, effect.after, effect.net)
        )
        sign = "+" if effect.net > 0 else ""
        text = f"{_currency(effect.currency, unit)}: {before} → {after}, net effect {sign}{net}"
        _print(Text(f"{text} ({counted(effect.changes, 'open change')})"))
    if digest := list_digest(changes)[:DIGEST_LENGTH]:
        proposed = sum(change.status is Status.PROPOSED for change in changes)
        _print(Text(f"digest of this list: {digest}"))
        approve = f"milestones approve --all --digest {digest}"
        _print(Text(f"approve its {counted(proposed, 'proposed change')}: {approve}"))


def _row(change: Change, known: Labels) -> tuple[str, ...]:
    """Return the cells of a change's row: its id, what it is, and its amounts."""
    before, after = amounts(change)
    unit = known.units.get(change.currency or "")
    is_same = change.action is Action.UPDATE and before == after
    return (
        visible(change.change_id),
        change.status,
        change.action,
        visible(change.milestone_id or "new"),
        _amount(before, unit),
        "" if is_same else "→",
        "" if is_same else _amount(after, unit),
        visible(_currency(change.currency, unit)),
    )


def _amount(value: int | None, unit: Decimal | None) -> str:
    """Return an amount in a row of the table."""
    return "none" if value is None else _number(value, unit)


def _number(value: int, unit: Decimal | None) -> str:
    """Return an amount for the table, without its currency; in minor units if it has no unit."""
    return f"{value:,}" if unit is None else format_amount(value, unit)


def _currency(currency: str | None, unit: Decimal | None) -> str:
    """Return what an amount in the table is counted in."""
    if currency is None:
        return "minor units, no currency"
    return currency if unit is not None else f"minor units of {currency}"


def _details(change: Change, known: Labels) -> list[str]:
    """Return the details below a change's row; what others wrote is in quotes."""
    fields = change.before or change.after
    title = fields.get("title")
    project = known.projects.get(change.workspace_id)
    where = f"{_quoted(project)} ({change.workspace_id})" if project else change.workspace_id
    details = [
        f"{_quoted(str(title)) if title is not None else 'no title'} in project {visible(where)}",
        *_other_fields(change),
        f"reason: {_quoted(change.reason)}",
        f"by {_word(change.proposer)}",
    ]
    if change.approver:
        details.append(f"approved by {_word(change.approver)}")
    if why := known.untrusted.get(change.change_id):
        details.append(f"push will refuse it: {visible(why)}")
    if change.status is Status.PROPOSED:
        details.append(f"digest {change.digest[:DIGEST_LENGTH]}")
    if change.status not in _NO_CAUSE and change.outcome:
        details.append(f"{change.status}: {visible(mask_secrets(change.outcome))}")
    return details


def _other_fields(change: Change) -> list[str]:
    """Return what a change sets besides the amount, before → after."""
    fields = {
        name: value
        for name, value in change.after.items()
        if name not in ("amount_in_cents", "workspace_id")
    }
    if change.action is Action.CREATE:
        return [
            f"{name} {_field(name, value)}" for name, value in fields.items() if name != "title"
        ]
    return [
        f"{name} {_field(name, change.before.get(name))} → {_field(name, value)}"
        for name, value in fields.items()
    ]


def _field(name: str, value: object) -> str:
    """Return the value of a field for the table."""
    if value is None:
        return "none"
    return _quoted(str(value)) if name == "title" else _word(str(value))


def _word(text: str) -> str:
    """Return a text for the table, in quotes if it is more than one word."""
    return text if re.fullmatch(r"[\w.@+-]+", text) else _quoted(text)


def _quoted(text: str) -> str:
    """Return a text that others wrote, in quotes that it cannot end."""
    return '"' + visible(text).replace('"', '\\"') + '"'


def _packed(details: Sequence[str], width: int) -> list[str]:
    """Return details as lines of the table that fit a width if they can; none is broken."""
    lines: list[str] = []
    for detail in details:
        if lines and cell_len(f"{lines[-1]}; {detail}") <= width:
            lines[-1] += f"; {detail}"
        else:
            lines.append(detail)
    return lines


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> Text:
    """Return a row of the table: its cells in their columns."""
    line = ""
    for name, cell, width in zip(_HEADINGS, cells, widths, strict=True):
        line += cell.rjust(width) if name in _RIGHT else cell.ljust(width)
        line += " " if name in ("before", "") else "  "  # the arrow has no heading
    return Text(line.rstrip())


def _print(line: Text, indent: int = 0) -> None:
    """Print a line of the table; on a terminal, wrapped details stay indented."""
    if out.is_terminal and indent:
        out.print(Padding(line, (0, 0, 0, indent)))
    else:
        out.print(Text(" " * indent) + line, soft_wrap=True)
