"""Reading a lake with delta-rs, as a test's independent reader."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job


@dataclass
class Lake:
    """A lake.

    Args:
        url: Its folder or URL.
        options: The options of its object store.
    """

    url: str
    options: Mapping[str, str] = field(default_factory=dict)

    def address(self, name: str) -> str:
        """The address of a table, by its schema and name."""
        return f"{self.url}/{name.replace('.', '/')}"

    def table(self, name: str, version: int | None = None) -> pa.Table:
        """All rows of a table at a version; None for the last one."""
        from deltalake import DeltaTable

        opened = DeltaTable(self.address(name), version, storage_options=dict(self.options))
        return opened.to_pyarrow_table()

    def published(self) -> list[dict[str, Any]]:
        """The rows of ``published_runs``."""
        return list(self.table("published_runs").to_pylist())

    def runs(self) -> list[str]:
        """The published runs, the oldest first."""
        return sorted({row["run_id"] for row in self.published()})

    def pinned(self, run_id: str | None = None) -> dict[str, dict[str, Any]]:
        """The rows of a run by table; None for the last run."""
        rows = self.published()
        wanted = run_id or max(row["run_id"] for row in rows)
        return {row["table_name"]: row for row in rows if row["run_id"] == wanted}

    def reads_all(self, run_id: str) -> bool:
        """Whether each table of a run can be read, with as many rows as were published."""
        return all(
            self.table(name, row["version"]).num_rows == row["rows"]
            for name, row in self.pinned(run_id).items()
        )


@contextmanager
def synced(job: Job, *, milestones: int, seed: int) -> Iterator[Sandbox]:
    """Start a sandbox, and provide its warehouse after a first sync that copied nothing."""
    url = os.environ.pop("LAKE__URL")
    try:
        with Sandbox(milestones=milestones, seed=seed) as sandbox:
            job.synced(sandbox)
            os.environ["LAKE__URL"] = url
            yield sandbox
    finally:
        os.environ["LAKE__URL"] = url
