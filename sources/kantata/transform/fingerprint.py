"""Digests of 16 bytes: of a record's content, and of its row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from ..api.envelope import Record
from ..api.lenient_json import storable_record

HASH_VERSION = "1:"  # so that a later release can distinguish its hashes from these
OF_A_ROW = "row "  # before the hash of a version made of a row instead of a record
DIGEST_BYTES = 16


class Content(NamedTuple):
    """A record that can be stored, and its digest.

    Args:
        record: The record; if the one received cannot be stored, a copy marked as unreadable.
        digest: Of its content.
    """

    record: Record
    digest: bytes


def content_of(record: Record) -> Content:
    """Return a record as it can be stored, and its digest."""
    try:
        return Content(record, digest(record))
    except TypeError:  # for example nested too deeply
        record = storable_record(record)
        return Content(record, digest(record))


def digest(record: Record) -> bytes:
    """Return the digest of a record's content: nulls left out, keys and lists of ids sorted.

    Nulls are left out so that a new field which is null everywhere changes no row. An absent field
    changes a row, while a null does not: see ``with_kept``.
    """
    content = {name: value for name, value in record.items() if value is not None}
    for name, value in content.items():
        if type(value) is list and len(value) > 1 and name.endswith("_ids"):
            content[name] = sorted(value, key=str)
    canonical = orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=DIGEST_BYTES).digest()


def with_kept(content: bytes, kept: Iterable[str]) -> bytes:
    """Return the digest of a row that holds more than its record: last values of absent fields.

    Applied twice with the same columns it returns the digest again, so that a row's digest and a
    record's show which columns were kept.

    Args:
        content: The record's digest.
        kept: Columns whose last values were kept, at least one.
    """
    return xor(content, mark(kept))


def mark(kept: Iterable[str]) -> bytes:
    """Return the digest of the names of these columns, whose last values a row kept."""
    names = "\0".join(sorted(kept)).encode()
    return hashlib.blake2b(names, digest_size=DIGEST_BYTES).digest()


def xor(one: bytes, other: bytes) -> bytes:
    """Combine two digests by xor, so that the result and one of them give the other."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def row_hash(content: bytes) -> str:
    """Return a digest as the text that the column ``row_hash`` holds."""
    return HASH_VERSION + content.hex()
