"""Decisions on changes: approve, reject and withdraw, one or many at once, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipelines.writeback.seen_changes import (
    SeenChange,
    approve_seen,
    reject_seen,
    withdraw_seen,
)
from warehouse.errors import ChangedSince, ChangeRefused, NoLedger, OwnChange, UnknownChange
from warehouse.ledger.change import Change
from warehouse.ledger.store import Ledger

from .access import Endpoint, acted, text_of, texts_of
from .queue import queue_page
from .roles import Identity, Role
from .services import Console

Decide = Callable[[Ledger, Sequence[SeenChange], Identity, str], list[Change]]
_NOTHING = "Nothing was decided."
_STATUS = {UnknownChange: 404, OwnChange: 403, ChangedSince: 409}


def _approve(
    ledger: Ledger, seen: Sequence[SeenChange], identity: Identity, reason: str
) -> list[Change]:
    """Decide to approve changes; refuse a reason, since its writer may mean to reject them."""
    if reason.strip():
        raise ChangeRefused(
            "The form has a reason, but an approval takes none. Reject or withdraw the changes "
            "with the reason, or approve them without it."
        )
    return approve_seen(ledger, seen, actor=identity.name)


def _reject(
    ledger: Ledger, seen: Sequence[SeenChange], identity: Identity, reason: str
) -> list[Change]:
    """Decide to reject changes."""
    return reject_seen(ledger, seen, actor=identity.name, reason=reason)


def _withdraw(
    ledger: Ledger, seen: Sequence[SeenChange], identity: Identity, reason: str
) -> list[Change]:
    """Decide to withdraw changes."""
    only_own = not identity.role.may(Role.APPROVER)
    return withdraw_seen(ledger, seen, actor=identity.name, reason=reason, only_own=only_own)


def _decided(decide: Decide, done: str, role: Role) -> Endpoint:
    """Return the endpoint of a decision.

    Args:
        decide: Decides in the ledger.
        done: What the changes are then.
        role: The role that is needed.
    """

    def act(console: Console, request: Request, identity: Identity, form: FormData) -> Response:
        seen = seen_changes(form)
        if not seen:
            return queue_page(
                console,
                request,
                identity,
                problems=[f"{_NOTHING} Choose at least one change, then decide."],
            )
        try:
            with (
                console.readers.open() as reader,
                console.ledger(reader, identity) as ledger,
            ):
                changes = decide(ledger, seen, identity, text_of(form, "reason"))
        except NoLedger:
            raise HTTPException(404, f"{_NOTHING} There is no change yet.") from None
        except ChangeRefused as error:
            status = _STATUS.get(type(error), 422)
            advice = ["Look at the changes as they are now."] if status == 409 else []
            problems = [_NOTHING, *map(str, error.args), *advice]
            return queue_page(console, request, identity, problems=problems, status=status)
        return RedirectResponse(f"/changes?{done}={len(changes)}", 303)

    return acted(act, role)


def seen_changes(form: FormData) -> list[SeenChange]:
    """Return the changes to decide on, as a form names them.

    It names them in pairs of ``change_id`` and ``digest``; or in one field ``pick`` each, which a
    box that is ticked sends without a script.

    Raises:
        HTTPException: If an id has no digest, or the other way round.
    """
    ids, digests = texts_of(form, "change_id"), texts_of(form, "digest")
    if len(ids) != len(digests):
        raise HTTPException(
            422, f"{_NOTHING} Each change_id needs the digest of the change that you saw."
        )
    picked = [pick.partition(" ")[::2] for pick in texts_of(form, "pick")]
    pairs = [*zip(ids, digests, strict=True), *picked]
    return [SeenChange(id_.strip(), digest.strip()) for id_, digest in pairs]


approve = _decided(_approve, "approved", Role.APPROVER)
reject = _decided(_reject, "rejected", Role.APPROVER)
withdraw = _decided(_withdraw, "withdrawn", Role.PROPOSER)
