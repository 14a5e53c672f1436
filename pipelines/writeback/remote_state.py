"""The state of the account, read from Kantata: the part that some changes need. Never writes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from sources.kantata import KantataReader
from sources.kantata.api.envelope import Page, Record
from sources.kantata.errors import KantataIncomplete, KantataMoving
from sources.kantata.extract.deletions import NOT_ALLOWED, fetch_one
from sources.kantata.extract.scan import Scan
from sources.kantata.settings import (
    MILESTONE_INCLUDES,
    MILESTONES_PATH,
    PER_PAGE,
    REFERENCE_MODEL,
    REFERENCE_SERVICE,
)
from warehouse.ledger.change import Action, Change, Units, Value

from .account_state import AccountState, MilestoneState
from .milestone import invoiced_reason, milestone_image

_REFERENCES = "external_references"
_POWERS_OF_TEN = frozenset(10**n for n in range(7))  # others have no exact decimals


def read_account_state(
    reader: KantataReader, changes: Iterable[Change], units: Units | None = None
) -> AccountState:
    """Read the account's state for these changes from Kantata; milestones to write to are last.

    Args:
        reader: Reads the account.
        changes: The changes.
        units: The value of a minor unit by currency.

    Raises:
        KantataError: If the account cannot be read.
    """
    creates: list[Change] = []
    project_ids: dict[str, str] = {}
    for change in changes:
        if change.action is Action.CREATE:
            creates.append(change)
        else:
            project_ids[str(change.milestone_id)] = change.workspace_id
    projects = read_projects(reader, creates) if creates else ProjectState()
    existing = _read_existing(reader, project_ids)
    return AccountState(
        milestones=existing.milestones,
        deleted=frozenset(existing.missing.deleted),
        unreadable=existing.missing.unreadable,
        unreadable_projects=projects.unreadable,
        created={change_id: frozenset(ids) for change_id, ids in projects.created.items()},
        project_milestones=projects.milestones,
        project_currencies=projects.currencies,
        units=units or {},
        read_at=existing.read_at,
    )


@dataclass
class _MissingMilestones:
    """Milestones that Kantata's lists do not show.

    Args:
        deleted: The ids of those that are certainly deleted.
        unreadable: The reason why each of the others cannot be read, by its id.
    """

    deleted: set[str] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _ExistingMilestones:
    """The milestones of updates and deletes.

    Args:
        milestones: The milestones that can be read, by id.
        missing: The others.
        read_at: When reading began, in seconds of the monotonic clock.
    """

    milestones: Mapping[str, MilestoneState]
    missing: _MissingMilestones
    read_at: float


def _read_existing(reader: KantataReader, project_ids: Mapping[str, str]) -> _ExistingMilestones:
    """Read from Kantata the milestones of updates and deletes.

    Args:
        reader: Reads the account.
        project_ids: The id of each milestone's project, by the milestone's id.
    """
    missing = _MissingMilestones()
    read_at = time.monotonic()
    milestones = read_milestones(reader, list(project_ids))
    if absent := {id_: p for id_, p in project_ids.items() if id_ not in milestones}:
        missing = _classify_missing(reader, absent)
        read_at = time.monotonic()
        milestones = read_milestones(reader, list(project_ids))
        missing.deleted -= milestones.keys()
        for id_ in project_ids.keys() - milestones.keys() - missing.deleted:
            missing.unreadable.setdefault(
                id_, f"milestone {id_} disappeared while it was being read"
            )
        for id_ in milestones.keys() & missing.unreadable.keys():
            del missing.unreadable[id_]
    return _ExistingMilestones(milestones=milestones, missing=missing, read_at=read_at)


def _classify_missing(reader: KantataReader, project_ids: Mapping[str, str]) -> _MissingMilestones:
    """Find out in Kantata which missing milestones are deleted, and why others are unreadable."""
    missing = _MissingMilestones()
    for id_, project in project_ids.items():
        try:
            if fetch_one(reader, id_) is not None:
                missing.unreadable[id_] = (
                    f"Kantata's lists do not show milestone {id_}, although it exists"
                )
                continue
            pages = reader.only("workspaces", [project], include_archived="true")
            if any(project in page.records for page in pages):
                missing.deleted.add(id_)
            else:
                missing.unreadable[id_] = (
                    f"neither project {project} nor milestone {id_} can be read"
                )
        except NOT_ALLOWED as error:
            missing.unreadable[id_] = str(error)
    return missing


def read_minor_units(reader: KantataReader) -> Units:
    """Read a minor unit's value by currency from Kantata; empty if the token may not read it."""
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
    """Read from Kantata the state of these milestones by id, without those that are missing."""
    pages = reader.only(MILESTONES_PATH, ids, include=MILESTONE_INCLUDES)
    return {id_: state for page in pages for id_, state in _milestone_states(page)}


def read_milestone(reader: KantataReader, id_: str) -> MilestoneState | None:
    """Read from Kantata the state of one milestone, by its id alone; None if it cannot be read."""
    try:
        page = fetch_one(reader, id_)
    except NOT_ALLOWED:
        return None
    return dict(_milestone_states(page)).get(id_) if page else None


