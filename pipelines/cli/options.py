"""Options that many commands have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Warehouse(StrEnum):
    """Where the milestones are."""

    DUCKDB = "duckdb"
    POSTGRES = "postgres"


class LogFormat(StrEnum):
    """How a run tells how it goes on."""

    TEXT = "text"
    JSON = "json"


DestinationOption = Annotated[
    Warehouse, typer.Option("--destination", help="Where the milestones go.")
]
WaitOption = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for another run that is going.", min=0)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; an auditor reads it.")]
WhoOption = Annotated[
    str | None, typer.Option("--as", help="Who; the system's user without.", show_default=False)
]
