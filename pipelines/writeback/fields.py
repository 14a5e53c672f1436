"""The fields that can be written, and their values in the form that Kantata accepts."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal, localcontext

from pipelines.runtime.text import unseen
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Value

WRITABLE = ("title", "amount", "amount_in_cents", "date_to_invoice", "billing_type", "story_id")
FOR_CREATE = ("workspace_id", *WRITABLE)
_BILLING_TYPES = ("fixed_date", "upon_completion")
_SHOWN = 40  # characters of a wrong value in a message
_AMOUNT = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,12})?")
_DAY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})( 00:00(:00(\.0{1,9})?)?)?")
_ROUNDED = re.compile(r"[0-9]+([.,][0-9]+)?[eE][+-]?[0-9]+")
_INT32 = 2**31 - 1  # Kantata declares int32, so no greater amount is sent


def check_text(name: str, text: str) -> str:
    """Return the text of a field or a reason; refuse one with invisible characters.

    Args:
        name: The name of the text in the message.
        text: The text.

    Raises:
        ChangeRefused: If it has control characters, line ends or marks of direction.
    """
    if found := unseen(text):
        raise ChangeRefused(f"remove the invisible characters from {name}: {found}")
    return text


def _shortened(text: str) -> str:
    """Return the text of a field for a message, quoted and shortened."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def parse_field(name: str, text: str) -> Value:
    """Parse the text of a field into the value that Kantata accepts.

    Raises:
        ChangeRefused: If the field cannot have this value.
    """
    text = check_text(name, text).strip()
    if not text:
        raise ChangeRefused(f"{name} is empty: give a value, since Kantata may not clear a field")
    if name == "amount_in_cents":
        if not re.fullmatch(r"-?0{0,20}[0-9]{1,10}", text) or abs(int(text)) > _INT32:
            raise ChangeRefused(
                f"amount_in_cents is {_shortened(text)}: write a whole number of minor units, "
                f"such as cents, at most {_INT32}"
            )
        return int(text)
    if name == "amount":
        if not _AMOUNT.fullmatch(text):
            raise ChangeRefused(
                f"amount is {_shortened(text)}: write it in money, with a point before the "
                "decimals and nothing between thousands, such as 1234.50"
            )
        return text
    if name == "date_to_invoice":
        return _parse_day(text)
    if name == "billing_type" and text not in _BILLING_TYPES:
        raise ChangeRefused(
            f"billing_type is {_shortened(text)}: use {' or '.join(_BILLING_TYPES)}"
        )
    if name in ("story_id", "workspace_id"):
        if not re.fullmatch(r"[0-9]{1,20}", text):
            raise ChangeRefused(f"{name} is {_shortened(text)}, not a number: write its id")
        return plain_id(text)
    return text


def _parse_day(text: str) -> str:
    """Parse the text of a date field, also with the midnight that a spreadsheet may have added."""
    try:
        if not (found := _DAY.fullmatch(text)):
            raise ValueError
        return date.fromisoformat(found[1]).isoformat()
    except ValueError:
        raise ChangeRefused(
            f"date_to_invoice is {_shortened(text)}: write a real date as year-month-day, such as "
            "2027-01-31"
        ) from None


def minor_units_of(amount: str, unit: Decimal, currency: str) -> int:
    """Convert the text of the field ``amount`` into a number of minor units, exactly.

    Args:
        amount: The text, as ``parse_field`` accepts it.
        unit: The value of one minor unit.
        currency: ISO code, for the message.

    Raises:
        ChangeRefused: If it is finer than the minor unit, or too large.
    """
    with localcontext(prec=60):
        subunits = Decimal(amount) / unit
        if subunits != subunits.to_integral_value() or int(subunits) * unit != Decimal(amount):
            raise ChangeRefused(
                f"amount is {_shortened(amount)}, finer than the minor unit of {currency}, "
                f"{unit.normalize():f}: write it with fewer decimals"
            )
    if abs(subunits) > _INT32:
        raise ChangeRefused(
            f"amount is {_shortened(amount)}: write at most {_INT32 * unit.normalize():f}"
        )
    return int(subunits)


def plain_id(text: str) -> str:
    """Return the text of an id field without leading zeros, which a spreadsheet may have added.

    Raises:
        ChangeRefused: If a spreadsheet has rounded it, such as 1.23E+05.
    """
    text = text.strip()
    if _ROUNDED.fullmatch(text):
        raise ChangeRefused(
            f"the id {_shortened(text)} was rounded by a spreadsheet: export it again, and format "
            "its column as text before you save"
        )
    return str(int(text)) if re.fullmatch(r"[0-9]{1,20}", text) else text
