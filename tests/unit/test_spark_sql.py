"""The marts in Spark's dialect: each rule of the transpiler, and no mart that needs another one."""

from __future__ import annotations

import re
from functools import cache

import pytest
import sqlglot
from sqlglot import exp

from warehouse.models.spark_build import marts_on_spark
from warehouse.models.spark_sql import Relation, relations, spark_sql
from warehouse.models.sql_files import Model, staging

_DATES = re.compile("as_of|(first_)?day|(due|invoice)_date|.*_on|.*date_to_invoice")


@cache
def read_by_marts() -> list[Model]:
    """The marts that Spark builds, and the staging relations that they read."""
    views = {model.name: model for model in staging()}
    found = {model.name: model for model in marts_on_spark()}
    waiting = list(found.values())
    while waiting:
        for relation in relations(waiting.pop().sql):
            view = views.get(relation.name)
            if relation.schema == "kantata_stg" and view and f"stg {view.name}" not in found:
                found[f"stg {view.name}"] = view
                waiting.append(view)
    return list(found.values())


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select t.a::date - t.b::date", "SELECT DATEDIFF(CAST(t.a AS DATE), CAST(t.b AS DATE))"),
        ("select date '0001-01-01' + n::integer",
         "SELECT DATE_ADD(CAST('0001-01-01' AS DATE), CAST(n AS INT))"),
        ("select date_trunc('month', a)::date", "SELECT CAST(TRUNC(a, 'MONTH') AS DATE)"),
        # What is inside a rewritten expression is rewritten, too.
        ("select date_trunc('month', a)::date - (b::json ->> 'c')::date",
         "SELECT DATEDIFF(CAST(TRUNC(a, 'MONTH') AS DATE), "
         "CAST((GET_JSON_OBJECT(b, '$.c')) AS DATE))"),
        ("select a - b, c + interval '1 month'", "SELECT a - b, c + INTERVAL '1' MONTH"),
        # Postgres has no escapes in texts, and Spark has.
        (r"select replace(a, '\u0000', '\\')", r"SELECT REPLACE(a, '\\u0000', '\\\\')"),
        ("with a as not materialized (select 1 as b) select b from a -- for people",
         "WITH a AS (SELECT 1 AS b) SELECT b FROM a"),
        ("select m.id, runs.id from kantata.runs join kantata_stg.today m on m.id = runs.id",
         "SELECT m.id, runs.id FROM milestones__kantata__runs AS runs "
         "JOIN milestones__kantata_stg__today AS m ON m.id = runs.id"),
    ],
)  # fmt: skip
def test_rules(sql: str, expected: str) -> None:
    """Each rule of the transpiler gives what Spark has."""
    assert spark_sql(sql) == expected


def test_relations_are_those_of_schemas() -> None:
    """A query's own parts are no relations."""
    sql = "with a as (select 1 from kantata.b) select * from a join (select * from kantata_stg.c) d"
    assert relations(sql) == {Relation("kantata", "b"), Relation("kantata_stg", "c")}


def test_no_mart_keeps_what_spark_lacks() -> None:
    """Every mart and what it reads is valid for Spark, and has nothing of Postgres left."""
    names = [model.name for model in read_by_marts()]
    assert {"backlog_movements", "projects", "invoices", "period_restatements"} <= set(names)
    assert "received_versions" not in names, "only an upgrade on DuckDB or Postgres reads it"
    for model in read_by_marts():
        tree = sqlglot.parse_one(spark_sql(model.sql), read="spark")
        assert not [table for table in tree.find_all(exp.Table) if table.db], model.name
        for cast in tree.find_all(exp.Cast):
            assert not cast.is_type("json", "jsonb", "timestamptz"), (model.name, cast.sql())
        assert not list(tree.find_all(exp.Extract, exp.Filter)), model.name
        assert not [each for each in tree.find_all(exp.Distinct) if each.args.get("on")]
        assert not [cte for cte in tree.find_all(exp.CTE) if cte.args.get("materialized")]


def test_days_between_dates_are_subtracted_as_dates() -> None:
    """The transpiler knows no types: in Spark the difference of two dates is an interval."""
    for model in read_by_marts():
        tree = sqlglot.parse_one(model.sql, read="postgres")
        for node in tree.find_all(exp.Sub, exp.Add):
            sides = [each for each in (node.this, node.expression) if isinstance(each, exp.Column)]
            assert not [s for s in sides if _DATES.fullmatch(s.name)], (model.name, node.sql())
