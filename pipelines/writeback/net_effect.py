"""What changes do to the amounts of their milestones, in total per currency. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from warehouse.ledger.change import Action, Change

_AMOUNT = "amount_in_cents"


@dataclass(frozen=True)
class NetEffect:
    """The totals of some changes in one currency, in minor units.

    Args:
        currency: The ISO code; None for changes without a currency.
        changes: The number of changes.
        before: The total of their milestones as the proposers saw them; 0 for a create.
        after: The total once they are applied; 0 for a delete.
    """

    currency: str | None
    changes: int
    before: int
    after: int

    @property
    def net(self) -> int:
        """What the changes add to the total; negative if they reduce it."""
        return self.after - self.before


def amounts(change: Change) -> tuple[int | None, int | None]:
    """Return the amount of a change's milestone before and after it, in minor units.

    None is no amount: before a create, after a delete, or if the milestone has none.
    """
    before, after = change.before.get(_AMOUNT), change.after.get(_AMOUNT)
    if change.action is Action.UPDATE and _AMOUNT not in change.after:
        after = before
    return _whole(before), _whole(after)


def _whole(value: object) -> int | None:
    """Return an amount of a change, if it is one."""
    return value if isinstance(value, int) else None


def net_effects(changes: Iterable[Change]) -> list[NetEffect]:
    """Return the totals of changes per currency, never across; changes without one come last."""
    totals: dict[str | None, list[int]] = {}
    for change in changes:
        before, after = amounts(change)
        total = totals.setdefault(change.currency, [0, 0, 0])
        for index, value in enumerate((1, before or 0, after or 0)):
            total[index] += value
    return [
        NetEffect(currency, *totals[currency])
        for currency in sorted(totals, key=lambda each: (each is None, each or ""))
    ]
