"""Render a closed month as tables, or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from rich.table import Table

from pipelines.ops.money import add, exact_money, money_text
from pipelines.ops.periods import ShownClose
from warehouse.ledger.period import CloseFigure, PeriodClose
from warehouse.words import counted

from .output import print_out, print_whole, safe_markup

_BRIDGE = ("opening", "new", "increased", "decreased", "invoiced", "deleted", "closing")
_AMOUNTS = (*_BRIDGE, "dated", "billed")
_NO_CLIENT = "(no client)"


def render_close(close: PeriodClose) -> None:
    """Print a closed month: its figures by currency and client, as they were frozen."""
    for line in header_lines(close):
        print_out(line)
    for currency in sorted({figure.currency for figure in close.figures}):
        figures = _of_currency(close, currency)
        for table in (_bridge_table(currency, figures), _dated_table(close, currency, figures)):
            if table.row_count:
                print_out("")
                print_whole(table)
    if not close.figures:
        print_out("no milestone was observed up to the end of this month, and none is dated in it")
    print_out("")
    milestones = counted(len(close.milestones), "milestone")
    print_out(f"frozen with {milestones}; digest {close.digest}")


def header_lines(close: PeriodClose) -> Iterator[str]:
    """Yield who closed a month, when, in which time zone, and who reopened it."""
    yield (
        f"{close.month:%Y-%m} closed by {close.closed_by} at {close.closed_at:%Y-%m-%d %H:%M} UTC, "
        f"as of run {close.run_id}, in {close.reporting_timezone}"
    )
    if (reopening := close.reopening) is not None:
        yield (
            f"reopened by {reopening.reopened_by} at {reopening.reopened_at:%Y-%m-%d %H:%M} UTC: "
            f"{reopening.reason}"
        )


def _of_currency(close: PeriodClose, currency: str) -> list[CloseFigure]:
    """Return the figures of a closed month in one currency, by the client's name."""
    figures = [figure for figure in close.figures if figure.currency == currency]
    return sorted(figures, key=lambda f: (f.client is None, f.client or "", f.client_id or ""))


def _bridge_table(currency: str, figures: Sequence[CloseFigure]) -> Table:
    """Return the table of a closed month's backlog: how it changed, a line for each client."""
    table = _table(f"{currency}: billing backlog", *_BRIDGE)
    some = [f for f in figures if any(getattr(f, name) != 0 for name in _BRIDGE)]
    _add_rows(table, some, lambda rows: [_sum(rows, name) for name in _BRIDGE])
    return table


def _dated_table(close: PeriodClose, currency: str, figures: Sequence[CloseFigure]) -> Table:
    """Return the table of what is dated in a closed month, a line for each client."""
    month = f"{close.month:%Y-%m}"
    names = (f"dated in {month}", "amount", f"on invoices of {month}", "amount")
    table = _table(f"{currency}: milestones by date", *names)
    some = [f for f in figures if f.dated_milestones or f.billed_milestones]
    _add_rows(
        table,
        some,
        lambda rows: [
            f"{sum(row.dated_milestones for row in rows):,}",
            _sum(rows, "dated"),
            f"{sum(row.billed_milestones for row in rows):,}",
            _sum(rows, "billed"),
        ],
    )
    return table


def _add_rows(
    table: Table,
    figures: Sequence[CloseFigure],
    cells: Callable[[Sequence[CloseFigure]], list[str]],
) -> None:
    """Add a row of a closed month for each client, and one for all."""
    for figure in figures:
        table.add_row(
            safe_markup(figure.client or figure.client_id or _NO_CLIENT), *cells([figure])
        )
    if figures:
        table.add_row("[bold]all clients[/]", *(f"[bold]{cell}[/]" for cell in cells(figures)))


def _sum(figures: Sequence[CloseFigure], name: str) -> str:
    """Return the sum of a figure of a closed month as text."""
    amount: Decimal | None = add(*(getattr(figure, name) for figure in figures))
    return "unknown" if amount is None else money_text(amount, figures[0].decimals)


def _table(title: str, *columns: str) -> Table:
    """Return a table of a closed month without rows."""
    table = Table("client", box=None, title=safe_markup(title), title_justify="left")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def close_json(shown: ShownClose) -> dict[str, object]:
    """Return a closed month as JSON; amounts are text, since JSON numbers round."""
    return header_json(shown) | {
        "milestones": len(shown.close.milestones),
        "figures": [_figure_json(figure) for figure in shown.close.figures],
    }


def header_json(shown: ShownClose) -> dict[str, object]:
    """Return who closed a month, when, and who reopened it, as JSON."""
    close, reopening = shown.close, shown.close.reopening
    return {
        "month": f"{close.month:%Y-%m}",
        "close_number": close.close_number,
        "closed_by": close.closed_by,
        "closed_at": close.closed_at.isoformat(),
        "run_id": close.run_id,
        "reporting_timezone": close.reporting_timezone,
        "reporting_timezone_now": shown.timezone_now,
        "digest": close.digest,
        "reopened": reopening
        and {
            "reopened_by": reopening.reopened_by,
            "reopened_at": reopening.reopened_at.isoformat(),
            "reason": reopening.reason,
        },
    }


def _figure_json(figure: CloseFigure) -> dict[str, object]:
    """Return the figures of one client and currency of a closed month as JSON."""
    amounts = {name: exact_money(getattr(figure, name), figure.decimals) for name in _AMOUNTS}
    return {
        "client_id": figure.client_id,
        "client": figure.client,
        "currency": figure.currency,
        **amounts,
        "dated_milestones": figure.dated_milestones,
        "billed_milestones": figure.billed_milestones,
    }
