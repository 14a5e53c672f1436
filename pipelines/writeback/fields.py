"""The fields that can be written, and their values as Kantata takes them."""

from __future__ import annotations

import re
from datetime import date

from pipelines.runtime.text import unseen
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Value

WRITABLE = ("title", "amount_in_cents", "date_to_invoice", "billing_type", "story_id")
FOR_CREATE = ("workspace_id", *WRITABLE)
_BILLING_TYPES = ("fixed_date", "upon_completion")
_SHOWN = 40  # characters of a wrong value
_INT32 = 2**31 - 1  # what Kantata declares; more is not sent


def check_text(name: str, text: str) -> str:
    """A text that is what it looks like, since a person decides by what is shown.

    Args:
        name: What to call it when it is not.
        text: The text.

    Raises:
        ChangeRefused: If it has control characters, line ends or what turns its direction.
    """
    if found := unseen(text):
        raise ChangeRefused(f"{name} has characters that cannot be seen: {found}")
    return text


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def parse_field(name: str, text: str) -> Value:
    """A value as Kantata takes it.

    Raises:
        ChangeRefused: If it is none.
    """
    text = check_text(name, text).strip()
    if not text:
        raise ChangeRefused(f"{name} is empty: Kantata is not known to clear a field")
    if name == "amount_in_cents":
        if not re.fullmatch(r"-?0{0,20}[0-9]{1,10}", text) or abs(int(text)) > _INT32:
            raise ChangeRefused(
                f"amount_in_cents is {_shortened(text)}: write a whole number of the currency's "
                f"smallest unit, at most {_INT32}"
            )
        return int(text)
    if name == "date_to_invoice":
        try:
            if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
                raise ValueError
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise ChangeRefused(
                f"date_to_invoice is {_shortened(text)}: write a real date as 2027-01-31"
            ) from None
    if name == "billing_type" and text not in _BILLING_TYPES:
        raise ChangeRefused(
            f"billing_type is {_shortened(text)}: there are {', '.join(_BILLING_TYPES)}"
        )
    if name in ("story_id", "workspace_id") and not re.fullmatch(r"[0-9]{1,20}", text):
        raise ChangeRefused(f"{name} is {_shortened(text)}, not a number")
    return text
