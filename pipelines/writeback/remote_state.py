"""The account as it is now, as far as some changes need it; read, never written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from sources.kantata import KantataReader
from sources.kantata.api.envelope import Page, Record
from sources.kantata.api.writer import MODEL, SERVICE
from sources.kantata.errors import KantataIncomplete, KantataMoving
from sources.kantata.extract.deletions import NOT_ALLOWED, fetch_one
from sources.kantata.extract.scan import Scan
from sources.kantata.settings import MILESTONE_INCLUDES, MILESTONES_PATH, PER_PAGE
from warehouse.ledger.change import Action, Change, Units, Value

from .milestone import image, invoiced
from .plan import AccountState, MilestoneState

_REFERENCES = "external_references"
_POWERS_OF_TEN = frozenset(10**n for n in range(7))  # others have no exact decimals


def read_account_state(
    reader: KantataReader, changes: Iterable[Change], units: Units | None = None
) -> AccountState:
    """Read what these changes are about; the milestones to be written to last of all.

    Args:
        reader: The door to Kantata.
        changes: Which ones.
        units: What a subunit is worth.

    Raises:
        KantataError: If the account cannot be read.
    """
    creates, others = [], {}
    for change in changes:
        if change.action is Action.CREATE:
            creates.append(change)
        else:
            others[str(change.milestone_id)] = change.workspace_id
    found = read_projects(reader, creates) if creates else ProjectState()
    gone: set[str] = set()
    unreadable: dict[str, str] = {}
    read_at = time.monotonic()
    milestones = read_milestones(reader, list(others))
    if missing := {i: p for i, p in others.items() if i not in milestones}:
        gone, unreadable = _classify_missing(reader, missing)
        read_at = time.monotonic()
        milestones = read_milestones(reader, list(others))
        gone -= milestones.keys()
        for id_ in others.keys() - milestones.keys() - gone:
            unreadable.setdefault(id_, f"milestone {id_} vanished while it was being read")
    return AccountState(
        milestones=milestones,
        gone=frozenset(gone),
        unreadable={id_: why for id_, why in unreadable.items() if id_ not in milestones},
        closed=found.closed,
        made={change_id: frozenset(ids) for change_id, ids in found.made.items()},
        projects=found.milestones,
        currencies=found.currencies,
        units=units or {},
        read_at=read_at,
    )


def read_minor_units(reader: KantataReader) -> Units:
    """What a subunit of each currency is worth; nothing if that may not be read."""
    try:
        page = reader.page("currencies", {"per_page": PER_PAGE})
    except NOT_ALLOWED:
        return {}
    units = {}
    for record in page.records.values():
        subunits = record.get("subunit_to_unit")
        if type(subunits) is int and subunits in _POWERS_OF_TEN:
            units[str(record.get("iso_code"))] = Decimal(1) / subunits
    return units


def read_milestones(reader: KantataReader, ids: list[str]) -> dict[str, MilestoneState]:
    """Milestones by id; those missing are left out."""
    pages = reader.only(MILESTONES_PATH, ids, include=MILESTONE_INCLUDES)
    return {id_: seen for page in pages for id_, seen in _milestone_states(page)}


def _milestone_states(page: Page) -> Iterable[tuple[str, MilestoneState]]:
    invoices = page.side_loaded.get("invoices", {})
    statuses = {id_: record.get("status") for id_, record in invoices.items()}
    for id_, record in page.records.items():
        found = image(record)
        changed = record.get("updated_at")
        changed = None if changed is None else str(changed)
        if lacking := [name for name in ("invoice_id", "invoice_ids") if name not in record]:
            # Absent is not null: without a permission an invoice could be there unseen.
            yield id_, MilestoneState(found, f"{' and '.join(lacking)} cannot be read", changed)
        else:
            yield id_, MilestoneState(found, invoiced(found, statuses), changed)


def _classify_missing(
    reader: KantataReader, projects: Mapping[str, str]
) -> tuple[set[str], dict[str, str]]:
    """Which missing milestones are deleted, and why the others cannot be judged."""
    gone: set[str] = set()
    unreadable: dict[str, str] = {}
    for id_, project in projects.items():
        try:
            if fetch_one(reader, id_) is not None:
                unreadable[id_] = f"lists leave out milestone {id_}, though it is there"
                continue
            pages = reader.only("workspaces", [project], include_archived="true")
            if any(project in page.records for page in pages):
                gone.add(id_)
            else:
                unreadable[id_] = f"project {project} cannot be read, nor milestone {id_}"
        except NOT_ALLOWED as error:
            unreadable[id_] = str(error)
    return gone, unreadable


@dataclass
class ProjectState:
    """What creates need to know of their projects.

    Args:
        milestones: All there are, by id.
        made: Ids of milestones that name a change, by the change's id.
        currencies: By the project's id.
        closed: Why a project could not be judged, by its id.
    """

    milestones: dict[str, MilestoneState] = field(default_factory=dict)
    made: dict[str, set[str]] = field(default_factory=dict)
    currencies: dict[str, Value] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)


def read_projects(reader: KantataReader, creates: list[Change]) -> ProjectState:
    """Read the projects of creates: what is there, and what may be made there.

    An empty list of milestones proves nothing, so the projects themselves are asked for as well.

    Raises:
        KantataError: If the account cannot be read.
    """
    found = ProjectState()
    ids = sorted({change.workspace_id for change in creates})
    shown = _read_lists(reader, ids, found)
    for change in creates:
        if change.attempts and not _find_by_reference(reader, change, found.made) and not shown:
            found.closed[change.workspace_id] = "external references cannot be read"
    _read_currencies(reader, ids, found)
    return found


def _read_lists(reader: KantataReader, ids: list[str], found: ProjectState) -> bool:
    """All milestones of these projects, and whether their references are shown."""
    shown = True
    try:
        # A scan reads in the one order in which a list that moves meanwhile loses no row.
        for page in Scan(reader, in_flight=1, filters={"workspace_ids": ",".join(ids)}).pages():
            rows = {id_: s for id_, s in _milestone_states(page) if s.image["workspace_id"] in ids}
            found.milestones |= rows
            shown = shown and _REFERENCES in page.side_loaded
            for record in page.side_loaded.get(_REFERENCES, {}).values():
                _note_reference(record, found.made)
    except (KantataMoving, KantataIncomplete) as error:
        found.closed |= dict.fromkeys(ids, f"the project's milestones cannot be read: {error}")
    return shown


def _read_currencies(reader: KantataReader, ids: list[str], found: ProjectState) -> None:
    try:
        for page in reader.only("workspaces", ids, include_archived="true"):
            for id_, record in page.records.items():
                if "currency" in record:
                    currency = record["currency"]
                    found.currencies[id_] = None if currency is None else str(currency)
                else:
                    found.closed[id_] = f"the currency of project {id_} cannot be read"
    except NOT_ALLOWED as error:
        found.closed |= dict.fromkeys(ids, str(error))
    for id_ in ids:
        if id_ not in found.currencies:
            found.closed.setdefault(id_, f"project {id_} cannot be read")


def _find_by_reference(reader: KantataReader, change: Change, made: dict[str, set[str]]) -> bool:
    """Ask for the references that name a change; whether that is allowed."""
    query: dict[str, str | int] = {
        "subject_type": "BillingMilestone",
        "service_name": SERVICE,
        "service_model": MODEL,
        "service_model_ref": change.change_id,
        "per_page": PER_PAGE,
    }
    try:
        page = reader.page(_REFERENCES, query)
    except NOT_ALLOWED:
        return False
    for record in page.records.values():
        _note_reference(record, made)
    return True


def _note_reference(record: Record, made: dict[str, set[str]]) -> None:
    """Note a reference of ours. Filters may be ignored, so each is looked at."""
    ours = record.get("service_name") == SERVICE and record.get("service_model") == MODEL
    if ours and record.get("subject_type") == "BillingMilestone":
        subject = str(record.get("subject_id"))
        made.setdefault(str(record.get("service_model_ref")), set()).add(subject)
