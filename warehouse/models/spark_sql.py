"""The SQL files in Spark's dialect, transpiled: no mart has a second definition.

Each rule is general: it replaces an expression wherever it is written. Types are not inferred, so
a rule that depends on them asks for a cast: days between two dates are ``a::date - b::date``. Marts
truncate dates only, never moments.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlglot
from sqlglot import exp

_VIEW = "milestones__{}__{}"


class Relation(NamedTuple):
    """A table, view or mart that a query reads."""

    schema: str
    name: str

    def __str__(self) -> str:
        """Return its name in the SQL files."""
        return f"{self.schema}.{self.name}"

    @property
    def view(self) -> str:
        """The name of its temporary view in Spark, where such a view belongs to no schema."""
        return _VIEW.format(*self)


def relations(sql: str) -> frozenset[Relation]:
    """Return the relations that a query of the SQL files reads."""
    return frozenset(map(_relation, _tables(_parsed(sql))))


def spark_sql(sql: str) -> str:
    """Return a query of the SQL files in Spark's dialect; it reads temporary views.

    Args:
        sql: The query, as DuckDB and Postgres run it.
    """
    tree = _parsed(sql)
    for table in _tables(tree):
        alias, view = table.alias_or_name, exp.to_table(_relation(table).view)
        table.replace(exp.alias_(view, alias, table=True))
    for node in reversed(list(tree.walk())):  # what is inside an expression comes before it
        if (rewritten := _rewritten(node)) is not node:
            node.replace(rewritten)
    return tree.sql(dialect="spark", comments=False)


def _parsed(sql: str) -> exp.Expr:
    """Return the syntax tree of a query of the SQL files."""
    return sqlglot.parse_one(sql, read="postgres")


def _tables(tree: exp.Expr) -> list[exp.Table]:
    """Return where a query reads a relation; a name without a schema is a part of the query."""
    return [table for table in tree.find_all(exp.Table) if table.db]


def _relation(table: exp.Table) -> Relation:
    """Return the relation that a query reads at one place."""
    return Relation(table.db, table.name)


def _rewritten(node: exp.Expr) -> exp.Expr:
    """Return what Spark has in place of an expression, or the expression itself."""
    match node:
        case exp.Sub(this=day, expression=other) if _is_date(day) and _is_date(other):
            return _function("datediff", day, other)
        case exp.Add(this=day, expression=days) if _is_date(day):
            return _function("date_add", day, days)
        case exp.TimestampTrunc(this=day, unit=exp.Var(name=unit)):
            return _function("trunc", day, exp.Literal.string(unit))
        case exp.Cast(this=exp.Expr() as text) if node.is_type(exp.DType.JSON):
            return text  # Spark reads JSON from text
        case exp.CTE():
            node.set("materialized", None)  # advice for Postgres and DuckDB only
    return node


def _is_date(node: exp.Expr) -> bool:
    """Return whether an expression is a cast to a date, such as ``date '2026-01-31'``."""
    return isinstance(node, exp.Cast) and node.is_type(exp.DType.DATE)


def _function(name: str, *arguments: exp.Expr) -> exp.Expr:
    """Return the call of a function of Spark."""
    return exp.Anonymous(this=name, expressions=[each.copy() for each in arguments])
