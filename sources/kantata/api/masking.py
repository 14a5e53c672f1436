"""Mask a secret in text that others wrote, however it is encoded there."""

from __future__ import annotations

import json
import re
from urllib.parse import quote, quote_plus

MASK = "[secret]"
SHORTEST = 8  # characters; a shorter secret could be part of an ordinary word
_ENCODED = re.compile("%[0-9A-F]{2}")


def mask(text: str, secret: str) -> str:
    """Return the text with each form of a secret replaced, unless the secret is too short."""
    if len(secret) >= SHORTEST:
        for form in written_forms(secret):
            text = text.replace(form, MASK)
    return text


def written_forms(secret: str) -> list[str]:
    """Return the forms in which text contains a secret, the longest first."""
    encoded = {quote(secret, safe=""), quote_plus(secret), quote(secret)}
    lower = {_ENCODED.sub(lambda found: found[0].lower(), form) for form in encoded}
    escaped = {json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    return sorted({secret, *encoded, *lower, *escaped}, key=len, reverse=True)
