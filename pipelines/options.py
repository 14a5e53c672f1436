"""Options that many commands have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Warehouse(StrEnum):
    """Where the milestones are."""

    DUCKDB = "duckdb"
    POSTGRES = "postgres"


DestinationOption = Annotated[
    Warehouse, typer.Option("--destination", help="Where the milestones go.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
