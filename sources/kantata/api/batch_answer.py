"""Reads the response to a batch: which creates it names, and which it refuses.

Creates are found by the external reference that each carries, never by their position: a batch is
answered by a page, the newest milestone first (API.md#batch-create).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import KantataOutcomeUnknown, KantataRefused
from ..settings import MILESTONES_PATH, REFERENCE_MODEL, REFERENCE_SERVICE
from .envelope import error_messages
from .responses import is_success, parse_json, write_result
from .transport import HttpResponse


@dataclass(frozen=True, kw_only=True)
class BatchAnswer:
    """The answer to a write, or to a batch of creates.

    Args:
        written: The id of the milestone of each change that was certainly written, by its id.
        refused: Why a create was refused, by the change's id, for those that an error names.
        refusal: The refusal of the batch as a whole; None if Kantata accepted it.
    """

    written: Mapping[str, str]
    refused: Mapping[str, str] = field(default_factory=dict)
    refusal: KantataRefused | None = None


def batch_answer(response: HttpResponse, change_ids: Sequence[str]) -> BatchAnswer:
    """Return the answer to a batch of creates, by the response to it.

    Args:
        response: The response.
        change_ids: The changes, in the order of the batch.

    Raises:
        KantataError: As ``write_result``, but not if the batch was refused.
    """
    body = parse_json(response)
    try:
        write_result("POST", response)
        refusal = None
    except KantataRefused as error:
        refusal = error
    except KantataOutcomeUnknown:
        if not is_success(response) or not isinstance(body, dict):
            raise
        # It was accepted, but not all of it: the errors say what was refused.
        why = f"Kantata refused a part of the batch ({error_messages(body)})"
        refusal = KantataRefused(why, response.status)
    return BatchAnswer(
        written=_created(body, change_ids),
        refused=_refused(body, change_ids, response.status),
        refusal=refusal,
    )


def _created(body: object, change_ids: Sequence[str]) -> dict[str, str]:
    """Return the milestone of each change that the answer names once, and with its reference."""
    milestones: dict[str, set[str]] = {}
    changes: dict[str, set[str]] = {}
    for change_id, milestone_id in _references(body):
        if change_id in change_ids:
            milestones.setdefault(change_id, set()).add(milestone_id)
            changes.setdefault(milestone_id, set()).add(change_id)
    named = _named(body)
    return {
        change_id: milestone_id
        for change_id, (milestone_id, *others) in milestones.items()
        if not others and len(changes[milestone_id]) == 1 and milestone_id in named
    }


def _references(body: object) -> Iterator[tuple[str, str]]:
    """Yield the change and the milestone of each of our external references in the answer."""
    found = body.get("external_references") if isinstance(body, dict) else None
    for record in found.values() if isinstance(found, dict) else ():
        if (
            isinstance(record, dict)
            and record.get("service_name") == REFERENCE_SERVICE
            and record.get("service_model") == REFERENCE_MODEL
            and record.get("subject_type") == "BillingMilestone"
        ):
            yield str(record.get("service_model_ref")), str(record.get("subject_id"))


def _named(body: object) -> set[str]:
    """Return the ids of the milestones that the answer names as its results."""
    results: Any = body.get("results") if isinstance(body, dict) else None
    return {
        str(row.get("id"))
        for row in (results if isinstance(results, list) else ())
        if isinstance(row, dict) and row.get("key") == MILESTONES_PATH
    }


def _refused(body: object, change_ids: Sequence[str], status: int) -> dict[str, str]:
    """Return why the answer refuses each change to which an error's ``index`` points."""
    errors: dict[int, list[object]] = {}
    found: Any = body.get("errors") if isinstance(body, dict) else None
    for error in found if isinstance(found, list) else ():
        if isinstance(error, dict) and type(error.get("index")) is int:
            errors.setdefault(error["index"], []).append(error)
    return {
        change_ids[index]: f"Kantata refused it ({status}: {error_messages({'errors': some})})"
        for index, some in errors.items()
        if 0 <= index < len(change_ids)
    }
