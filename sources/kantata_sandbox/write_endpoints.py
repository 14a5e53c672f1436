"""The endpoints that change something (API.md#writing-milestones)."""

from dataclasses import replace
from typing import Any

import orjson

from . import body_parser
from .batch_rules import BatchRules
from .blank_records import Record
from .get_endpoints import milestones_response
from .query import read_order, read_window
from .request import ApiRequest
from .responses import (
    ApiResponse,
    Problem,
    bad_request,
    envelope_of_one,
    errors,
    invalid,
    json_response,
    not_found,
)
from .validation import check_milestone, check_reference

MAX_BATCH = 100


def create_milestones(request: ApiRequest) -> ApiResponse:
    """POST /billing_milestones: one, or up to 100.

    Whether a batch is atomic is unknown (API.md#unknowns, U6): the account's BatchRules say so. Its
    response is an ordinary page: 20 rows, newest first, unless the query says otherwise
    (API.md#batch-create).
    """
    body = body_parser.parse_body(request.body, request.content_type)
    single = "billing_milestone" in body
    items = [body["billing_milestone"]] if single else body.get("billing_milestones")
    if isinstance(items, dict):
        items = list(items.values())
    if not isinstance(items, list) or not items or not all(isinstance(i, dict) for i in items):
        raise bad_request("param is missing or the value is empty: billing_milestone")
    if len(items) > MAX_BATCH:
        raise invalid(Problem(f"No more than {MAX_BATCH} objects may be created at once", "base"))
    return _create_one(request, items[0]) if single else _create_batch(request, items)


def _create_one(request: ApiRequest, item: Record) -> ApiResponse:
    """Create a milestone, and write the response."""
    fields, problems = check_milestone(request.account, item, None)
    if problems:
        raise invalid(*problems)
    return _created(request, [request.account.create_milestone(**fields)], BatchRules())


def _create_batch(request: ApiRequest, items: list[Record]) -> ApiResponse:
    """Create the milestones of a batch, or some, or none, and write the response."""
    rules = request.account.batch_rules
    problems: list[Problem] = []
    valid: list[Record] = []
    for place, item in enumerate(items):
        fields, found = check_milestone(request.account, item, None)
        problems += [replace(p, index=place if rules.indexes else None) for p in found]
        valid += [] if found else [fields]
    if problems and rules.atomic:
        raise invalid(*problems)
    answer = _created(request, [request.account.create_milestone(**f) for f in valid], rules)
    if not problems:
        return answer
    refused = errors(422, *problems)
    if not rules.accepts_part:
        return refused
    return json_response(orjson.loads(answer.body) | orjson.loads(refused.body))


def _created(request: ApiRequest, ids: list[str], rules: BatchRules) -> ApiResponse:
    """Return a page of what a write created: the newest first, even within a second."""
    query = {name: v for name, v in request.query.items() if name != "only"}
    if rules.most_rows is not None:
        query |= {"per_page": str(rules.most_rows)}
    if not rules.shows_references:
        query.pop("include", None)
    page = read_window(query)
    rows = sorted(ids, key=int, reverse=read_order(request.query, ("created_at",)).descending)
    shown = replace(request, query=query)
    return milestones_response(shown, rows[page.start : page.stop], len(rows), page)


def _editable(request: ApiRequest) -> Record:
    """Return the milestone that may be written to: not on an invoice, not even a draft.

    Status and text of the refusal are unknown (API.md#unknowns, U5).
    """
    if not request.account.sees_milestone(request.id):
        raise not_found()
    record = request.account.true_milestones[request.id]
    if record["invoice_id"] is not None:
        raise invalid(Problem("Billing milestone has been invoiced and cannot be changed", "base"))
    return record


def update_milestone(request: ApiRequest) -> ApiResponse:
    """PUT /billing_milestones/{id}: the fields given change, the others stay."""
    body = body_parser.parse_body(request.body, request.content_type)
    record = _editable(request)
    item = body.get("billing_milestone")
    if not isinstance(item, dict):
        raise bad_request("param is missing or the value is empty: billing_milestone")
    fields, problems = check_milestone(request.account, item, record)
    if problems:
        raise invalid(*problems)
    request.account.update_milestone(record["id"], **fields)
    return milestones_response(request, [record["id"]], 1, read_window({}))


def delete_milestone(request: ApiRequest) -> ApiResponse:
    """DELETE /billing_milestones/{id}."""
    request.account.delete_milestone(_editable(request)["id"])
    return ApiResponse(204)


def save_reference(request: ApiRequest) -> ApiResponse:
    """POST /external_references/create_or_update."""
    body: dict[str, Any] = body_parser.parse_body(request.body, request.content_type)
    item = body.get("external_reference")
    if not isinstance(item, dict):
        raise bad_request("param is missing or the value is empty: external_reference")
    subject = str(item.get("subject_id", ""))
    fields, problems = check_reference(item)
    if item.get("subject_type") != "BillingMilestone":
        problems.append(Problem("Subject type is not included in the list", "subject_type"))
    elif not request.account.sees_milestone(subject):
        problems.append(Problem("Subject can't be found", "subject_id"))
    if problems:
        raise invalid(*problems)
    row = request.account.external_references[request.account.save_reference(subject, fields)]
    return envelope_of_one("external_references", row)


def delete_reference(request: ApiRequest) -> ApiResponse:
    """DELETE /external_references/{id}."""
    row = request.account.external_references.get(request.id)
    if row is None or not request.account.sees_milestone(str(row["subject_id"])):
        raise not_found()
    request.account.delete_reference(request.id)
    return ApiResponse(204)


def cancel_invoice(request: ApiRequest) -> ApiResponse:
    """PUT /invoices/{id}/cancel."""
    if not request.account.sees_invoice(request.id):
        raise not_found()
    request.account.cancel_invoice(request.id)
    return envelope_of_one("invoices", request.account.invoices[request.id])


def delete_invoice(request: ApiRequest) -> ApiResponse:
    """DELETE /invoices/{id}: drafts only."""
    if not request.account.sees_invoice(request.id):
        raise not_found()
    try:
        request.account.delete_invoice(request.id)
    except ValueError:
        raise invalid(Problem("Only draft invoices can be deleted", "base")) from None
    return ApiResponse(204)
