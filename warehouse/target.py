"""The configured warehouse: its destination, files and lock file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination import Destination


@dataclass(frozen=True, kw_only=True)
class LakeTarget:
    """Where the warehouse is copied to as open tables.

    Args:
        url: A folder, or the URL of a bucket with a prefix.
        options: The storage options of delta-rs, with secrets.
        every: The shortest time between two copies.
        keep: How long the tables of an earlier run can be read after a later one was published.
        time_limit: How long one run may copy.
    """

    url: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    every: timedelta = timedelta()
    keep: timedelta = timedelta(days=2)
    time_limit: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A warehouse and the files that belong to it.

    Args:
        destination: dlt's destination.
        name: ``duckdb`` or ``postgres``.
        find_ledger: Returns the URL of the ledger of changes. It may raise, so that only commands
            that need the ledger fail.
        folder: The folder of the lock file and of dlt's working files.
        stem: Their name, without the ending.
        loader: The DuckDB file dlt loads into; None for Postgres.
        published: The DuckDB file for readers; None for Postgres.
        timezone: ``reporting_timezone``: it decides which day is today in the marts, and where a
            month begins.
        reporting_currency: ISO code of the currency that the marts convert to; empty for none.
        exchange_rates: The file of exchange rates, for accounts that show none; None without one.
        reader_credentials: The URL of a Postgres role for proposers' queries, which can only read,
            or for the console; empty if it is not configured.
        address: The server and database of Postgres, for people; empty for DuckDB.
        memory_limit: The memory limit of DuckDB.
        models: The folder of users' own marts; None if there is none.
        lake: Where published runs are copied to as open tables; None for nowhere.
    """

    destination: Destination[Any, Any]
    name: str
    find_ledger: Callable[[], str] = field(compare=False, repr=False)
    folder: Path
    stem: str
    loader: Path | None = None
    published: Path | None = None
    timezone: str = "UTC"
    reporting_currency: str = ""
    exchange_rates: Path | None = None
    reader_credentials: str = field(default="", repr=False)
    address: str = ""
    memory_limit: str = "512MB"
    models: Path | None = None
    lake: LakeTarget | None = None

    @cached_property
    def ledger_url(self) -> str:
        """The URL of the target's ledger of changes.

        Raises:
            WarehouseMisconfigured: If LEDGER__URL is not a URL that a ledger can have.
        """
        return self.find_ledger()

    @property
    def lock(self) -> Path:
        """The lock file of a run on the target."""
        return self.folder / f"{self.stem}.lock"

    @property
    def working(self) -> Path:
        """The folder dlt works in to load the target; each run creates a new one."""
        return self.folder / f"{self.stem}-working"

    def pipeline(self) -> dlt.Pipeline:
        """Return the dlt pipeline that loads into the target."""
        return dlt.pipeline(
            "milestones",
            pipelines_dir=str(self.working),
            destination=self.destination,
            dataset_name="kantata",
        )
