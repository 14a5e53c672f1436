"""How one table's records differ from those of earlier runs: new, missing and returned fields.

The lines are stored with the run, and later runs parse them: their words must not change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice

from ..api.envelope import Record
from ..schema import Kind

_MISSING, _BACK = " is missing; its last values stay", " is there again"
_MISSING_NULL = " is missing, so it is null now"
_MOST_NESTED = 20  # changes within objects that one run reports


class SchemaDrift:
    """Collects how one table's records differ from those before.

    Args:
        table: The table's name.
        reported: Lines that earlier runs reported, oldest first.
        not_kept: Columns that are null if absent.
    """

    def __init__(
        self, table: str, reported: Iterable[str] = (), not_kept: Collection[str] = ()
    ) -> None:
        self.new_columns: dict[str, Kind] = {}
        self.absent: set[str] = set()
        self.nested: list[str] = []
        self._not_kept = not_kept
        self._prefix = f"{table}."
        self._reported = tuple(reported)
        self._missing_before = self._columns_reported_missing()
        self._still_missing: set[str] | None = None  # None before any record was read

    def _columns_reported_missing(self) -> set[str]:
        """Return the columns that earlier schema changes report as missing, and not as back."""
        missing: set[str] = set()
        for line in (line for line in self._reported if line.startswith(self._prefix)):
            rest = line[len(self._prefix) :]
            if rest.endswith((_MISSING, _MISSING_NULL)):
                missing.add(rest.removesuffix(_MISSING).removesuffix(_MISSING_NULL))
            elif rest.endswith(_BACK):
                missing.discard(rest.removesuffix(_BACK))
        return missing

    def watch(
        self, records: Iterable[Record], columns_of: Callable[[tuple[str, ...]], set[str]]
    ) -> None:
        """Note whether fields that schema drift reported as missing are there again.

        Args:
            records: Records that were read.
            columns_of: Returns the columns of fields.
        """
        if self._missing_before:
            for record in records:
                missing = self._missing_before - columns_of(tuple(record))
                self._still_missing = (self._still_missing or set()) | missing

    def lines(self, *, with_new: bool, is_scan: bool) -> Iterator[str]:
        """Describe the schema drift, one line for each difference; each is reported once.

        Args:
            with_new: Whether new columns are reported: not in the first run, where all are new.
            is_scan: Whether every record was read; only then is a missing field known to be back.
        """
        if with_new:
            yield from (
                f"{self._prefix}{name} is new ({k})" for name, k in self.new_columns.items()
            )
            nested = (f"{self._prefix}{change}" for change in dict.fromkeys(self.nested))
            unreported = (line for line in nested if line not in self._reported)
            yield from islice(unreported, _MOST_NESTED)
        for name in sorted(self.absent - self._missing_before):
            yield f"{self._prefix}{name}{_MISSING_NULL if name in self._not_kept else _MISSING}"
        if is_scan and self._still_missing is not None:
            for name in sorted(self._missing_before - self._still_missing):
                yield f"{self._prefix}{name}{_BACK}"
