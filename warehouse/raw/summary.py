"""Sum up the raw tables: minor units, numbers of milestones, run ids."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Protocol

from warehouse.database import DATASET, Database

_UNITS = (
    f"select iso_code, unit_per_subunit from {DATASET}.currencies "
    "where unit_per_subunit is not null"
)

_HAS_UNITS_OF_VERSIONS = (  # not in a warehouse that an earlier release wrote last
    f"select 1 from information_schema.columns where table_schema = '{DATASET}' "
    "and table_name = 'billing_milestone_versions' and column_name = 'minor_unit'"
)
_NOT_UNIFORM = f"""
select distinct m.currency
from {DATASET}.billing_milestone_versions v
join (
    select id, max(version) as version
    from {DATASET}.billing_milestone_versions
    where id in (select id from {DATASET}.billing_milestone_versions where minor_unit is not null)
    group by id
) l on l.id = v.id and l.version = v.version
join {DATASET}.billing_milestones m on m.id = v.id
where v.minor_unit is not null and m.deleted_at is null
"""


class Query(Protocol):
    """Runs a query: a connection or a reader."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query for the summary."""


def minor_units(query: Query) -> dict[str, Decimal]:
    """Return the value of one minor unit for the summary, by currency."""
    return {code: Decimal(unit) for code, unit in query.rows(_UNITS) if unit is not None}


def uniform_minor_units(query: Query) -> dict[str, Decimal]:
    """Return the minor units of currencies in which all live milestones have the same one.

    In minor units, a summary of the others would add up what is not equal.
    """
    units = minor_units(query)
    if query.rows(_HAS_UNITS_OF_VERSIONS):
        for (code,) in query.rows(_NOT_UNIFORM):
            units.pop(code, None)
    return units


def count_milestones(database: Database) -> int:
    """Count all milestones for the summary, deleted ones included; 0 in an empty warehouse."""
    if "billing_milestones" not in database.tables():
        return 0
    return int(database.rows(f"select count(*) from {DATASET}.billing_milestones")[0][0])


def live_milestones_by_project(database: Database) -> dict[str, int]:
    """Count the milestones of each project that are not deleted, by the project's id."""
    return dict(
        database.rows(
            f"select workspace_id, count(*) from {DATASET}.billing_milestones "
            "where deleted_at is null group by 1"
        )
    )


def run_ids(database: Database) -> list[str]:
    """Return the ids of all runs for the summary, the oldest first."""
    return sorted(row[0] for row in database.rows(f"select run_id from {DATASET}.sync_runs"))
