"""Verifying: reading written milestones again, and comparing them with what was requested."""

from __future__ import annotations

from sources.kantata.settings import ONLY_PER_REQUEST
from warehouse.ledger.change import Action, Change, Status, Units

from .account_state import MilestoneState
from .milestone import differences, expected_image
from .push_session import ACTOR, PushSession, chunks
from .remote_state import read_milestones


def verify(session: PushSession) -> None:
    """Verify the written milestones: read them again, and add what is not as requested.

    Raises:
        KantataError: If the account cannot be read.
    """
    written = {
        change.milestone_id: change
        for change in session.result.changes
        if change.status is Status.APPLIED and change.milestone_id and change.attempts
    }
    for ids in chunks(list(written), ONLY_PER_REQUEST):
        states = read_milestones(session.reader, ids)
        for id_ in ids:
            if mismatch := _mismatch(written[id_], states.get(id_), session.units):
                session.ledger.add_remark(written[id_], who=ACTOR, what=mismatch)
                session.result.doubts.append(f"change {written[id_].change_id}: {mismatch}")


def _mismatch(change: Change, state: MilestoneState | None, units: Units) -> str:
    """Describe how a milestone to verify differs from what its change requested; empty if not."""
    if change.action is Action.DELETE:
        still_exists = "it was deleted, but still exists when read again: check it in Kantata"
        return still_exists if state is not None else ""
    if state is None:
        return "it was written, but does not exist when read again: check it in Kantata"
    found = differences(expected_image(change), state.image, units)
    return f"it was written, but when read again {found}: check it in Kantata" if found else ""
