"""The metrics: measures that finance asks for, each defined once, in the comment of its mart.

A line there gives the name, the SQL, the unit, the columns to group by, and the meaning:

    -- metric: overdue = sum(amount) where status = 'overdue' (money by currency, client): What ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from warehouse.database import MARTS

from .sql_files import marts

_METRIC = re.compile(
    r"([a-z_]+) = (.+?)(?: where (.+?))? \((money|count|days) by ([a-z_, ]+)\): (.+)"
)


class Unit(StrEnum):
    """What a metric is measured in."""

    MONEY = "money"  # in the currency of its rows: never added across currencies
    COUNT = "count"
    DAYS = "days"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measure with one definition.

    Args:
        name: Its name.
        mart: The mart it is computed from.
        grain: The columns that identify a row of that mart.
        expression: The SQL of its value, an aggregate.
        condition: Which rows of the mart count, in SQL; empty for all.
        unit: What it is measured in.
        dimensions: The columns it can be grouped by.
        about: What it means.
    """

    name: str
    mart: str
    grain: tuple[str, ...]
    expression: str
    condition: str
    unit: Unit
    dimensions: tuple[str, ...]
    about: str

    def sql(self, *dimensions: str) -> str:
        """Return the query of the metric by some of its dimensions; money is always by currency.

        Raises:
            ValueError: If it does not have one of the dimensions.
        """
        if unknown := set(dimensions) - set(self.dimensions):
            raise ValueError(f"{self.name} cannot be grouped by {', '.join(sorted(unknown))}")
        by = list(dimensions)
        if self.unit is Unit.MONEY and "currency" not in by:
            by.insert(0, "currency")
        columns = ", ".join([*by, f"{self.expression} as {self.name}"])
        query = f"select {columns} from {MARTS}.{self.mart}"
        query += f" where {self.condition}" if self.condition else ""
        return query + (f" group by {', '.join(by)}" if by else "")


@cache
def metrics() -> Mapping[str, Metric]:
    """Return all metrics by name, in the order of their names."""
    found: dict[str, Metric] = {}
    for model in marts():
        for line in model.metrics:
            if not (parsed := _METRIC.fullmatch(line)):
                raise ValueError(f"{model.name}.sql: this is not a metric: {line}")
            name, expression, condition, unit, dimensions, about = parsed.groups()
            found[name] = Metric(
                name=name,
                mart=model.name,
                grain=model.grain,
                expression=expression,
                condition=condition or "",
                unit=Unit(unit),
                dimensions=tuple(dimensions.split(", ")),
                about=about,
            )
    return dict(sorted(found.items()))
