"""Text that others wrote: nothing in it may pass unseen, or change what stands around it."""

from __future__ import annotations

import unicodedata

# Control, format, surrogate, line and paragraph: a terminal obeys them, or shows nothing.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji are written with them


def visible(text: str) -> str:
    """A text in which all that cannot be seen is written out, by its number."""
    if text.isprintable():
        return text
    return "".join(_written(c) if unicodedata.category(c) in _UNSEEN else c for c in text)


def unseen(text: str) -> str:
    """The characters that a title, a reason or a name may not have, written out."""
    found = (c for c in text if unicodedata.category(c) in _UNSEEN and c not in _JOINERS)
    return ", ".join(dict.fromkeys(map(_written, found)))


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
