"""Reads what no page of milestones shows: some projects, unlinked invoices, the currencies."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from ..api.envelope import Page, Record
from ..schema import CURRENCIES, INVOICES, WORKSPACES
from ..settings import PER_PAGE
from ..transform.rows import Batch
from .context import ExtractContext
from .deletions import NOT_ALLOWED, fetch_one
from .ids import counted, first_few
from .tables import ExtractTables

_MOST_SINGLE_INVOICES = 20


class SideReads:
    """Reads records that pages of milestones do not show, and compares them with their tables.

    Args:
        context: The context of the run.
        tables: The raw tables.
    """

    def __init__(self, context: ExtractContext, tables: ExtractTables) -> None:
        self._reader = context.reader
        self._state = context.state
        self._report = context.report
        self._tables = tables

    def projects(self) -> Iterator[Batch]:
        """Read the projects that milestones name but no page showed, by their ids."""
        side, shown = self._tables.sides[WORKSPACES.name], set[str]()
        ids = sorted(self._tables.projects_without_record)
        try:
            for page in self._reader.only(WORKSPACES.name, ids, include_archived="true"):
                shown |= page.records.keys()
                yield from side.compare(page.records, page.observed_at)
                self._tables.note_base_units(page.records.values())
        except NOT_ALLOWED as error:
            self._report.warnings.append(str(error))
            side.unseen_rejects.clear()
        if missing := sorted(set(ids) - shown):
            self._report.warnings.append(
                f"{counted(len(missing), 'project')} of milestones cannot be read: "
                f"{first_few(missing)}. Does the token's user still see them?"
            )

    def unlinked_invoices(self) -> Iterator[Batch]:
        """Read the invoices that lost a milestone, since no page may show their new state."""
        ids = self._tables.milestones.unlinked_invoices | set(self._state.unlinked_invoices())
        side, missing = self._tables.sides[INVOICES.name], set(ids)
        try:
            for page in self._reader.only(INVOICES.name, sorted(ids)):
                missing -= page.records.keys()
                yield from side.compare(page.records, page.observed_at, load_unchanged=True)
                self._tables.note_base_units(page.records.values())
            some = sorted(missing)[:_MOST_SINGLE_INVOICES]
            deleted = [id_ for id_ in some if self._is_deleted(id_)]
        except NOT_ALLOWED as error:
            self._report.warnings.append(f"the state of unlinked invoices was not updated: {error}")
            return
        if deleted:
            yield from side.mark_gone(deleted, self._reader.now(), status="deleted")

    def _is_deleted(self, invoice: str) -> bool:
        """Return whether an invoice is 404, and on no milestone that may just be unreadable."""
        index = self._tables.index
        for id_ in self._state.milestones_on_invoices([invoice]):
            if not index.has(id_) or invoice in index.links(index.position(id_)).split(","):
                return False
        return fetch_one(self._reader, invoice, INVOICES.name) is None

    def currencies(self) -> Iterator[Batch]:
        """Read all currencies, which no page shows, and add the value of one minor unit to each."""
        side = self._tables.add_side_table(CURRENCIES)
        try:
            for page in self._currency_pages():
                currencies = _currencies_by_code(page)
                yield from side.compare(currencies, page.observed_at)
                self._report.minor_units |= {
                    code: record["subunit_to_unit"]
                    for code, record in currencies.items()
                    if type(record.get("subunit_to_unit")) is int
                }
        except NOT_ALLOWED as error:
            self._report.warnings.append(
                f"currencies cannot be read, so amounts have no unit: {error}"
            )
            side.unseen_rejects.clear()

    def _currency_pages(self) -> Iterator[Page]:
        """Read the pages of the list of currencies."""
        number, pages = 1, 1
        while number <= pages:
            query = {"per_page": PER_PAGE, "page": number}
            page = self._reader.page(CURRENCIES.name, query)
            yield page
            number, pages = number + 1, page.pages


def _currencies_by_code(page: Page) -> dict[str, Record]:
    """Return the currencies read on a page by ISO code, each with its minor unit's value."""
    return {str(r.get("iso_code", key)): _with_unit(r) for key, r in page.records.items()}


def _with_unit(currency: Record) -> Record:
    """Add to a currency the exact value of its minor unit; one without is rejected later."""
    subunits = currency.get("subunit_to_unit")
    unit: object = subunits
    if type(subunits) is int and subunits > 0:
        quotient = (Decimal(1) / subunits).quantize(Decimal("0.000001"))
        unit = quotient if quotient * subunits == 1 else f"1/{subunits}"
    return currency | {"unit_per_subunit": unit}
