"""The milestones that people look for: filtered, sorted and in pages, by the database."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from .database import DATASET, MARTS
from .shared_reader import SharedReader

PAGE = 50  # milestones
_SORTED_WHOLE = 100  # pages
_SHORT = 5_000  # milestones
_TABLE = f"{MARTS}.billing_milestones"
_TODAY = f"(select as_of from {MARTS}.data_freshness)"
# The statuses of the mart, and questions about several of them.
STATUSES = ("overdue", "scheduled", "unscheduled", "invoiced")
_GROUPS = {
    "due": f"status in ('scheduled', 'overdue') and date_to_invoice <= {_TODAY}",
    "later": f"status = 'scheduled' and date_to_invoice > {_TODAY}",
    "backlog": "status in ('scheduled', 'overdue')",
}
BY_ID = "id:"  # before an id, so that no title that contains its digits is found
SORTS = {
    "date": "date_to_invoice",
    "title": "lower(title)",
    "project": "lower(project)",
    "client": "lower(client)",
    "status": "status",
    "amount": "currency, amount_in_cents",
    "overdue": "days_overdue",
}
COLUMNS = (
    "id", "title", "project", "client", "status", "date_to_invoice", "days_overdue", "currency",
    "amount",
)  # fmt: skip
_VERSION_COLUMNS = (
    "version", "change_type", "valid_from", "title", "currency", "amount", "amount_in_cents",
    "date_to_invoice", "invoice_id",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MilestoneFilter:
    """Which milestones to show, and in which order.

    Args:
        text: A part of the title, or the id; empty for all, as of the others.
        project: A part of the project's title, or its id; ``id:`` before an id excludes titles.
        client: A part of the client's name, or its id, in the same way.
        status: A status of the mart; or ``due``, ``later`` or ``backlog``.
        currency: ISO code.
        month: The first day of the month of the date to invoice.
        sort: A key of ``SORTS``.
        is_descending: Whether the greatest comes first.
        page: The page, from 1.
    """

    text: str = ""
    project: str = ""
    client: str = ""
    status: str = ""
    currency: str = ""
    month: date | None = None
    sort: str = "date"
    is_descending: bool = False
    page: int = 1

    def where(self) -> tuple[str, list[object]]:
        """Return the condition of the milestones in SQL, and its values."""
        parts, values = ["true"], list[object]()
        for columns, id_, text in (
            ("title", "id", self.text),
            ("project", "workspace_id", self.project),
            ("client", "client_id", self.client),
        ):
            if text:
                condition, given = _contains(columns, id_, text)
                parts.append(condition)
                values += given
        if self.status:
            parts.append(_GROUPS.get(self.status) or "status = %s")
            values += [] if self.status in _GROUPS else [self.status]
        if self.currency:
            parts.append("currency = %s")
            values.append(self.currency)
        if self.month is not None:
            first = self.month.isoformat()
            parts.append("date_to_invoice >= %s::date")
            parts.append("date_to_invoice < %s::date + interval '1 month'")
            values += [first, first]
        return " and ".join(parts), values

    def order(self) -> str:
        """Return the order of the milestones in SQL, in which no two are equal."""
        direction = "desc" if self.is_descending else "asc"
        keys = [f"{key} {direction} nulls last" for key in SORTS[self.sort].split(", ")]
        if self.sort == "amount":
            keys[0] = "currency"  # amounts are compared within a currency only
        return ", ".join([*keys, "length(id)", "id"])


def _contains(column: str, id_: str, text: str) -> tuple[str, list[object]]:
    """Return the condition in SQL that a list's text is in a column, or is an id, and its values.

    What a text needs not is left out, since it is computed for each milestone.
    """
    if text.startswith(BY_ID):
        return f"{id_} = %s", [text.removeprefix(BY_ID)]
    has_case = text.lower() != text.upper()
    condition = (
        f"strpos(lower({column}), lower(%s)) > 0" if has_case else f"strpos({column}, %s) > 0"
    )
    if not text.isdecimal():
        return condition, [text]
    return f"({condition} or {id_} = %s)", [text, text]


@dataclass(frozen=True, kw_only=True)
class ListedMilestone:
    """A milestone in a list: columns of ``billing_milestones``."""

    id: str
    title: str | None
    project: str | None
    client: str | None
    status: str
    date_to_invoice: date | None
    days_overdue: int
    currency: str
    amount: Decimal | None


@dataclass(frozen=True, kw_only=True)
class CurrencyTotal:
    """The listed milestones of one currency; the amount is None if its minor unit is unknown."""

    currency: str
    milestones: int
    amount: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a milestone: columns of ``billing_milestone_history``."""

    version: int
    change_type: str
    valid_from: datetime
    title: str | None
    currency: str
    amount: Decimal | None
    amount_in_cents: int
    date_to_invoice: date | None
    invoice_id: str | None


