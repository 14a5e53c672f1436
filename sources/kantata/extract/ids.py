"""Ids: their order, and how messages list and count them."""

from __future__ import annotations

from collections.abc import Iterable


def in_numeric_order(ids: Iterable[str]) -> list[str]:
    """Sort ids in numeric order: 9 before 10."""
    return sorted(ids, key=lambda id_: (len(id_), id_))


def first_few(ids: list[str], most: int = 5) -> str:
    """List the first of these ids for a message, and say how many more ids there are."""
    return ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")


def counted(count: int, thing: str) -> str:
    """Return a count of ids or pages for a message, and what it counts, in the right number."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
