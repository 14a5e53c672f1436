"""Ids: their order, and how messages list them."""

from __future__ import annotations

from collections.abc import Iterable


def in_numeric_order(ids: Iterable[str]) -> list[str]:
    """Sort ids in numeric order: 9 before 10."""
    return sorted(ids, key=lambda id_: (len(id_), id_))


def first_few(ids: list[str], most: int = 5) -> str:
    """List the first of these ids for a message, and say how many more ids there are."""
    return ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")
