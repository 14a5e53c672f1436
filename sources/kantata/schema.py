"""The raw tables: their columns, keys and required fields.

A declared column exists from the first load with its type, also while every value is null. To
change a declared type later is a migration of everybody's warehouse: declare with care, and leave
to schema evolution what nothing depends on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """The type of a column in a raw table, in dlt's terms."""

    ID = "id"  # text; Kantata sends some ids as numbers
    TEXT = "text"
    BIGINT = "bigint"
    DOUBLE = "double"
    BOOL = "bool"
    DATE = "date"
    TIMESTAMP = "timestamp"
    JSON = "json text"  # a list or an object, as JSON text
    IDS = "ids as json text"  # a list of ids, as JSON text
    UNIT = "decimal(12,6)"  # the value of one minor unit of a currency

    @property
    def dlt_type(self) -> str:
        """The data type dlt gives a raw table's column of this kind."""
        return _DLT_TYPES.get(self, self.value)


_DLT_TYPES = {Kind.ID: "text", Kind.JSON: "text", Kind.IDS: "text", Kind.UNIT: "decimal"}


@dataclass(frozen=True)
class Table:
    """The columns, key and required fields of one raw table that mirrors a Kantata type.

    Args:
        name: The table's name, which is also the envelope's key.
        key: The column that identifies a row.
        columns: The declared columns, in order.
        required: Declared columns that must be present and not null in every record.
        decisive: Declared columns without which figures are wrong: a warning if no record has one.
        not_kept: Declared columns that are null if absent, since a last value would mislead.
    """

    name: str
    key: str
    columns: dict[str, Kind]
    required: frozenset[str] = field(default_factory=frozenset)
    decisive: frozenset[str] = field(default_factory=frozenset)
    not_kept: frozenset[str] = field(default_factory=frozenset)


