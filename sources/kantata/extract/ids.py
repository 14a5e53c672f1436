"""Ids: their order, and how messages list them."""

from __future__ import annotations

from collections.abc import Iterable


def in_numeric_order(ids: Iterable[str]) -> list[str]:
    """Sort ids as the numbers they are."""
    return sorted(ids, key=lambda id_: (len(id_), id_))


def first_few(ids: list[str], most: int = 5) -> str:
    """List the first of these ids, and say how many more there are."""
    return ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")
