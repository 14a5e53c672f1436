"""The fields that can be written, and their values in the form that Kantata accepts."""

from __future__ import annotations

import re
from datetime import date

from pipelines.runtime.text import unseen
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Value

WRITABLE = ("title", "amount_in_cents", "date_to_invoice", "billing_type", "story_id")
FOR_CREATE = ("workspace_id", *WRITABLE)
_BILLING_TYPES = ("fixed_date", "upon_completion")
_SHOWN = 40  # characters of a wrong value in a message
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
    if name == "date_to_invoice":
        try:
            if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
                raise ValueError
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise ChangeRefused(
                f"date_to_invoice is {_shortened(text)}: write a real date, such as 2027-01-31"
            ) from None
    if name == "billing_type" and text not in _BILLING_TYPES:
        raise ChangeRefused(
            f"billing_type is {_shortened(text)}: use {' or '.join(_BILLING_TYPES)}"
        )
    if name in ("story_id", "workspace_id"):
        if not re.fullmatch(r"[0-9]{1,20}", text):
            raise ChangeRefused(f"{name} is {_shortened(text)}, not a number: write its id")
        return plain_id(text)
    return text


def plain_id(text: str) -> str:
    """Return the text of an id field without leading zeros, which a spreadsheet may have added."""
    text = text.strip()
    return str(int(text)) if re.fullmatch(r"[0-9]{1,20}", text) else text