@dataclass(frozen=True)
class ListPage:
    """One page of a list of milestones.

    Args:
        rows: Its milestones.
        totals: The number and the amount of all milestones of the list, by currency.
    """

    rows: Sequence[ListedMilestone]
    totals: Sequence[CurrencyTotal]


def list_page(reader: SharedReader, wanted: MilestoneFilter) -> ListPage:
    """Return one page of a list of milestones, and the totals of the list."""
    rows = _listed(reader, wanted)
    if wanted.page == 1 and len(rows) < PAGE:  # it is the whole list
        return ListPage(rows, _sums(rows))
    where = wanted.where()
    known = reader.remembered(("totals", where[0], *where[1]), lambda: totals(reader, wanted))
    return ListPage(rows, known)


def _listed(reader: SharedReader, wanted: MilestoneFilter) -> list[ListedMilestone]:
    """Return the milestones of one page of a list."""
    where, values = wanted.where()
    part = f"order by {wanted.order()} limit {PAGE} offset {PAGE * (wanted.page - 1)}"
    sql = f"select {', '.join(COLUMNS)} from {_TABLE} where {where} {part}"
    if wanted.page > _SORTED_WHOLE:  # whole rows would not fit into the memory of a console
        sql = (
            f"select {', '.join(COLUMNS)} from {_TABLE} "
            f"where id in (select id from {_TABLE} where {where} {part}) order by {wanted.order()}"
        )
    return [ListedMilestone(**row) for row in reader.records(sql, *values)]


def _sums(rows: Iterable[ListedMilestone]) -> list[CurrencyTotal]:
    """Return the totals of a list whose milestones are all on its first page."""
    amounts: dict[str, list[Decimal | None]] = {}
    for row in rows:
        amounts.setdefault(row.currency, []).append(row.amount)
    found = []
    for currency, some in amounts.items():
        known = [amount for amount in some if amount is not None]
        amount = sum(known, Decimal(0)) if len(known) == len(some) else None
        found.append(CurrencyTotal(currency=currency, milestones=len(some), amount=amount))
    return sorted(found, key=lambda total: (-total.milestones, total.currency))


def totals(reader: SharedReader, wanted: MilestoneFilter) -> list[CurrencyTotal]:
    """Return the totals of a list that has several pages."""
    where, values = wanted.where()
    sql = (
        "select currency, count(*) as milestones, case when count(amount) = count(*) "
        f"then sum(amount) end as amount from {_TABLE} where {where} "
        "group by currency order by 2 desc, 1"
    )
    return [CurrencyTotal(**row) for row in reader.records(sql, *values)]


def all_listed(
    reader: SharedReader, wanted: MilestoneFilter, columns: Sequence[str] = COLUMNS
) -> Generator[Sequence[tuple[Any, ...]], None, None]:
    """Yield columns of all milestones of a list, some thousands at a time."""
    where, values = wanted.where()
    listed = f"select {', '.join(columns)} from {_TABLE} where {where} order by {wanted.order()}"
    # A short list needs no more memory than a page, so it does not wait for long ones.
    first = reader.rows(f"{listed} limit {_SHORT}", *values)
    if len(first) == _SHORT:
        yield from reader.chunks(listed, *values)
    elif first:
        yield first


def currencies(reader: SharedReader) -> list[str]:
    """Return the currencies of all milestones that can be listed."""
    sql = f"select distinct currency from {MARTS}.billing_schedule_monthly order by 1"
    return reader.remembered("currencies", lambda: [code for (code,) in reader.rows(sql)])


def details(reader: SharedReader, id_: str) -> dict[str, Any] | None:
    """Return the row of one listed milestone with all columns; None if it is not in the mart."""
    rows = reader.records(f"select * from {_TABLE} where id = %s", id_)
    return rows[0] if rows else None


def versions(reader: SharedReader, id_: str) -> list[Version]:
    """Return the versions of a milestone, listed from the newest to the oldest."""
    sql = (
        f"select {', '.join(_VERSION_COLUMNS)} from {MARTS}.billing_milestone_history "
        "where id = %s order by version desc"
    )
    return [Version(**row) for row in reader.records(sql, id_)]


def open_rejects(reader: SharedReader) -> list[dict[str, Any]]:
    """Return the records that could not be typed and are not repaired, with the reason of each."""
    exists = reader.rows(
        "select 1 from information_schema.tables where table_schema = %s and table_name = %s",
        DATASET, "rejected_records",
    )  # fmt: skip
    if not exists:
        return []
    return reader.records(
        f"select table_name, id, reason, observed_at from {DATASET}.rejected_records "
        "where resolved_at is null order by observed_at desc, table_name, id limit 200"
    )
