"""The account as it is now, as far as some changes need it; read, never written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sources.kantata import KantataReader
from sources.kantata.envelope import Page, Record
from sources.kantata.errors import KantataForbidden, KantataMisaddressed, KantataRefused
from sources.kantata.missing import NOT_ALLOWED, show
from sources.kantata.scan import PATH
from sources.kantata.settings import MILESTONE_INCLUDES, PER_PAGE
from sources.kantata.writer import MODEL, SERVICE
from warehouse.change import Action, Change, Image, Value

from .plan import Live, Seen

# What a proposer sees of a milestone, and what must not have changed when it is written to.
IMAGE = (
    "title",
    "amount_in_cents",
    "currency",
    "billing_type",
    "date_to_invoice",
    "workspace_id",
    "story_id",
    "invoice_id",
    "invoice_ids",
)
_IDS = ("workspace_id", "story_id", "invoice_id")
_REFERENCES = "external_references"


def image(record: Mapping[str, object]) -> Image:
    """A milestone's fields, ids as text and the ids of its invoices in one text."""
    return {name: _value(name, record.get(name)) for name in IMAGE}


def _value(name: str, value: object) -> Value:
    if name == "invoice_ids":
        return ",".join(sorted(map(str, value))) or None if isinstance(value, list) else None
    if name in _IDS:
        return None if value is None else str(value)
    return value if value is None or type(value) is int else str(value)


def invoiced(found: Image, statuses: Mapping[str, object]) -> str:
    """Why a milestone counts as invoiced: it is on an invoice that is not cancelled.

    Args:
        found: The milestone.
        statuses: The status of each invoice that is known, by id.
    """
    if found["invoice_id"] is not None:
        return f"it is on invoice {found['invoice_id']}"
    for id_ in filter(None, str(found["invoice_ids"] or "").split(",")):
        if statuses.get(id_) != "cancelled":
            return f"it is linked to invoice {id_}, which is not cancelled"
    return ""


def read_live(reader: KantataReader, changes: Iterable[Change]) -> Live:
    """Read what these changes are about.

    Raises:
        KantataError: If the account cannot be read.
    """
    changes = list(changes)
    creates = [change for change in changes if change.action is Action.CREATE]
    others = {str(c.milestone_id): c.workspace_id for c in changes if c not in creates}
    milestones = read_milestones(reader, list(others))
    gone, unreadable = _missing(reader, {i: p for i, p in others.items() if i not in milestones})
    if not creates:
        return Live(milestones, frozenset(gone), unreadable)
    projects, made, shown = _projects(reader, sorted({c.workspace_id for c in creates}))
    for change in creates:
        if change.attempts and not _look_up(reader, change, made) and not shown:
            unreadable[change.workspace_id] = "external references cannot be read"
    return Live(
        milestones,
        frozenset(gone),
        unreadable,
        {change_id: frozenset(ids) for change_id, ids in made.items()},
        projects,
    )


def read_milestones(reader: KantataReader, ids: list[str]) -> dict[str, Seen]:
    """Milestones by id; those missing are left out."""
    pages = reader.only(PATH, ids, include=MILESTONE_INCLUDES)
    return {id_: seen for page in pages for id_, seen in _seen(page)}


def _seen(page: Page) -> Iterable[tuple[str, Seen]]:
    invoices = page.side_loaded.get("invoices", {})
    statuses = {id_: record.get("status") for id_, record in invoices.items()}
    for id_, record in page.records.items():
        found = image(record)
        if lacking := [name for name in ("invoice_id", "invoice_ids") if name not in record]:
            # Absent is not null: without a permission an invoice could be there unseen.
            yield id_, Seen(found, f"{' and '.join(lacking)} cannot be read")
        else:
            yield id_, Seen(found, invoiced(found, statuses))


def _missing(reader: KantataReader, projects: Mapping[str, str]) -> tuple[set[str], dict[str, str]]:
    """Which missing milestones are deleted, and why the others cannot be judged."""
    gone: set[str] = set()
    unreadable: dict[str, str] = {}
    for id_, project in projects.items():
        try:
            if show(reader, id_) is not None:
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


def _projects(
    reader: KantataReader, projects: list[str]
) -> tuple[dict[str, Seen], dict[str, set[str]], bool]:
    """All milestones of these projects, what was made by changes, and whether references show."""
    found: dict[str, Seen] = {}
    made: dict[str, set[str]] = {}
    number, pages, shown = 1, 1, True
    while number <= pages:
        query: dict[str, str | int] = {
            "workspace_ids": ",".join(projects),
            "include": MILESTONE_INCLUDES,
            "order": "created_at:desc",
            "per_page": PER_PAGE,
            "page": number,
        }
        page = reader.page(PATH, query)
        found |= {id_: s for id_, s in _seen(page) if s.image["workspace_id"] in projects}
        shown = shown and _REFERENCES in page.side_loaded
        for record in page.side_loaded.get(_REFERENCES, {}).values():
            _take(record, made)
        number, pages = number + 1, page.pages
    return found, made, shown


def _look_up(reader: KantataReader, change: Change, made: dict[str, set[str]]) -> bool:
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
    except (KantataForbidden, KantataMisaddressed, KantataRefused):
        return False
    for record in page.records.values():
        _take(record, made)
    return True


def _take(record: Record, made: dict[str, set[str]]) -> None:
    """Note a reference of ours. Filters may be ignored, so each is looked at."""
    ours = record.get("service_name") == SERVICE and record.get("service_model") == MODEL
    if ours and record.get("subject_type") == "BillingMilestone":
        subject = str(record.get("subject_id"))
        made.setdefault(str(record.get("service_model_ref")), set()).add(subject)
