"""The endpoints that change something (API.md#writing-milestones)."""

from typing import Any

from . import body_parser
from .blank_records import Record
from .get_endpoints import milestones_answer
from .query import order, window
from .request import Call
from .responses import Answer, Problem, bad_request, envelope, invalid, not_found
from .validation import check_milestone, check_reference

MAX_BATCH = 100


def create_milestones(call: Call) -> Answer:
    """POST /billing_milestones: one, or up to 100 of which all or none are created.

    Whether a batch is atomic is unknown (API.md#unknowns, U6). Its answer is an ordinary page: 20
    rows, newest first, unless the query says otherwise (API.md#batch-create).
    """
    body = body_parser.read(call.body, call.content_type)
    single = "billing_milestone" in body
    items = [body["billing_milestone"]] if single else body.get("billing_milestones")
    if isinstance(items, dict):
        items = list(items.values())
    if not isinstance(items, list) or not items or not all(isinstance(i, dict) for i in items):
        raise bad_request("param is missing or the value is empty: billing_milestone")
    if len(items) > MAX_BATCH:
        raise invalid(Problem(f"No more than {MAX_BATCH} objects may be created at once", "base"))
    ids = [call.account.create_milestone(**fields) for fields in _checked(call, items, single)]
    return _created(call, ids)


def _checked(call: Call, items: list[Record], single: bool) -> list[Record]:
    problems: list[Problem] = []
    checked: list[Record] = []
    for place, item in enumerate(items):
        fields, found = check_milestone(call.account, item, None)
        checked.append(fields)
        problems += [Problem(p.message, p.field, p.type, None if single else place) for p in found]
    if problems:
        raise invalid(*problems)
    return checked


def _created(call: Call, ids: list[str]) -> Answer:
    """Answer with a page of what was created: the newest first, even within a second."""
    page = window({name: v for name, v in call.query.items() if name != "only"})
    rows = sorted(ids, key=int, reverse=order(call.query, ("created_at",)).descending)
    return milestones_answer(call, rows[page.start : page.stop], len(rows), page)


def _editable(call: Call) -> Record:
    """Give the milestone of the path, unless it is invoiced, be it by a draft.

    Status and text of the refusal are unknown (API.md#unknowns, U5).
    """
    if not call.account.sees_milestone(call.id):
        raise not_found()
    record = call.account.true_milestones[call.id]
    if record["invoice_id"] is not None:
        raise invalid(Problem("Billing milestone has been invoiced and cannot be changed", "base"))
    return record


def update_milestone(call: Call) -> Answer:
    """PUT /billing_milestones/{id}: the fields given, the others stay."""
    body = body_parser.read(call.body, call.content_type)
    record = _editable(call)
    item = body.get("billing_milestone")
    if not isinstance(item, dict):
        raise bad_request("param is missing or the value is empty: billing_milestone")
    fields, problems = check_milestone(call.account, item, record)
    if problems:
        raise invalid(*problems)
    call.account.update_milestone(record["id"], **fields)
    return milestones_answer(call, [record["id"]], 1, window({}))


def delete_milestone(call: Call) -> Answer:
    """DELETE /billing_milestones/{id}: gone for good."""
    call.account.delete_milestone(_editable(call)["id"])
    return Answer(204)


def save_reference(call: Call) -> Answer:
    """POST /external_references/create_or_update."""
    body: dict[str, Any] = body_parser.read(call.body, call.content_type)
    item = body.get("external_reference")
    if not isinstance(item, dict):
        raise bad_request("param is missing or the value is empty: external_reference")
    subject = str(item.get("subject_id", ""))
    fields, problems = check_reference(item)
    if item.get("subject_type") != "BillingMilestone":
        problems.append(Problem("Subject type is not included in the list", "subject_type"))
    elif not call.account.sees_milestone(subject):
        problems.append(Problem("Subject can't be found", "subject_id"))
    if problems:
        raise invalid(*problems)
    row = call.account.external_references[call.account.save_reference(subject, fields)]
    return envelope("external_references", {row["id"]: row}, 1, window({}), {})


def delete_reference(call: Call) -> Answer:
    """DELETE /external_references/{id}."""
    row = call.account.external_references.get(call.id)
    if row is None or not call.account.sees_milestone(str(row["subject_id"])):
        raise not_found()
    call.account.delete_reference(call.id)
    return Answer(204)


def cancel_invoice(call: Call) -> Answer:
    """PUT /invoices/{id}/cancel."""
    if not call.account.sees_invoice(call.id):
        raise not_found()
    call.account.cancel_invoice(call.id)
    return envelope("invoices", {call.id: call.account.invoices[call.id]}, 1, window({}), {})


def delete_invoice(call: Call) -> Answer:
    """DELETE /invoices/{id}: drafts only."""
    if not call.account.sees_invoice(call.id):
        raise not_found()
    try:
        call.account.delete_invoice(call.id)
    except ValueError:
        raise invalid(Problem("Only draft invoices can be deleted", "base")) from None
    return Answer(204)