def _milestone_states(page: Page) -> Iterator[tuple[str, MilestoneState]]:
    """Yield the id and the state of each milestone on a page that Kantata returned."""
    invoices = page.side_loaded.get("invoices", {})
    statuses = {id_: record.get("status") for id_, record in invoices.items()}
    for id_, record in page.records.items():
        yield id_, _milestone_state(record, statuses)


def _milestone_state(record: Record, invoice_statuses: Mapping[str, object]) -> MilestoneState:
    """Return the state of a milestone record read from Kantata."""
    image = milestone_image(record)
    if lacking := [name for name in ("invoice_id", "invoice_ids") if name not in record]:
        # Absent is not null: without a permission, an invoice may exist that is not shown.
        names = " and ".join(lacking)
        invoiced = f"{names} cannot be read; check the permissions of the token's user"
    else:
        invoiced = invoiced_reason(image, invoice_statuses)
    updated_at, created_at = (
        None if record.get(name) is None else str(record[name])
        for name in ("updated_at", "created_at")
    )
    return MilestoneState(image, invoiced, updated_at, created_at)


@dataclass
class ProjectState:
    """The state of the projects of creates.

    Args:
        milestones: All their milestones, by id.
        created: The ids of milestones that carry a change's id, by the change's id.
        currencies: The currencies by the project's id.
        unreadable: The reason why a project cannot be read, by its id.
    """

    milestones: dict[str, MilestoneState] = field(default_factory=dict)
    created: dict[str, set[str]] = field(default_factory=dict)
    currencies: dict[str, Value] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


def read_projects(reader: KantataReader, creates: list[Change]) -> ProjectState:
    """Read from Kantata the projects of creates: their milestones, and their currencies.

    An empty list of milestones proves nothing, so the projects themselves are read as well.

    Raises:
        KantataError: If the account cannot be read.
    """
    state = ProjectState()
    ids = sorted({change.workspace_id for change in creates})
    shows_references = _read_project_milestones(reader, ids, state)
    for change in creates:
        # A create that was never sent has no reference in Kantata.
        found = not change.attempts or _find_by_reference(reader, change, state)
        if not found and not shows_references:
            state.unreadable[change.workspace_id] = (
                "external references cannot be read, so it is not known whether it was created"
            )
    _read_currencies(reader, ids, state)
    return state


def _read_project_milestones(reader: KantataReader, ids: list[str], state: ProjectState) -> bool:
    """Read all milestones of projects from Kantata; return whether it shows references."""
    shown = True
    try:
        # A scan reads in the order in which a list that changes meanwhile loses no row.
        for page in Scan(reader, in_flight=1, filters={"workspace_ids": ",".join(ids)}).pages():
            state.milestones |= {
                id_: milestone
                for id_, milestone in _milestone_states(page)
                if milestone.image["workspace_id"] in ids
            }
            shown = shown and _REFERENCES in page.side_loaded
            for record in page.side_loaded.get(_REFERENCES, {}).values():
                _add_reference(record, state)
    except (KantataMoving, KantataIncomplete) as error:
        why = f"the project's milestones cannot be read: {error}"
        state.unreadable |= dict.fromkeys(ids, why)
    return shown


def _read_currencies(reader: KantataReader, ids: list[str], state: ProjectState) -> None:
    """Read from Kantata the currency of each project, or the reason why it cannot be read."""
    try:
        for page in reader.only("workspaces", ids, include_archived="true"):
            for id_, record in page.records.items():
                if "currency" in record:
                    currency = record["currency"]
                    state.currencies[id_] = None if currency is None else str(currency)
                else:
                    state.unreadable[id_] = f"the currency of project {id_} cannot be read"
    except NOT_ALLOWED as error:
        state.unreadable |= dict.fromkeys(ids, str(error))
    for id_ in ids:
        if id_ not in state.currencies:
            state.unreadable.setdefault(id_, f"project {id_} cannot be read")


def _find_by_reference(reader: KantataReader, change: Change, state: ProjectState) -> bool:
    """Read Kantata's external references with a change's id; return whether the token may."""
    query: dict[str, str | int] = {
        "subject_type": "BillingMilestone",
        "service_name": REFERENCE_SERVICE,
        "service_model": REFERENCE_MODEL,
        "service_model_ref": change.change_id,
        "per_page": PER_PAGE,
    }
    try:
        page = reader.page(_REFERENCES, query)
    except NOT_ALLOWED:
        return False
    for record in page.records.values():
        _add_reference(record, state)
    return True


def _add_reference(record: Record, state: ProjectState) -> None:
    """Add the milestone of an external reference read from Kantata, if it is ours.

    Kantata may ignore filters, so each record is checked.
    """
    is_ours = (
        record.get("service_name") == REFERENCE_SERVICE
        and record.get("service_model") == REFERENCE_MODEL
    )
    if is_ours and record.get("subject_type") == "BillingMilestone":
        milestone_id = str(record.get("subject_id"))
        state.created.setdefault(str(record.get("service_model_ref")), set()).add(milestone_id)
