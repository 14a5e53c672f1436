"""Characters in foreign text that a terminal obeys or does not show."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

# Unicode categories: control, format, surrogate, line separator, paragraph separator.
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji are written with them


def visible(text: str) -> str:
    """Return the text with each invisible character replaced by its number."""
    if text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _INVISIBLE else c for c in text)


def unseen(text: str) -> str:
    """Return the invisible characters of a text, escaped; a title or reason may have none."""
    found = (c for c in text if unicodedata.category(c) in _INVISIBLE and c not in _JOINERS)
    return ", ".join(dict.fromkeys(map(_escaped, found)))


def change_texts(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - any JSON
    """Return a JSON value with each text in it changed, but not its keys."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: change_texts(each, change) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [change_texts(each, change) for each in value]
    return value


def _escaped(character: str) -> str:
    """Return an invisible character of a text as its escape sequence."""
    return character.encode("unicode_escape").decode("ascii")
