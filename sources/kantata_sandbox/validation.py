"""Checks what is written to a milestone or a reference (API.md#writing-milestones)."""

import re
from collections.abc import Callable
from datetime import date

from .blank_records import Record
from .responses import Problem
from .store import Store

INT32 = 2**31 - 1
_BILLING_TYPES = ("fixed_date", "upon_completion")
_REFERENCE_NEEDS = ("service_name", "service_model", "service_model_ref")
_REFERENCE_TEXTS = (*_REFERENCE_NEEDS, "external_link", "external_message", "external_status")
_REFERENCE_STATUS = ("successful", "pending", "failed")

Converter = Callable[[object], object]


def _title(value: object) -> str:
    """Check the title of a milestone: neither blank nor over 255 characters."""
    # The longest title is unknown; 255 is what Rails gives a string by default.
    text = "" if value is None else str(value)
    if not text.strip():
        raise ValueError("Title can't be blank")
    if len(text) > 255:
        raise ValueError("Title is too long (maximum is 255 characters)")
    return text


def _integer(value: object, name: str) -> int:
    """Check for a JSON integer or a text of digits, as Rails does; within int32, as declared."""
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d+", str(value), re.ASCII):
        raise ValueError(f"{name} is not an integer")
    if abs(int(str(value))) > INT32:
        raise ValueError(f"{name} must be within the range of a 32 bit integer")
    return int(str(value))


def _amount(value: object) -> int:
    """Check the amount of a milestone: an integer of 32 bits."""
    return _integer(value, "Amount in cents")


def _id(value: object) -> str | None:
    """Check an id that is written: an integer of 32 bits, or null or empty for none."""
    return None if value in (None, "") else str(_integer(value, "Id"))


def _date(value: object) -> str | None:
    """Check a date; what is not a date becomes null silently: unknown, and the worst case."""
    try:
        return date.fromisoformat(str(value)[:10]).isoformat()
    except ValueError:
        return None


def _billing_type(value: object) -> str:
    """Check the billing type of a milestone: one of the documented two."""
    if value not in _BILLING_TYPES:
        raise ValueError("Billing type is not included in the list")
    return str(value)


_FIELDS: dict[str, Converter] = {
    "title": _title,
    "amount_in_cents": _amount,
    "date_to_invoice": _date,
    "billing_type": _billing_type,
    "story_id": _id,
}


def check_milestone(
    store: Store, item: Record, existing: Record | None
) -> tuple[Record, list[Problem]]:
    """Check the writable fields of a milestone, and return them with the problems found.

    Fields that cannot be written (currency, invoice_id, on update also workspace_id) are ignored.
    """
    fields: Record = {}
    problems: list[Problem] = []
    for name, convert in _FIELDS.items():
        if name in item or (existing is None and name in ("title", "amount_in_cents")):
            try:
                fields[name] = convert(item.get(name))
            except ValueError as error:
                problems.append(Problem(str(error), name))
    if existing is None:
        problems += _put_workspace(store, item, fields)
    problems += _story_problems(store, (existing or {}) | fields)
    if isinstance(item.get("external_reference"), dict):
        fields["external_reference"], found = check_reference(item["external_reference"])
        problems += [Problem(p.message, "external_reference") for p in found]
    return fields, problems


def _put_workspace(store: Store, item: Record, fields: Record) -> list[Problem]:
    """Check the project of a new milestone, and put it into the fields or return the problem."""
    try:
        id_ = _id(item.get("workspace_id"))
    except ValueError as error:
        return [Problem(str(error), "workspace_id")]
    if id_ is None:
        return [Problem("Workspace can't be blank", "workspace_id")]
    if id_ not in store.workspaces or not store.sees(id_):
        return [Problem("Workspace can't be found", "workspace_id")]
    fields["workspace_id"] = id_
    return []


def _story_problems(store: Store, record: Record) -> list[Problem]:
    """Check a milestone's task: needed for `upon_completion`, and of the same project."""
    # That the task must be one of the same project is unknown (API.md#unknowns, U9), and likely.
    story_id = record.get("story_id")
    if story_id is None:
        needed = record.get("billing_type") == "upon_completion"
        return [Problem("Story can't be blank", "story_id")] if needed else []
    story = store.stories.get(story_id)
    if story is None or story["workspace_id"] != record.get("workspace_id"):
        return [Problem("Story must be in the same workspace", "story_id")]
    return []


def check_reference(item: Record) -> tuple[Record, list[Problem]]:
    """Check the writable fields of a reference, and return them with the problems found."""
    problems = [
        Problem(f"{name.replace('_', ' ').capitalize()} can't be blank", name)
        for name in _REFERENCE_NEEDS
        if item.get(name) in (None, "")
    ]
    fields: Record = {
        name: None if item[name] is None else str(item[name])
        for name in _REFERENCE_TEXTS
        if name in item
    }
    if "locked" in item:
        fields["locked"] = item["locked"] in (True, "true", "1", 1)
    if item.get("status") is not None:
        fields["status"] = item["status"]
        if item["status"] not in _REFERENCE_STATUS:
            problems.append(Problem("Status is not included in the list", "status"))
    return fields, problems
