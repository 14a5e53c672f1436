"""Milestones that did not turn up: are they deleted, out of reach, or there after all?

Absence alone proves nothing. A milestone is taken as deleted if its project can be read, and a
request by ids that answers with one known to live leaves it out, and asked for singly (the first
20) it is 404. If its project cannot be read, it is out of reach: a permission was lost, or the
whole project was deleted, which Kantata does not tell apart. In doubt nothing is marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from ..api.envelope import Page
from ..api.reader import KantataReader
from ..errors import KantataForbidden, KantataMisaddressed, KantataRefused
from ..schema import WORKSPACES
from ..settings import MILESTONE_INCLUDES, MILESTONES_PATH, ONLY_PER_REQUEST

NOT_ALLOWED = (KantataForbidden, KantataRefused, KantataMisaddressed)
_ASKED_SINGLY = 20
_CANARIES = 3


class IndividualLookups(StrEnum):
    """Which missing milestones are asked for one by one, so that a 404 is seen of each."""

    NONE = "none"  # they were asked for already
    SOME = "some"  # the first ones, after an answer by ids left them out
    ALL = "all"  # none is left whose presence would prove an answer by ids


@dataclass
class DeletionVerdict:
    """What became of milestones.

    Args:
        deleted: Ids.
        lost: Ids of those whose project cannot be read.
        pages: Answers that show others after all.
        doubts: Why some could not be judged, in words.
    """

    deleted: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def judge_missing(
    reader: KantataReader,
    projects: Mapping[str, str],
    readable: Iterable[str],
    canaries: Sequence[str],
    singly: IndividualLookups = IndividualLookups.SOME,
) -> DeletionVerdict:
    """Find out what became of milestones.

    Args:
        reader: The door to Kantata.
        projects: The project of each milestone, by the milestone's id.
        readable: Projects that were read just now.
        canaries: Milestones that were read just now, or lately.
        singly: Which are asked for one by one too.

    Raises:
        KantataError: If a request failed for good.
    """
    verdict = DeletionVerdict()
    try:
        reached = set(readable) | _readable(reader, set(projects.values()) - set(readable))
    except NOT_ALLOWED as error:
        verdict.doubts.append(f"no project can be looked up: {error}")
        return verdict
    verdict.lost = [id_ for id_, project in projects.items() if project not in reached]
    asked = [id_ for id_, project in projects.items() if project in reached]
    if singly is IndividualLookups.ALL:
        verdict.deleted = asked
        _look_up_individually(reader, verdict, len(asked))
        return verdict
    size = ONLY_PER_REQUEST - 1
    for start in range(0, len(asked), size):
        _look_up(reader, asked[start : start + size], canaries, verdict)
    if singly is IndividualLookups.SOME:
        _look_up_individually(reader, verdict, _ASKED_SINGLY)
    return verdict


def fetch_one(reader: KantataReader, id_: str, path: str = MILESTONES_PATH) -> Page | None:
    """One record of a list; None if it is 404."""
    try:
        return reader.page(
            f"{path}/{id_}", {"include": MILESTONE_INCLUDES} if path == MILESTONES_PATH else {}
        )
    except KantataRefused as error:
        if error.status == 404:
            return None
        raise


def _readable(reader: KantataReader, projects: set[str]) -> set[str]:
    pages = reader.only(WORKSPACES.name, sorted(projects), include_archived="true")
    return {id_ for page in pages for id_ in page.records}


def _look_up(
    reader: KantataReader, ids: list[str], canaries: Sequence[str], verdict: DeletionVerdict
) -> None:
    """Ask for milestones beside one that lives, so that an empty answer is not believed."""
    for canary in islice(canaries, _CANARIES):
        page = next(iter(reader.only(MILESTONES_PATH, [*ids, canary], include=MILESTONE_INCLUDES)))
        if canary in page.records:
            verdict.pages.append(page.restricted_to(frozenset(ids)))
            verdict.deleted += [id_ for id_ in ids if id_ not in page.records]
            return
    verdict.doubts.append(
        f"{len(ids)} milestones are missing ({', '.join(ids[:5])}), and so is every other one "
        "asked for beside them: nothing of them is marked"
    )


def _look_up_individually(reader: KantataReader, verdict: DeletionVerdict, most: int) -> None:
    for id_ in verdict.deleted[:most]:
        try:
            page = fetch_one(reader, id_)
        except NOT_ALLOWED as error:
            verdict.deleted.remove(id_)
            verdict.doubts.append(f"milestone {id_} is missing from lists: {error}")
            continue
        if page is not None:
            verdict.deleted.remove(id_)
            verdict.pages.append(page)
