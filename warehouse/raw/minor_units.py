"""Minor units of currencies: whether Kantata changed one, and which one a version had.

An amount is a whole number of minor units, so another unit changes what it is worth. That must not
happen unnoticed: a run that reads another unit stops, until a person accepts it. Versions that were
observed before keep their unit, in ``minor_unit``; it is null as long as ``currencies`` has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from warehouse.database import DATASET, Database
from warehouse.words import counted

_VERSIONS = f"{DATASET}.billing_milestone_versions"
_WITH_BASE_UNITS = ("workspaces", "invoices")
_DIGITS = Decimal("0.000001")  # of a value in the warehouse


@dataclass(frozen=True, kw_only=True)
class MinorUnitChange:
    """A currency for which Kantata gives another minor unit than before.

    Args:
        currency: ISO code.
        before: How many minor units it had.
        now: How many it has now.
        is_listed: Whether the list of currencies gives it; otherwise projects or invoices do.
        milestones: The number of milestones that would be worth something else.
        subunits: The sum of their amounts, in minor units.
    """

    currency: str
    before: int
    now: int
    is_listed: bool
    milestones: int
    subunits: int

    def __str__(self) -> str:
        """Return what changed, and which amounts it concerns."""
        before, now = (f"{self.subunits / Decimal(n):,f}" for n in (self.before, self.now))
        what = (
            f"one {self.currency} had {self.before} minor units, and now has {self.now}"
            if self.is_listed
            else f"one {self.currency} has {self.before} minor units in the list of currencies, "
            f"and {self.now} in projects or invoices"
        )
        return (
            f"{what}: {counted(self.milestones, 'milestone')} with {before} {self.currency} would "
            f"be worth {now}"
        )


class _UnitRead(NamedTuple):
    """How many minor units a currency has, as this run read it."""

    currency: str
    units: int
    is_listed: bool


def find_changes(
    database: Database,
    *,
    listed: Mapping[str, int],
    base_units: Mapping[str, Set[int]],
    read: Mapping[str, tuple[int, int]],
) -> list[MinorUnitChange]:
    """Return the currencies of milestones whose minor unit differs from the warehouse's.

    Args:
        database: A connection.
        listed: How many minor units a currency has, as the list of currencies says.
        base_units: The same, as projects and invoices say.
        read: The number of milestones that were read and their sum, by currency.
    """
    held = _held_units(database)
    exact = {code: units for code, units in listed.items() if _value_of(units)}
    units_read = [_UnitRead(code, units, True) for code, units in exact.items()]
    found: dict[str, MinorUnitChange] = {}
    for unit in (*units_read, *_contradictions(database, held | exact, base_units)):
        before = (held if unit.is_listed else held | exact).get(unit.currency, unit.units)
        if before == unit.units or unit.currency in found:
            continue
        milestones, subunits = _amounts(database, unit.currency) or read.get(unit.currency, (0, 0))
        if milestones or _is_used(database, unit.currency):
            found[unit.currency] = MinorUnitChange(
                currency=unit.currency,
                before=before,
                now=unit.units,
                is_listed=unit.is_listed,
                milestones=milestones,
                subunits=subunits,
            )
    return list(found.values())


def _value_of(units: int) -> Decimal | None:
    """Return the value of one minor unit, if a currency has so many; None if it is not exact."""
    value = (Decimal(1) / units).quantize(_DIGITS) if units > 0 else Decimal(0)
    return value if value * units == 1 else None


def _held_units(database: Database) -> dict[str, int]:
    """Return how many minor units each currency has in the warehouse, if that is a whole number."""
    values = database.rows(
        f"select iso_code, unit_per_subunit from {DATASET}.currencies where unit_per_subunit > 0"
    )
    units = {code: int(1 / value) for code, value in values}
    return {code: units[code] for code, value in values if _value_of(units[code]) == value}


def _contradictions(
    database: Database, units: Mapping[str, int], base_units: Mapping[str, Set[int]]
) -> list[_UnitRead]:
    """Return minor units of projects and invoices that differ from the list's and are new."""
    differing = {
        (code, unit)
        for code, found in base_units.items()
        for unit in found
        if code in units and unit != units[code] and _value_of(unit)
    }
    columns = database.tables() if differing else {}
    for table in _WITH_BASE_UNITS:
        if "currency_base_unit" in columns.get(table, {}):
            stored = database.rows(
                f"select distinct currency, currency_base_unit::text from {DATASET}.{table} "
                "where currency_base_unit is not null"
            )
            differing -= {(code, int(unit)) for code, unit in stored if unit.isdecimal()}
    return [_UnitRead(code, unit, False) for code, unit in sorted(differing)]


def _amounts(database: Database, currency: str) -> tuple[int, int] | None:
    """Return the number and sum of live milestones with the listed minor unit; None without any."""
    count, total = database.rows(
        f"""
        select count(*), sum(m.amount_in_cents)
        from {DATASET}.billing_milestones m
        join (select id, max(version) as version from {_VERSIONS} group by id) l on l.id = m.id
        join {_VERSIONS} v on v.id = l.id and v.version = l.version
        where m.deleted_at is null and m.currency = %s and v.minor_unit is null
        """,
        currency,
    )[0]
    return (int(count), int(total)) if count else None


def _is_used(database: Database, currency: str) -> bool:
    """Return whether any version of a milestone has this currency with the listed minor unit."""
    sql = f"select 1 from {_VERSIONS} where currency = %s and minor_unit is null limit 1"
    return bool(database.rows(sql, currency))


def accept(database: Database, change: MinorUnitChange) -> None:
    """Accept another minor unit for what is observed from now on; earlier versions keep theirs.

    Args:
        database: A connection; the caller must hold the lock.
        change: The change. If only projects or invoices gave it, the list remains valid.
    """
    if not change.is_listed:
        return
    with database.transaction():
        keep_units_of_deleted(database)
        database.execute(
            f"update {_VERSIONS} set minor_unit = (select unit_per_subunit from "
            f"{DATASET}.currencies where iso_code = %s) where currency = %s and minor_unit is null",
            change.currency,
            change.currency,
        )
        # At once: if this run ends here, the next one must not compare with the former unit.
        database.execute(
            f"update {DATASET}.currencies set subunit_to_unit = %s, unit_per_subunit = %s "
            "where iso_code = %s",
            change.now,
            _value_of(change.now),
            change.currency,
        )


def keep_units_of_deleted(database: Database) -> None:
    """Give versions that are deletions the minor unit of the version whose values they have."""
    database.execute(
        f"update {_VERSIONS} v set minor_unit = p.minor_unit from {_VERSIONS} p "
        "where p.id = v.id and p.version = v.version - 1 and p.minor_unit is not null "
        "and v.change_type = 'deleted' and v.minor_unit is null"
    )
