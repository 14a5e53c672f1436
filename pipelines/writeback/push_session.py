"""The session of a push: its ledger, its reader of the account, and its result so far.

Settling, planning, pushing and verifying share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeVar

from pipelines.config.account_binding import check_warehouse_account, connected_account
from pipelines.config.ledger_binding import check_ledger_account
from sources.kantata import KantataReader
from sources.kantata.errors import KantataError
from warehouse.account import AccountBinding
from warehouse.ledger.change import Action, Change, Status, Units
from warehouse.ledger.store import Ledger
from warehouse.ledger.trust import is_approval_verified
from warehouse.ledger.verification import check_ledger, untrusted_changes
from warehouse.raw.account_binding import Origin

from .account_state import AccountState
from .plan import Deferred, Step, Write, build_plan
from .remote_state import read_account_state, read_minor_units
from .resend import why_not_again
from .result import PushResult, WaitingChange
from .settlement import Settlement

_T = TypeVar("_T")
ACTOR = "milestones push"  # who moves a change, as its events name it
CHANGES_PER_READ = 20  # changes
MAY_HAVE_BEEN_SENT = frozenset({Status.APPLYING, Status.UNKNOWN})


class PushSession:
    """The ledger and the account of one push, and its result so far.

    Args:
        ledger: The ledger of changes. The push lock must be held, except for a dry run.
        reader: Reads the account.
        reconcile_after: How long an unknown outcome is not read back, by Kantata's clock.
        origin: What the warehouse says of the account it was filled from; None without one.
        units_held: The minor units by which people proposed and approved; None without a warehouse.
        needs_verified: Whether only changes are sent whose approver the console verified.
    """

    def __init__(
        self,
        ledger: Ledger,
        reader: KantataReader,
        reconcile_after: timedelta,
        origin: Origin | None = None,
        *,
        units_held: Units | None = None,
        needs_verified: bool = False,
    ) -> None:
        self.ledger = ledger
        self.reader = reader
        self.account: AccountBinding | None = None
        self.units: Units = {}
        #: Finished changes that somebody altered in the ledger, a line each.
        self.altered: list[str] = []
        self.result = PushResult()
        self._reconcile_after = reconcile_after
        self._origin = origin
        self._units_held = units_held or {}
        self._needs_verified = needs_verified

    def open(self, *, bind: bool = True) -> None:
        """Open the session: check whose the ledger and warehouse are, and read minor units.

        Args:
            bind: Whether to bind a ledger to this account that is not bound to any yet.

        Raises:
            KantataError: If the account cannot be read.
            WarehouseMisconfigured: If the ledger or the warehouse belongs to another account.
            LedgerDamaged: If somebody altered the ledger's events.
        """
        self.altered = check_ledger(self.ledger)
        binding = self._origin.binding if self._origin else None
        self.account = account = connected_account(self.reader, binding)
        bound = check_ledger_account(self.ledger, account, bind=False)
        if self._origin is not None:
            check_warehouse_account(self._origin, account, self.reader, bound)
        if bind:
            check_ledger_account(self.ledger, account, bind=True)
        self.units = read_minor_units(self.reader)

    @contextmanager
    def recording_errors(self) -> Iterator[None]:
        """Record an error of Kantata in the session's result, so that the session goes on."""
        try:
            yield
        except KantataError as error:
            self.result.stopped = self.result.stopped or error

    def now(self) -> datetime:
        """Return Kantata's time for the session, since clocks of machines that push may differ."""
        return self.reader.server_now or self.ledger.now()

    def changes(self, *statuses: Status) -> list[Change]:
        """Return the changes in the session's ledger with these statuses, the oldest first."""
        return self.ledger.changes(frozenset(statuses))

    def account_state(self, changes: Sequence[Change]) -> AccountState:
        """Read the part of the account's state that these changes of the session need.

        Raises:
            KantataError: If it cannot be read.
        """
        return read_account_state(self.reader, changes, self.units)

    def plan(self, changes: Sequence[Change], account: AccountState) -> list[Step]:
        """Return the steps of the session for changes; those that the ledger belies are refused."""
        steps = build_plan(
            changes,
            account,
            untrusted=untrusted_changes(self.ledger, changes),
            not_again={c.change_id: why for c in changes if (why := self.why_not_again(c))},
        )
        return [self._in_same_money(self._verified(step)) for step in steps]

    def _in_same_money(self, step: Step) -> Step:
        """Return a step of the session; one that waits, if its amount means other money now."""
        change = step.change
        if not isinstance(step, Write) or "amount_in_cents" not in change.after:
            return step
        currency = str(change.currency)
        now, held = self.units.get(currency), self._units_held.get(currency)
        if now is None or held is None or now == held:
            return step
        return Deferred(
            change,
            f"Kantata's minor unit of {currency} is {now.normalize():f} now, and was "
            f"{held.normalize():f} when the amount was approved, so another amount would be "
            "written. Withdraw the change, run `milestones sync`, which says what to do, and then "
            "propose it again",
        )

    def _verified(self, step: Step) -> Step:
        """Return a step of the session; one that waits, if its approver had to be verified."""
        change = step.change
        if not self._needs_verified or change.status is not Status.APPROVED:
            return step
        if not isinstance(step, Write) or is_approval_verified(
            self.ledger.history(change.change_id)
        ):
            return step
        return Deferred(
            change,
            f"{change.approver} approved it on the command line, which verifies nobody, and "
            "PUSH__REQUIRE_VERIFIED_APPROVAL is true: withdraw it, propose it again, and approve "
            "it in the console",
        )

    def why_not_again(self, change: Change) -> str:
        """Return why the session must not send a create again that was not found; empty if not."""
        if change.action is not Action.CREATE or change.status not in MAY_HAVE_BEEN_SENT:
            return ""
        return why_not_again(change, self.now(), self._reconcile_after)

    def why_too_early(self, change: Change) -> str:
        """Return why it is too early in this session to read back a change; empty if it is not."""
        if change.status not in MAY_HAVE_BEEN_SENT or change.sent_at is None:
            return ""
        until = change.sent_at + self._reconcile_after
        if not self._reconcile_after or self.now() >= until:
            return ""
        return (
            f"Kantata may still process it until {until:%H:%M:%S} UTC; a push after that finds out"
        )

    def transition(
        self, change: Change, status: Status, why: str, request_id: str | None = None
    ) -> Change:
        """Move a change to a status from which this push session continues.

        Raises:
            ChangeRefused: If its status has changed since it was read.
        """
        return self.ledger.transition(change, status, who=ACTOR, what=why, request_id=request_id)

    def finish(
        self,
        change: Change,
        settlement: Settlement,
        *,
        request_id: str | None = None,
        **columns: object,
    ) -> None:
        """Move a change to its final status in this push session, and add it to the result."""
        moved = self.ledger.transition(
            change,
            settlement.status,
            who=ACTOR,
            what=settlement.why,
            request_id=request_id,
            milestone_id=settlement.milestone_id,
            **columns,
        )
        if settlement.status is not Status.APPROVED:
            self.result.changes.append(moved)

    def defer(self, change: Change, why: str) -> None:
        """Leave a change to a later push session, and add it to the result."""
        self.result.waiting.append(WaitingChange(change, why))


def chunks(items: Sequence[_T], size: int) -> list[list[_T]]:
    """Split the items of a push session into lists of at most this size."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
