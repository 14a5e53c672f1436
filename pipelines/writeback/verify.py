"""Reading once more what was written, and comparing it with what was asked."""

from __future__ import annotations

from sources.kantata.settings import ONLY_PER_REQUEST
from warehouse.ledger.change import Action, Change, Status, Units

from .account_state import MilestoneState
from .milestone import differences, expected_image
from .push_session import ACTOR, PushSession, chunks
from .remote_state import read_milestones


def verify(session: PushSession) -> None:
    """Compare what was written with what was asked; add what differs to the result.

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
    """What is not as asked after a change was applied, in words."""
    if change.action is Action.DELETE:
        return "deleted, and still there when read again" if state is not None else ""
    if state is None:
        return "written, and not there when read again"
    found = differences(expected_image(change), state.image, units)
    return f"written, and when read again {found}" if found else ""
