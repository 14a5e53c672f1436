"""Compare the warehouse with the sandbox's own records, field by field."""

from __future__ import annotations

import json
from collections.abc import Set
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sources.kantata.schema import MIRRORED, VALUES, Kind
from sources.kantata_sandbox import Account
from tests.support.job import Job
from tests.support.visible import account_tables

_MILESTONES = "kantata.billing_milestones"
_OURS = {"row_hash", "observed_at", "deleted_at", "access_lost_at", "_dlt_load_id"}


def expected(kind: Kind, value: Any) -> Any:  # noqa: ANN401 - any JSON
    """The value that a column of this kind must hold for a JSON value, without using our code."""
    if value is None:
        return None
    if kind is Kind.DATE:
        return date.fromisoformat(value)
    if kind is Kind.TIMESTAMP:
        return datetime.fromisoformat(value)
    if kind is Kind.JSON or isinstance(value, (list, dict)):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return str(value) if kind is Kind.ID else value


def assert_equal(
    job: Job, account: Account, without: Set[str] = frozenset(), side_tables: bool = True
) -> None:
    """Assert that the warehouse holds every visible row, field, link and version of the account.

    It may also hold milestones marked as deleted or access lost, and rows that nothing refers to.

    Args:
        job: The warehouse.
        account: The account.
        without: Milestones that are not compared.
        side_tables: Whether the other tables are compared, too.
    """
    with job.reading():
        _assert_equal(job, account, without, side_tables)


def _assert_equal(job: Job, account: Account, without: Set[str], side_tables: bool) -> None:
    tables = account_tables(account)
    for table in MIRRORED if side_tables else MIRRORED[:1]:
        _assert_table(job, table.name, table.key, table.columns, tables[table.name], without)
    milestones = {i: m for i, m in tables["billing_milestones"].items() if i not in without}
    deleted = ids_where(job, "deleted_at is not null")
    not_live = deleted | ids_where(job, "access_lost_at is not null")
    assert not not_live & milestones.keys()
    links = job.rows(
        "select billing_milestone_id, invoice_id from kantata.billing_milestone_invoices "
        "where removed_at is null"
    )
    assert sorted(link for link in links if link[0] not in not_live | without) == sorted(
        (i, n) for i, m in milestones.items() for n in m["invoice_ids"]
    )
    versions = job.rows(
        "select id, version, raw, change_type from kantata.billing_milestone_versions "
        "order by id, version"
    )
    assert len({row[:2] for row in versions}) == len(versions)
    latest = {row[0]: row for row in versions}
    assert {i for i, row in latest.items() if row[3] == "deleted"} - without == deleted - without
    raws = {i: json.loads(row[2]) for i, row in latest.items() if i not in not_live | without}
    assert without_nulls(raws) == without_nulls(milestones)
    of_row, of_version = (", ".join(f"{of}.{name}" for name in VALUES) for of in ("m", "v"))
    wrong = job.rows(
        "select m.id from kantata.billing_milestones m join (select id, max(version) as version "
        "from kantata.billing_milestone_versions group by id) l on l.id = m.id "
        "join kantata.billing_milestone_versions v on v.id = m.id and v.version = l.version "
        f"where v.amount_in_cents is not null and row({of_row}) is distinct from row({of_version})"
    )
    assert {row[0] for row in wrong} <= without


def without_nulls(records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The records without nulls: a new field that has only been null is not a change."""
    return {i: {n: v for n, v in r.items() if v is not None} for i, r in records.items()}


def ids_where(job: Job, condition: str) -> set[str]:
    """Ids of the milestones that meet an SQL condition."""
    return {row[0] for row in job.rows(f"select id from {_MILESTONES} where {condition}")}


def _assert_table(
    job: Job,
    table: str,
    key: str,
    kinds: dict[str, Kind],
    records: dict[str, dict[str, Any]],
    without: Set[str],
) -> None:
    columns = [
        row[0]
        for row in job.rows(
            "select column_name from information_schema.columns where table_schema = 'kantata' "
            f"and table_name = '{table}' order by ordinal_position"
        )
    ]
    rows = [
        dict(zip(columns, row, strict=True))
        for row in job.rows(f"select {', '.join(map(quoted, columns))} from kantata.{table}")
    ]
    if table == "billing_milestones":
        rows = [row for row in rows if not row["deleted_at"] and not row["access_lost_at"]]
    else:  # rows that nothing refers to any more remain
        rows = [row for row in rows if row[key] in records]
    rows = [row for row in rows if row[key] not in without]
    assert {row[key] for row in rows} == records.keys() - without, table
    assert len({row[key] for row in rows}) == len(rows), table
    for row in rows:
        record = records[row[key]]
        assert record.keys() <= columns_with_values(row, record), table
        for name in row.keys() - (_OURS - record.keys()):
            if name == "unit_per_subunit":
                assert row[name] * record["subunit_to_unit"] == Decimal(1)
            elif name not in record:  # absent is not null: the last value remains
                continue
            elif name in kinds:
                assert row[name] == expected(kinds[name], record[name]), name
            else:
                values = [row[name], row.get(f"{name}__v_text")]
                found = [as_text(value) for value in values if value is not None]
                assert found == [as_text(v) for v in [record[name]] if v is not None], name


def quoted(name: str) -> str:
    """Quote a column's name, which may be an SQL keyword."""
    return f'"{name}"'


def as_text(value: Any) -> str:  # noqa: ANN401 - any JSON
    """A value as text, independent of the type of its column."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else expected(Kind.JSON, value)


def columns_with_values(row: dict[str, Any], record: dict[str, Any]) -> set[str]:
    """Columns of the row, and fields without a column since they never had a value."""
    return set(row) | {name for name, value in record.items() if value is None}
