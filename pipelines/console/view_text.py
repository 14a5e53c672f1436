"""Values as the console shows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

from pipelines.ops.money import money_text
from warehouse.ledger.change import Value


def age_text(age: timedelta) -> str:
    """Return how long ago something was, for people."""
    minutes = max(0, int(age.total_seconds() // 60))
    for size, name in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if count := minutes // size:
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"


def duration_text(seconds: float) -> str:
    """Return how long something took, for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def decimals_by_currency(units: Mapping[str, Decimal]) -> dict[str, int]:
    """Return the digits after the point that show amounts of each currency exactly."""
    return {
        code: max(0, -int(unit.normalize().as_tuple().exponent)) for code, unit in units.items()
    }


def subunits_text(value: int, currency: str | None, units: Mapping[str, Decimal]) -> str:
    """Return an amount in minor units as money without its currency, if its unit is known."""
    unit = units.get(currency or "")
    if unit is None:
        return f"{value:,} minor units"
    decimals = max(0, -int(unit.normalize().as_tuple().exponent))
    return money_text(value * unit, decimals)


def field_text(name: str, value: Value, currency: str | None, units: Mapping[str, Decimal]) -> str:
    """Return the value of a milestone's field as text; an amount in money."""
    if value is None:
        return "none"
    if name == "amount_in_cents" and isinstance(value, int):
        return f"{subunits_text(value, currency, units)} {currency or ''}".strip()
    return str(value)


FIELD_NAMES: Mapping[str, str] = {
    "amount_in_cents": "amount",
    "date_to_invoice": "date",
    "billing_type": "billing type",
    "story_id": "task",
    "workspace_id": "project",
    "invoice_id": "invoice",
}


def field_name(name: str) -> str:
    """Return the name of a milestone's field as people read it."""
    return FIELD_NAMES.get(name, name)
