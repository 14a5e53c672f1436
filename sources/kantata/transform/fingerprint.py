"""What stands for the content of a record, and of a row, in 16 bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import orjson

from ..api.envelope import Record

HASH_VERSION = "1:"  # so that a later release can tell its hashes from these
OF_A_ROW = "row "  # before the hash of a version that was made of a row, not of a record received
DIGEST_BYTES = 16


def digest(record: Record) -> bytes:
    """The content of a record in 16 bytes: nulls left out, lists of ids sorted, keys sorted.

    Nulls are left out so that a new field which is null everywhere rewrites nothing. What an absent
    field does to a row, which a null does not, is in ``with_kept``.
    """
    content = {name: value for name, value in record.items() if value is not None}
    for name, value in content.items():
        if type(value) is list and len(value) > 1 and name.endswith("_ids"):
            content[name] = sorted(value, key=str)
    canonical = orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=DIGEST_BYTES).digest()


def with_kept(content: bytes, kept: Iterable[str]) -> bytes:
    """What stands for a row that holds more than its record tells: values of absent fields.

    Twice the same gives the digest back, so that from what a row holds and a digest it can be told
    what was kept.

    Args:
        content: The record's digest.
        kept: Columns whose last values were kept, at least one.
    """
    return xor(content, mark(kept))


def mark(kept: Iterable[str]) -> bytes:
    """What stands for these columns."""
    names = "\0".join(sorted(kept)).encode()
    return hashlib.blake2b(names, digest_size=DIGEST_BYTES).digest()


def xor(one: bytes, other: bytes) -> bytes:
    """One of two values that ``with_kept`` joined, given the other."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def row_hash(content: bytes) -> str:
    """A digest as ``row_hash`` holds it."""
    return HASH_VERSION + content.hex()
