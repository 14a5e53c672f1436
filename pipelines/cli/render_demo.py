"""Render what the demo shows of its figures."""

from __future__ import annotations

from decimal import Decimal

from rich.bar import Bar
from rich.table import Table

from pipelines.ops.figures import Figures
from pipelines.ops.money import money_text
from warehouse.mart_rows import ChangedRow

from .output import safe_markup

_WIDTH = 40  # characters of the longest bar


def changes_table(figures: Figures) -> Table:
    """Return the demo's table of changes, a row each."""
    table = Table("milestone", "title", "change", "before", "after", box=None)
    for currency in figures.currencies:
        for row in currency.changed:
            before, after = _before_and_after(row, currency.decimals)
            table.add_row(
                safe_markup(row.id), safe_markup(row.title or ""), row.kind, before, after
            )
    return table


def _before_and_after(row: ChangedRow, decimals: int) -> tuple[str, str]:
    """Return what a change of the demo is about, before and after it."""
    amount = _money(row.amount, row.currency, decimals)
    if row.kind == "date moved":
        return str(row.previous_date_to_invoice), str(row.date_to_invoice)
    if row.kind == "amount changed":
        return _money(row.previous_amount, row.currency, decimals), amount
    return ("", amount) if row.kind == "new" else (amount, "")


def _money(amount: Decimal | None, currency: str, decimals: int) -> str:
    """Return an amount of the demo with its currency, whose minor unit is known."""
    return f"{money_text(amount or Decimal(0), decimals)} {currency}"


def backlog_chart(figures: Figures, currency: str) -> Table:
    """Return the demo's bar chart of what is not invoiced in one currency, by month."""
    found = next(each for each in figures.currencies if each.currency == currency)
    lines = [("overdue", "red", found.amount_of("overdue"))]
    lines += [(month.name, "green", month.scheduled) for month in found.months if month.scheduled]
    lines += [("unscheduled", "yellow", found.amount_of("unscheduled"))]
    most = max(float(amount or 0) for _, _, amount in lines)
    table = Table.grid(padding=(0, 2))
    for name, colour, amount in lines:
        shown = amount or Decimal(0)
        bar = Bar(most or 1, 0, max(float(shown), 0), width=_WIDTH, color=colour)
        table.add_row(name, f"{money_text(shown, found.decimals):>14}", bar)
    return table