_ID, _T, _B = Kind.ID, Kind.TEXT, Kind.BIGINT
_D, _TS, _J = Kind.DATE, Kind.TIMESTAMP, Kind.JSON
BILLING_MILESTONES = Table(
    "billing_milestones",
    "id",
    {
        "id": _ID,
        "title": _T,
        "amount_in_cents": _B,
        "currency": _T,
        "billing_type": _T,
        "date_to_invoice": _D,
        "workspace_id": _ID,
        "story_id": _ID,
        "invoice_id": _ID,
        "invoice_ids": Kind.IDS,
        "external_reference_ids": Kind.IDS,
        "created_at": _TS,
        "updated_at": _TS,
    },
    required=frozenset(
        {"id", "amount_in_cents", "currency", "workspace_id", "created_at", "updated_at"}
    ),
    decisive=frozenset({"date_to_invoice", "invoice_id"}),
)
WORKSPACES = Table(
    "workspaces",
    "id",
    {
        "id": _ID,
        "title": _T,
        "archived": Kind.BOOL,
        "currency": _T,
        "price_in_cents": _B,
        "start_date": _D,
        "due_date": _D,
        "status": _J,
        "created_at": _TS,
        "updated_at": _TS,
    },
)
# What `GET /workspaces` alone shows of a project, and only on request: see `project_details.py`.
PROJECT_DETAILS = Table(
    "project_details",
    "id",
    {
        "id": _ID,
        "client_id": _ID,
        "client": _T,
        "project_lead_id": _ID,
        "project_lead": _T,
        "client_lead": _T,
        "stage": _T,
        "hidden": _T,
    },
)
STORIES = Table(
    "stories",
    "id",
    {
        "id": _ID,
        "title": _T,
        "story_type": _T,
        "state": _T,
        "workspace_id": _ID,
        "start_date": _D,
        "due_date": _D,
        "created_at": _TS,
        "updated_at": _TS,
    },
)
INVOICES = Table(
    "invoices",
    "id",
    {
        "id": _ID,
        "status": _T,
        "draft": Kind.BOOL,
        "title": _T,
        "balance_in_cents": _B,
        "currency": _T,
        "invoice_date": _D,
        "due_date": _D,
        "created_at": _TS,
        "updated_at": _TS,
    },
    decisive=frozenset({"draft", "status"}),
    # An invoice that is paid once its balance is hidden would stay open for ever.
    not_kept=frozenset({"balance_in_cents"}),
)
EXTERNAL_REFERENCES = Table(
    "external_references",
    "id",
    {
        "id": _ID,
        "service_name": _T,
        "service_model": _T,
        "service_model_ref": _T,
        "status": _T,
        "subject_type": _T,
        "subject_id": _ID,
        "created_at": _TS,
        "updated_at": _TS,
    },
)
CURRENCIES = Table(
    "currencies",
    "iso_code",
    {"iso_code": _T, "subunit_to_unit": _B, "unit_per_subunit": Kind.UNIT},
    required=frozenset({"iso_code", "subunit_to_unit"}),
)
SIDE_TABLES = (WORKSPACES, STORIES, INVOICES, EXTERNAL_REFERENCES)
MIRRORED = (BILLING_MILESTONES, *SIDE_TABLES, PROJECT_DETAILS, CURRENCIES)
# Columns of ours in every mirrored table: the hash of the record, and when it was read.
OUR_COLUMNS: dict[str, Kind] = {"row_hash": _T, "observed_at": _TS}
# When a milestone was found to be deleted, and when its project became unreadable.
GONE_COLUMNS: dict[str, Kind] = {"deleted_at": _TS, "access_lost_at": _TS}
# What sums need: each version has the values its row had.
VALUES: dict[str, Kind] = {
    name: BILLING_MILESTONES.columns[name]
    for name in (
        "title", "workspace_id", "currency", "amount_in_cents", "date_to_invoice", "invoice_id",
    )
}  # fmt: skip
# The value of one minor unit when the version was observed. It is null as long as `currencies` has
# that value: whoever accepts another minor unit sets it in all earlier versions.
MINOR_UNIT = "minor_unit"
VERSIONS: dict[str, Kind] = {
    "id": _ID,
    "version": _B,
    "observed_at": _TS,
    "change_type": _T,
    "row_hash": _T,
    "raw": _T,
    **VALUES,
    MINOR_UNIT: Kind.UNIT,
}
LINKS: dict[str, Kind] = {
    "billing_milestone_id": _ID,
    "invoice_id": _ID,
    "observed_at": _TS,
    "removed_at": _TS,
}
REJECTS: dict[str, Kind] = {
    "table_name": _T,
    "id": _ID,
    "row_hash": _T,
    "reason": _T,
    "raw": _T,
    "observed_at": _TS,
    "resolved_at": _TS,
}
# Every raw table, its columns and the key of its merge.
LOADED: dict[str, tuple[dict[str, Kind], tuple[str, ...]]] = {
    **{
        table.name: (
            table.columns | OUR_COLUMNS | (GONE_COLUMNS if table is BILLING_MILESTONES else {}),
            (table.key,),
        )
        for table in MIRRORED
    },
    "billing_milestone_versions": (VERSIONS, ("id", "version")),
    "billing_milestone_invoices": (LINKS, ("billing_milestone_id", "invoice_id")),
    "rejected_records": (REJECTS, ("table_name", "id", "row_hash")),
}
MILESTONE_TABLES = (
    "billing_milestones",
    "billing_milestone_versions",
    "billing_milestone_invoices",
)
# The tables that grow with the account: each row of theirs is known to be new, or not.
LARGE_TABLES = (*MILESTONE_TABLES, *(table.name for table in SIDE_TABLES))
# What only makes sense where earlier loads are kept: a load that replaces tables leaves it out.
HISTORY_TABLES = frozenset({"billing_milestone_versions"})
_HISTORY_COLUMNS: dict[str, frozenset[str]] = {
    "billing_milestones": frozenset(GONE_COLUMNS),
    "billing_milestone_invoices": frozenset({"removed_at"}),
    "rejected_records": frozenset({"resolved_at"}),
}
_UNDECLARED: dict[str, Kind] = {"id": _ID} | OUR_COLUMNS


def columns_and_key(table: str) -> tuple[dict[str, Kind], tuple[str, ...]]:
    """Return the columns a raw table has from the start, and the key of its merge."""
    return LOADED.get(table, (_UNDECLARED, ("id",)))


def history_columns(table: str) -> frozenset[str]:
    """Return the columns of a raw table that are about earlier loads of it."""
    return _HISTORY_COLUMNS.get(table, frozenset())


def undeclared_table(name: str) -> Table:
    """Return the raw table of side-loaded records of a type that is not declared."""
    return Table(name, "id", {"id": Kind.ID})


POSTGRES_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})


def reserved_columns(table: str) -> frozenset[str]:
    """Return the names in a raw table that no field of Kantata's can have, since they are ours."""
    declared = {mirrored.name: mirrored.columns for mirrored in MIRRORED}.get(
        table, {"id": Kind.ID}
    )
    ours = frozenset(columns_and_key(table)[0]) - frozenset(declared)
    return ours | {"_dlt_id", "_dlt_load_id"} | POSTGRES_SYSTEM_COLUMNS
