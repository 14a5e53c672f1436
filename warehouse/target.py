"""The warehouse that is configured: its destination, files and lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination import Destination


@dataclass(frozen=True, kw_only=True)
class Target:
    """A warehouse, and the files beside it.

    Args:
        destination: What dlt loads into.
        name: ``duckdb`` or ``postgres``.
        find_ledger: Gives the URL of the ledger of changes; it may raise, so that only what needs
            the ledger fails for it.
        folder: Where the lock and dlt's working files are.
        stem: What they are called.
        loader: The DuckDB file dlt loads into, None for Postgres.
        published: The DuckDB file for readers, None for Postgres.
        timezone: Decides which day it is in the marts, and where a month begins.
    """

    destination: Destination[Any, Any]
    name: str
    find_ledger: Callable[[], str] = field(compare=False, repr=False)
    folder: Path
    stem: str
    loader: Path | None = None
    published: Path | None = None
    timezone: str = "UTC"

    @cached_property
    def ledger_url(self) -> str:
        """The URL of the ledger of changes.

        Raises:
            WarehouseMisconfigured: If it is not where a ledger can be.
        """
        return self.find_ledger()

    @property
    def lock(self) -> Path:
        """The file whose lock a run holds."""
        return self.folder / f"{self.stem}.lock"

    @property
    def working(self) -> Path:
        """Where dlt works; made anew by each run."""
        return self.folder / f"{self.stem}-working"

    def pipeline(self) -> dlt.Pipeline:
        """The pipeline that loads into it."""
        return dlt.pipeline(
            "milestones",
            pipelines_dir=str(self.working),
            destination=self.destination,
            dataset_name="kantata",
        )
