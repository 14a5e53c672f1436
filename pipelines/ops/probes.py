"""Test how the account's API behaves where its documentation is silent, with GET requests only."""

from __future__ import annotations

from collections.abc import Iterator

from sources.kantata import KantataReader
from sources.kantata.api.transport import Parameters
from sources.kantata.errors import KantataError

from .check_result import CheckResult


def run_probes(reader: KantataReader) -> Iterator[CheckResult]:
    """Test in the preflight how the account's API behaves where its documentation is silent."""
    for question, probe in _PROBES.items():
        try:
            answer, code = probe(reader)
        except KantataError as error:
            answer, code = str(error), error.exit_code
        yield CheckResult(f"probe: {question}", answer, code)


def _sort(reader: KantataReader) -> tuple[str, int]:
    """Probe in the preflight whether the API applies the order of milestones."""
    oldest, newest = (
        list(reader.page("billing_milestones", {"order": f"created_at:{way}"}).records)
        for way in ("asc", "desc")
    )
    if len(oldest) < 2:
        return "cannot be tested: the account has fewer than two milestones", 0
    is_applied = oldest[0] != newest[0]
    return ("applied", 0) if is_applied else ("ignored, so a full scan cannot be complete", 1)


def _clamp(reader: KantataReader) -> tuple[str, int]:
    """Probe in the preflight how many rows the API returns on a page of 500."""
    page = reader.page("billing_milestones", {"per_page": 500})
    return f"500 rows a page requested, {page.size} returned", 0


def _unknown_filter(reader: KantataReader) -> tuple[str, int]:
    """Probe in the preflight whether the API ignores a filter that it does not know."""
    total = reader.page("billing_milestones", {"per_page": 1}).count
    filtered = reader.page(
        "billing_milestones", {"per_page": 1, "updated_after": "2999-01-01"}
    ).count
    if filtered == total:
        return "ignored, as expected", 0
    return f"updated_after changed the count from {total} to {filtered}: please report this", 0


def _only(reader: KantataReader) -> tuple[str, int]:
    """Probe in the preflight how many rows the API returns for milestones requested by id."""
    ids = list(reader.page("billing_milestones", {"per_page": 25}).records)
    query: Parameters = {"only": ",".join(ids), "per_page": 2}
    found = len(reader.page("billing_milestones", query).records) if ids else 0
    return f"{len(ids)} ids requested with 2 rows a page, {found} rows returned", 0


def _includes(reader: KantataReader) -> tuple[str, int]:
    """Probe in the preflight whether milestones include the ids of invoices and references."""
    query: Parameters = {"per_page": 1, "include": "invoices,external_references"}
    records = list(reader.page("billing_milestones", query).records.values())
    if not records:
        return "cannot be tested: the account has no milestones", 0
    missing = [name for name in ("invoice_ids", "external_reference_ids") if name not in records[0]]
    return (f"missing: {', '.join(missing)}", 3) if missing else ("include their id lists", 0)


_PROBES = {
    "order": _sort,
    "page size": _clamp,
    "unknown filter": _unknown_filter,
    "only": _only,
    "includes": _includes,
}
