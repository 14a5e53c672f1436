"""Milestones that were not in the list: deleted, access lost, or still there?

Absence alone proves nothing. A milestone is marked as deleted only if its project can be read, a
request by ids that returns a milestone known to exist (a canary) leaves it out, and it is 404 by
itself (checked for 20 of them). If one of the 20 exists after all, lists cannot be believed: then
each is looked up by itself, or, if they are many, none is marked. If its project cannot be read,
access is lost: a permission was taken away, or the whole project was deleted, which Kantata does
not distinguish. In doubt nothing is marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

import orjson

from ..api.envelope import Page
from ..api.reader import KantataReader
from ..errors import KantataForbidden, KantataMisaddressed, KantataRefused
from ..schema import WORKSPACES
from ..settings import MILESTONE_INCLUDES, MILESTONES_PATH, ONLY_PER_REQUEST
from ..transform.rows import Batch
from .context import ExtractContext
from .ids import counted
from .tables import ExtractTables

NOT_ALLOWED = (KantataForbidden, KantataRefused, KantataMisaddressed)
_SAMPLED_LOOKUPS = 20  # requests
_MOST_LOOKUPS = 200  # requests, if lists cannot be believed
_CANARIES = 3


class IndividualLookups(StrEnum):
    """Which milestones that may be deleted are looked up one by one, to see a 404 for each."""

    NONE = "none"  # they were looked up already
    SOME = "some"  # a sample, after a request by ids left them out
    ALL = "all"  # no milestone is left that could be a canary


@dataclass
class DeletionVerdict:
    """Which missing milestones are deleted, access lost, or still there.

    Args:
        deleted: Ids of those that are deleted.
        access_lost: Ids of those whose project cannot be read.
        pages: Answers that show others after all.
        doubts: Why some could not be judged, one line each.
    """

    deleted: list[str] = field(default_factory=list)
    access_lost: list[str] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def mark_missing(
    context: ExtractContext,
    tables: ExtractTables,
    ids: list[str],
    *,
    canaries: Sequence[str],
    lookups: IndividualLookups,
) -> Iterator[Batch]:
    """Mark missing milestones as deleted or access lost; load those that exist after all.

    Args:
        context: The context of the run.
        tables: The raw tables.
        ids: Milestones that were not in the list.
        canaries: Milestones known to exist.
        lookups: Which milestones are looked up one by one, too.
    """
    if not ids:
        return
    raw_records = context.state.raw_records(ids)
    projects = _projects_of(context, ids, raw_records)
    verdict = judge_missing(
        context.reader,
        projects,
        readable=tables.readable_projects,
        canaries=canaries,
        lookups=lookups,
    )
    for page in verdict.pages:
        yield from tables.compare(page)
    yield from tables.milestones.flush()
    deleted_projects = context.request.deleted_projects
    of_deleted_projects = [i for i in verdict.access_lost if projects[i] in deleted_projects]
    access_lost = [i for i in verdict.access_lost if projects[i] not in deleted_projects]
    at = context.reader.now()
    yield from tables.milestones.mark_deleted(
        [*verdict.deleted, *of_deleted_projects], at, raw_records
    )
    yield from tables.milestones.mark_access_lost(access_lost, at, raw_records)
    context.report.warnings += verdict.doubts


def _projects_of(
    context: ExtractContext, ids: list[str], raw_records: Mapping[str, str]
) -> dict[str, str]:
    """Return the project of each missing milestone, by its row or its last record received."""
    last = context.state.last_values(MILESTONES_PATH, "id", ids, ["workspace_id"])
    of_rows = dict(zip(*(column.to_pylist() for column in last.columns), strict=True))
    return {
        id_: str(of_rows.get(id_) or orjson.loads(raw_records.get(id_, "{}")).get("workspace_id"))
        for id_ in ids
    }


def judge_missing(
    reader: KantataReader,
    projects: Mapping[str, str],
    *,
    readable: Iterable[str],
    canaries: Sequence[str],
    lookups: IndividualLookups,
) -> DeletionVerdict:
    """Find out whether missing milestones are deleted, access lost, or still there.

    Args:
        reader: Reads from Kantata.
        projects: The project of each milestone, by the milestone's id.
        readable: Projects that this run has read.
        canaries: Milestones known to exist.
        lookups: Which milestones are looked up one by one, too.

    Raises:
        KantataError: If a request failed.
    """
    verdict = DeletionVerdict()
    readable = set(readable)
    try:
        readable |= _readable_projects(reader, set(projects.values()) - readable)
    except NOT_ALLOWED as error:
        verdict.doubts.append(f"no project can be looked up: {error}")
        return verdict
    verdict.access_lost = [id_ for id_, project in projects.items() if project not in readable]
    ids = [id_ for id_, project in projects.items() if project in readable]
    if lookups is IndividualLookups.ALL:
        verdict.deleted = ids
        _look_up_individually(reader, verdict, ids)
        return verdict
    size = ONLY_PER_REQUEST - 1
    for start in range(0, len(ids), size):
        _look_up_with_canary(reader, ids[start : start + size], canaries, verdict)
    if lookups is IndividualLookups.SOME:
        _look_up_sample(reader, verdict)
    return verdict


def fetch_one(reader: KantataReader, id_: str, path: str = MILESTONES_PATH) -> Page | None:
    """Fetch one record, which may be deleted; None if it is 404."""
    try:
        return reader.page(
            f"{path}/{id_}", {"include": MILESTONE_INCLUDES} if path == MILESTONES_PATH else {}
        )
    except KantataRefused as error:
        if error.status == 404:
            return None
        raise


def _readable_projects(reader: KantataReader, projects: set[str]) -> set[str]:
    """Return which projects of missing milestones can be read; access to the others is lost."""
    pages = reader.only(WORKSPACES.name, sorted(projects), include_archived="true")
    return {id_ for page in pages for id_ in page.records}


def _look_up_with_canary(
    reader: KantataReader, ids: list[str], canaries: Sequence[str], verdict: DeletionVerdict
) -> None:
    """Look up missing milestones with a canary, so that an empty answer proves no deletion."""
    for canary in islice(canaries, _CANARIES):
        page = next(iter(reader.only(MILESTONES_PATH, [*ids, canary], include=MILESTONE_INCLUDES)))
        if canary in page.records:
            verdict.pages.append(page.restricted_to(frozenset(ids)))
            verdict.deleted += [id_ for id_ in ids if id_ not in page.records]
            return
    verdict.doubts.append(
        f"{counted(len(ids), 'milestone')} {'is' if len(ids) == 1 else 'are'} missing "
        f"({', '.join(ids[:5])}), and so is every canary "
        "requested with them: none was marked as deleted"
    )


def _look_up_sample(reader: KantataReader, verdict: DeletionVerdict) -> None:
    """Look up a sample of the milestones judged as deleted; if one exists, believe none unseen."""
    missing = list(verdict.deleted)
    step = max(1, len(missing) // _SAMPLED_LOOKUPS)
    sample = missing[::step][:_SAMPLED_LOOKUPS]
    _look_up_individually(reader, verdict, sample)
    found = [id_ for id_ in sample if id_ not in verdict.deleted]
    if not found:
        return
    others = [id_ for id_ in missing if id_ not in sample]
    if len(others) <= _MOST_LOOKUPS:
        _look_up_individually(reader, verdict, others)
    else:
        verdict.deleted = [id_ for id_ in verdict.deleted if id_ in sample]
        verdict.doubts.append(
            f"{len(others)} milestones are missing from lists, but others that are missing, too, "
            f"exist ({', '.join(found[:5])}): none of the {len(others)} was marked as deleted. "
            "Kantata's lists are incomplete; the next full scan tries again"
        )


def _look_up_individually(
    reader: KantataReader, verdict: DeletionVerdict, ids: Sequence[str]
) -> None:
    """Look up milestones judged as deleted one by one; those that are not 404 are not deleted."""
    for id_ in list(ids):
        try:
            page = fetch_one(reader, id_)
        except NOT_ALLOWED as error:
            verdict.deleted.remove(id_)
            verdict.doubts.append(f"milestone {id_} is missing from lists: {error}")
            continue
        if page is not None:
            verdict.deleted.remove(id_)
            verdict.pages.append(page)
