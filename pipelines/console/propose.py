"""Proposing changes: one from a milestone's page, or many by uploading a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipelines.writeback.fields import WRITABLE, plain_id
from pipelines.writeback.proposals import ProposalResult, propose_changes
from pipelines.writeback.requests import ChangeRequest, refuse_problems, requests_from_csv
from pipelines.writeback.sheet_rows import SheetRow
from warehouse.account import bound_account
from warehouse.errors import ChangeRefused, WarehouseError
from warehouse.ledger.change import Action
from warehouse.raw.summary import minor_units
from warehouse.shared_reader import SharedReader

from .access import acted, text_of
from .milestones import milestone_page
from .new_milestone import create_request, new_milestone_page
from .proposal_form import field_values
from .queue import IGNORED, queue_page, shortened_names
from .roles import Identity, Role
from .services import Console
from .view_text import field_name

_ENDINGS = (".xlsx", ".csv")
# The words of the command line, and what they are on a page.
_WORDS = {
    ": add --reason, or fill a column reason": ": write one",
    ": write one, or add --reason": ": write one, there or in the field below",
    ": add --set NAME=VALUE, or fill a column": ": change a field",
    ", or add --unusual": ", or tick the box for unusual dates",
    "add --allow-duplicate": "tick the box for one like it",
    "--as": "your name",
}


def _propose(console: Console, request: Request, identity: Identity, form: FormData) -> Response:
    """Propose what a form says, or what the file in it says."""
    upload = form.get("file")
    if isinstance(upload, UploadFile) and upload.filename:
        return _propose_file(console, request, identity, form, upload)
    if text_of(form, "action") == Action.CREATE:
        return _propose_new(console, request, identity, form)
    milestone_id = text_of(form, "milestone_id").strip()
    if not milestone_id:
        why = "Choose a file first: a workbook from the page Milestones, or a CSV file."
        return queue_page(console, request, identity, problems=[why])
    try:
        with console.readers.open() as reader:
            wanted = _single_request(reader, form, plain_id(milestone_id))
            _propose_all(console, reader, identity, [wanted], form)
    except ChangeRefused as error:
        given = {
            name: text_of(form, name) for name in (*WRITABLE, "reason", "seen") if name in form
        }
        problems = list(map(page_words, error.args))
        return milestone_page(
            console, request, identity, milestone_id, given=given, problems=problems
        )
    return RedirectResponse("/changes?proposed=1", 303)


def _propose_new(
    console: Console, request: Request, identity: Identity, form: FormData
) -> Response:
    """Propose the new milestone that a form says, once."""
    try:
        with console.sent_forms.sending(form, "once") as is_sent:
            if is_sent:
                return RedirectResponse("/changes?skipped=1", 303)
            with console.readers.open() as reader:
                _propose_all(console, reader, identity, [create_request(reader, form)], form)
    except ChangeRefused as error:
        problems = list(map(page_words, error.args))
        return new_milestone_page(console, request, form=form, problems=problems)
    return RedirectResponse("/changes?proposed=1", 303)


def _single_request(reader: SharedReader, form: FormData, milestone_id: str) -> ChangeRequest:
    """Return the change that a form proposes: the fields that differ from what it showed.

    Raises:
        ChangeRefused: If the form is not as it was sent, or a field was emptied.
    """
    action = text_of(form, "action") or Action.UPDATE.value
    if action not in (Action.UPDATE, Action.DELETE):
        raise ChangeRefused(f"the action is {action!r}: use update or delete")
    fields = {name: text_of(form, name) for name in WRITABLE if text_of(form, name).strip()}
    seen = _seen(text_of(form, "seen"))
    if seen is not None:
        shown = field_values(seen, minor_units(reader))
        if action == Action.UPDATE:
            _refuse_emptied(form, shown)
        fields = {n: text for n, text in fields.items() if text.strip() != shown.get(n, "").strip()}
    return ChangeRequest(
        action=Action(action),
        milestone_id=milestone_id,
        fields={} if action == Action.DELETE else fields,
        reason=text_of(form, "reason"),
        seen=None if seen is None else seen.image,
    )


def _refuse_emptied(form: FormData, shown: Mapping[str, str]) -> None:
    """Refuse a form in which a field that showed a value was emptied."""
    emptied = [
        f"the {field_name(name)} was emptied. Write a value, since Kantata may not clear a field, "
        f"or restore {value!s:.40}"
        for name, value in shown.items()
        if value.strip() and name in form and not text_of(form, name).strip()
    ]
    refuse_problems(emptied, "")


def _seen(text: str) -> SheetRow | None:
    """Return the milestone as the form to propose showed it; None if the form does not say it."""
    if not text:
        return None
    try:
        return SheetRow.restored(text)
    except (ValueError, KeyError, TypeError, ArithmeticError):
        raise ChangeRefused("the form is not as the console sent it: load the page again") from None


def _propose_all(
    console: Console,
    reader: SharedReader,
    identity: Identity,
    requests: Sequence[ChangeRequest],
    form: FormData,
) -> list[ProposalResult]:
    """Propose all changes, or none."""
    with console.ledger(reader, identity, create=True) as ledger:
        return propose_changes(
            ledger,
            reader,
            requests,
            proposer=identity.name,
            allow_duplicate=bool(text_of(form, "duplicate")),
            allow_unusual=bool(text_of(form, "unusual")),
        )


def _propose_file(
    console: Console, request: Request, identity: Identity, form: FormData, upload: UploadFile
) -> Response:
    """Propose the changes in an uploaded file."""
    name = os.path.basename(upload.filename or "")[:100]
    ignored: list[str] = []
    try:
        with _saved(upload, name) as path, console.readers.open() as reader:
            try:
                wanted = _file_requests(path, text_of(form, "reason"), reader, ignored)
                results = _propose_all(console, reader, identity, wanted, form)
            except WarehouseError as error:
                error.args = tuple(str(line).replace(str(path), name) for line in error.args)
                raise
    except ChangeRefused as error:
        problems = list(map(page_words, error.args))
        return queue_page(console, request, identity, problems=problems)
    new = sum(not result.note for result in results)
    done = {"proposed": new, "skipped": len(results) - new, IGNORED: shortened_names(ignored)}
    query = urlencode(done, doseq=True)
    return RedirectResponse(f"/changes?{query}", 303)


def _file_requests(
    path: Path, reason: str, reader: SharedReader, ignored: list[str]
) -> list[ChangeRequest]:
    """Read the changes that a file proposes; add the names of its columns that were ignored."""
    if path.suffix == ".xlsx":
        # Here, since its library needs megabytes that a console without uploads does without.
        from pipelines.writeback.spreadsheet import requests_from_workbook

        return requests_from_workbook(path, reason, bound_account(reader))
    return requests_from_csv(path, reason, ignored.extend)


@contextmanager
def _saved(upload: UploadFile, name: str) -> Iterator[Path]:
    """Save an uploaded file to propose from, under a name of ours, until the block ends."""
    ending = os.path.splitext(name)[1].lower()
    if ending not in _ENDINGS:
        raise ChangeRefused(f"{name} is neither a workbook (.xlsx) nor a CSV file (.csv)")
    number, path = tempfile.mkstemp(prefix="milestones-upload-", suffix=ending)
    try:
        with os.fdopen(number, "wb") as file:
            while chunk := upload.file.read(1 << 20):
                file.write(chunk)
        yield Path(path)
    finally:
        with suppress(OSError):
            os.unlink(path)


def page_words(line: object) -> str:
    """Return a message about a proposal in the words of a page: without options of commands."""
    text = str(line)
    for words, instead in _WORDS.items():
        text = text.replace(words, instead)
    return text


propose = acted(_propose, Role.PROPOSER)
