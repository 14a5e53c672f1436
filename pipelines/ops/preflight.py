"""`milestones check`: can the next run work? One line for each question, with the way out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.config.settings import KantataSettings
from pipelines.runtime.exit_codes import ExitCode
from sources.kantata import KantataReader
from sources.kantata.api.transport import Parameters
from sources.kantata.errors import KantataError
from sources.kantata.settings import MILESTONE_INCLUDES
from warehouse.database import connect
from warehouse.errors import (
    LocksUnsupported,
    WarehouseBusy,
    WarehouseError,
    WarehouseUnwritable,
)
from warehouse.locks import file_lock
from warehouse.raw.summary import count_milestones
from warehouse.target import Target

# Where the records of an include are found.
_INCLUDED_AS = {"workspace": "workspaces", "story": "stories"}


@dataclass(frozen=True)
class CheckResult:
    """The answer to one question.

    Args:
        question: In a word or two.
        answer: In a line, with the way out if it is bad.
        exit_code: 0 if it is good, else what a run would end with.
    """

    question: str
    answer: str
    exit_code: int = 0


def preflight(kantata: KantataSettings, target: Target, probe: bool) -> Iterator[CheckResult]:
    """Ask everything a run depends on.

    Args:
        kantata: Where Kantata is, and the token.
        target: The warehouse.
        probe: Whether to ask the account how it behaves where nobody knows; by GET only.
    """
    reader = kantata.reader()
    user = _user(reader)
    yield user
    if not user.exit_code:
        yield _milestones(reader)
        yield _currencies(reader)
        yield _feed(reader)
        yield from _probes(reader) if probe else ()
    yield _warehouse(target)
    if target.published:
        yield _published(target)


def _user(reader: KantataReader) -> CheckResult:
    try:
        page = reader.page("users/me", {})
    except KantataError as error:
        return CheckResult("token", str(error), error.exit_code)
    id_, user = next(iter(page.records.items()), ("?", {}))
    name = user.get("full_name", "no name")
    role = "an account administrator" if user.get("account_administrator") else "no administrator"
    return CheckResult("token", f"good: it acts as {name} (user {id_}), {role}")


def _milestones(reader: KantataReader) -> CheckResult:
    query: Parameters = {"per_page": 20, "include": MILESTONE_INCLUDES}
    try:
        page = reader.page("billing_milestones", query)
    except KantataError as error:
        return CheckResult("milestones", str(error), error.exit_code)
    wanted = [_INCLUDED_AS.get(name, name) for name in MILESTONE_INCLUDES.split(",")]
    lost = [name for name in wanted if name not in page.side_loaded]
    if lost and page.records:
        return CheckResult(
            "milestones",
            f"{page.count:,}, but without their {', '.join(lost)}: may the token's user see them?",
            ExitCode.ACTION_REQUIRED,
        )
    return CheckResult("milestones", f"{page.count:,}, with their {', '.join(wanted)}")


def _currencies(reader: KantataReader) -> CheckResult:
    try:
        page = reader.page("currencies", {"per_page": 200})
    except KantataError as error:
        return CheckResult(
            "currencies", f"no amounts in units without them: {error}", ExitCode.ACTION_REQUIRED
        )
    return CheckResult("currencies", f"{page.count:,} readable")


def _feed(reader: KantataReader) -> CheckResult:
    try:
        reader.json("subscribed_events/event_types", {})
    except KantataError as error:
        return CheckResult("event feed", f"none, so every run is a full scan: {error}")
    return CheckResult("event feed", "readable: runs between scans read only what changed")


def _warehouse(target: Target) -> CheckResult:
    try:
        with file_lock(target.lock):
            if target.loader and not target.loader.exists():
                return CheckResult("warehouse", f"{target.loader} will be made by the first run")
            with connect(target.destination) as database:
                count = count_milestones(database)
    except LocksUnsupported as error:
        return CheckResult("warehouse", str(error), error.exit_code)
    except WarehouseBusy as error:
        return CheckResult("warehouse", str(error))
    except WarehouseError as error:
        return CheckResult("warehouse", str(error), error.exit_code)
    return CheckResult("warehouse", f"{target.loader or 'Postgres'} holds {count:,} milestones")


def _published(target: Target) -> CheckResult:
    assert target.published  # noqa: S101 - the caller looked
    folder = target.published.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return CheckResult(
            "published file",
            f"cannot write {target.published.absolute()}: mend the rights of {folder}, or set "
            "WAREHOUSE__PUBLISH_TO",
            WarehouseUnwritable.exit_code,
        )
    return CheckResult("published file", f"{target.published} can be written")


def _probes(reader: KantataReader) -> Iterator[CheckResult]:
    """What nobody knows of this account and a GET can answer."""
    for question, probe in _PROBES.items():
        try:
            answer, code = probe(reader)
        except KantataError as error:
            answer, code = str(error), error.exit_code
        yield CheckResult(f"probe: {question}", answer, code)


def _sort(reader: KantataReader) -> tuple[str, int]:
    oldest, newest = (
        list(reader.page("billing_milestones", {"order": f"created_at:{way}"}).records)
        for way in ("asc", "desc")
    )
    if len(oldest) < 2:
        return "too few milestones to tell", 0
    kept = oldest[0] != newest[0]
    return ("kept to", 0) if kept else ("ignored: a scan cannot be complete here", 1)


def _clamp(reader: KantataReader) -> tuple[str, int]:
    page = reader.page("billing_milestones", {"per_page": 500})
    return f"asked for 500 rows a page, got pages of {page.size}", 0


def _unknown_filter(reader: KantataReader) -> tuple[str, int]:
    every = reader.page("billing_milestones", {"per_page": 1}).count
    filtered = reader.page(
        "billing_milestones", {"per_page": 1, "updated_after": "2999-01-01"}
    ).count
    if filtered == every:
        return "ignored, as expected", 0
    return f"updated_after changed the count from {every} to {filtered}: tell us", 0


def _only(reader: KantataReader) -> tuple[str, int]:
    ids = list(reader.page("billing_milestones", {"per_page": 25}).records)
    query: Parameters = {"only": ",".join(ids), "per_page": 2}
    found = len(reader.page("billing_milestones", query).records) if ids else 0
    return f"{len(ids)} ids at 2 a page gave {found} rows at once", 0


def _includes(reader: KantataReader) -> tuple[str, int]:
    query: Parameters = {"per_page": 1, "include": "invoices,external_references"}
    records = list(reader.page("billing_milestones", query).records.values())
    if not records:
        return "no milestones to tell by", 0
    lost = [name for name in ("invoice_ids", "external_reference_ids") if name not in records[0]]
    return (f"missing: {', '.join(lost)}", 3) if lost else ("bring their id lists", 0)


_PROBES = {
    "order": _sort,
    "page size": _clamp,
    "unknown filter": _unknown_filter,
    "only": _only,
    "includes": _includes,
}
