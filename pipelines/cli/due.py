"""The command that lists what is to be invoiced."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from rich.table import Table

from pipelines.config.targets import configured_target
from pipelines.ops.due import Due, DueCurrency, DueProject, DueSum, read_due
from pipelines.ops.money import exact_money, money_text
from warehouse.errors import ChangeRefused
from warehouse.words import counted

from .errors import handle_errors
from .options import Grouping, Warehouse
from .output import out, print_json, print_out, safe_markup


def due(
    destination: Warehouse | None, *, until: str | None, by: Grouping | None, as_json: bool
) -> None:
    """Implement the command `due`: print what is to be invoiced, by currency and project."""
    with handle_errors(as_json):
        found = read_due(configured_target(destination), _day(until))
        if as_json:
            print_json(_due_json(found, by))
        else:
            _render(found, by)


def _day(text: str | None) -> date | None:
    """Return the day that the option of `due` names."""
    if text is None:
        return None
    try:
        if len(text) != len("2027-01-31"):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise ChangeRefused(f"--until is {text!r}: write a real date, such as 2027-01-31") from None


def _render(found: Due, by: Grouping | None) -> None:
    """Print what is due as a table for each currency."""
    read_up_to = found.freshness.read_up_to
    for each in found.currencies:
        out.print(_projects_table(each) if by else _milestones_table(each))
        total = _money(each.sum.amount, each.sum.subunits, each.decimals)
        overdue = _money(each.sum.overdue, None, each.decimals)
        print_out(
            f"{each.currency} {total} in {counted(each.sum.milestones, 'milestone')}, "
            f"{overdue} overdue"
        )
        print_out("")
    if not found.currencies:
        print_out(f"nothing is to be invoiced up to {found.until}")
    print_out(f"dated up to {found.until}, as of {read_up_to:%Y-%m-%d %H:%M} UTC")


def _projects_table(each: DueCurrency) -> Table:
    """Return the table of what is due in one currency, a line for each project."""
    table = _table(each, "project", "milestones", "overdue", "to invoice")
    for project in each.projects:
        table.add_row(
            _project(project),
            f"{project.sum.milestones:,}",
            _money(project.sum.overdue, None, each.decimals),
            _money(project.sum.amount, project.sum.subunits, each.decimals),
        )
    return table


def _milestones_table(each: DueCurrency) -> Table:
    """Return the table of what is due in one currency, a line for each milestone."""
    table = _table(each, "milestone", "id", "date", "days overdue", "to invoice")
    for project in each.projects:
        table.add_row(
            f"[bold]{_project(project)}[/]",
            "",
            "",
            "",
            f"[bold]{_money(project.sum.amount, project.sum.subunits, each.decimals)}[/]",
        )
        for row in project.rows:
            table.add_row(
                f"  {safe_markup(row.title or '')}",
                safe_markup(row.id),
                str(row.date_to_invoice),
                f"{row.days_overdue:,}" if row.days_overdue else "",
                _money(row.amount, row.amount_in_cents, each.decimals),
            )
    return table


def _table(each: DueCurrency, first: str, *others: str) -> Table:
    """Return an empty table of what is due in one currency."""
    table = Table(box=None, title=safe_markup(each.currency), title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _project(project: DueProject) -> str:
    """Return the name of a project for the table of what is due."""
    return safe_markup(project.project or f"project {project.workspace_id}")


def _money(amount: Decimal | None, subunits: int | None, decimals: int) -> str:
    """Return an amount that is due as text, in minor units if it has no other."""
    if amount is not None:
        return money_text(amount, decimals)
    return "unknown" if subunits is None else f"{subunits:,} minor units"


def _due_json(found: Due, by: Grouping | None) -> dict[str, object]:
    """Return what is due as JSON; amounts are text, since JSON numbers round."""
    return {
        "until": found.until.isoformat(),
        "as_of": found.freshness.as_of.isoformat(),
        "read_up_to": found.freshness.read_up_to.isoformat(),
        "currencies": [
            {"currency": each.currency}
            | _sum_json(each.sum, each.decimals)
            | {"projects": [_project_json(p, each.decimals, by) for p in each.projects]}
            for each in found.currencies
        ],
    }


def _sum_json(due_sum: DueSum, decimals: int) -> dict[str, object]:
    """Return a sum of what is due as JSON."""
    return {
        "milestones": due_sum.milestones,
        "amount": exact_money(due_sum.amount, decimals),
        "overdue": exact_money(due_sum.overdue, decimals),
        "subunits": due_sum.subunits,
    }


def _project_json(project: DueProject, decimals: int, by: Grouping | None) -> dict[str, object]:
    """Return what is due in a project as JSON, with its milestones unless grouped by project."""
    rows = [
        {
            "milestone_id": row.id,
            "title": row.title,
            "date_to_invoice": row.date_to_invoice.isoformat(),
            "days_overdue": row.days_overdue,
            "amount": exact_money(row.amount, decimals),
            "amount_in_cents": row.amount_in_cents,
        }
        for row in project.rows
    ]
    return (
        {"workspace_id": project.workspace_id, "project": project.project}
        | _sum_json(project.sum, decimals)
        | ({} if by else {"rows": rows})
    )
