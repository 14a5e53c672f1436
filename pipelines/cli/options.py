"""Options of several commands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Warehouse(StrEnum):
    """The kind of warehouse."""

    DUCKDB = "duckdb"
    POSTGRES = "postgres"


class LogFormat(StrEnum):
    """The format of a run's log."""

    TEXT = "text"
    JSON = "json"


class Grouping(StrEnum):
    """What a line of a list shows instead of a milestone."""

    PROJECT = "project"


DestinationOption = Annotated[
    Warehouse | None,
    typer.Option(
        "--destination",
        help="The warehouse to use; by default the one in the setting WAREHOUSE__DESTINATION.",
        show_default=False,
    ),
]
WaitOption = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for another run to end.", min=0)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON value.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="The reason, for the audit trail.")]
CHANGE_ID_HELP = (
    "The id of the change, or at least its first 4 characters if no other id begins with them."
)
ChangeArgument = Annotated[str, typer.Argument(metavar="CHANGE_ID", help=CHANGE_ID_HELP)]
OneChangeArgument = Annotated[
    str | None, typer.Argument(metavar="CHANGE_ID", help=CHANGE_ID_HELP, show_default=False)
]
ChangesArgument = Annotated[list[str], typer.Argument(metavar="CHANGE_ID", help=CHANGE_ID_HELP)]
WhoOption = Annotated[
    str | None,
    typer.Option(
        "--as", help="Your name; by default the name of the system's user.", show_default=False
    ),
]
