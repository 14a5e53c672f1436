"""The copy of a published run as Delta tables: equal to the warehouse, exact, pinned by run."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("deltalake")

from deltalake import DeltaTable

from pipelines.runtime.exit_codes import ExitCode
from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job
from tests.support.lake import Lake, synced
from warehouse.lake.tables import decimal_type
from warehouse.models.sql_files import marts

pytestmark = pytest.mark.lake
_RATIOS = ("duration_seconds", "tax_rate")  # the account's own, or ours: no money


def test_each_table_equals_that_of_the_warehouse_row_for_row(job: Job, lake: Lake) -> None:
    """All raw tables and marts are in the lake, with exact types and comments."""
    with Sandbox(milestones=300, seed=3) as sandbox:
        job.sync(sandbox)
        _edit(sandbox)
        result = job.sync(sandbox, full=False)
    assert result.exit_code == ExitCode.DONE
    pinned = lake.pinned(result.run.run_id)
    assert {f"kantata_marts.{mart.name}" for mart in marts()} < set(pinned)
    assert "kantata.billing_milestone_versions" in pinned
    assert not [name for name in pinned if "_dlt" in name or "lake_copies" in name]
    for name, row in pinned.items():
        table = lake.table(name, row["version"])
        columns = ", ".join(f'"{column}"' for column in table.column_names)
        expected = job.rows(f"select {columns} from {name}")
        if name == "kantata_marts.data_freshness":
            continue  # it shows the age of the copy, and the copy is older than what it shows
        if name == "kantata.sync_runs":  # this run's own row is the same, too
            assert len(expected) == 2
        assert _sorted(table.to_pylist()) == _sorted(expected), name
        assert row["rows"] == len(expected)
        for field in table.schema:
            assert str(field.type) != "double" or field.name in _RATIOS
    backlog = lake.table("kantata_marts.billing_backlog").schema
    assert backlog.field("amount").type == pa.decimal128(35, 6)
    assert backlog.field("subunits").type == pa.decimal128(29, 0)
    assert backlog.field("currency").metadata == {b"comment": b"ISO code."}
    history = lake.table("kantata_marts.billing_milestone_history").schema
    assert history.field("valid_from").type == pa.timestamp("us", "UTC")
    assert history.field("date_to_invoice").type == pa.date32()
    for name in ("kantata_marts.billing_milestones", "kantata.billing_milestones"):
        commit = DeltaTable(lake.address(name)).history(1)[0]
        assert commit["run_id"] == result.run.run_id


def test_published_sums_are_those_of_the_warehouse(job: Job, lake: Lake) -> None:
    """Sums by currency in ``published_runs`` are exact, and those of the pinned versions."""
    with Sandbox(milestones=300, seed=4) as sandbox:
        job.sync(sandbox)
    pinned = lake.pinned()
    for name, measure in (
        ("kantata_marts.billing_milestones", "amount"),
        ("kantata_marts.billing_backlog", "amount"),
        ("kantata.billing_milestones", "amount_in_cents"),
    ):
        sums = {code: Decimal(text) for code, text in _sums(pinned[name]).items()}
        rows = job.rows(f"select currency, sum({measure}) from {name} group by currency")
        assert sums == dict(rows)
        in_lake = lake.table(name, pinned[name]["version"])
        totals: dict[str, Decimal] = {}
        for row in in_lake.select(["currency", measure]).to_pylist():
            totals[row["currency"]] = totals.get(row["currency"], Decimal(0)) + row[measure]
        assert totals == sums
    assert len(sums) > 3
    assert pinned["kantata.workspaces"]["amount_by_currency"] is None


def test_only_what_changed_is_written_again(job: Job, lake: Lake) -> None:
    """A run without changes writes what shows runs; a foreign commit is overwritten."""
    with synced(job, milestones=60, seed=5) as sandbox:
        job.sync(sandbox, full=False)
        before = lake.pinned()
        second = job.sync(sandbox, full=False)
        after = lake.pinned()
        changed = {name for name in after if after[name]["version"] != before[name]["version"]}
        assert changed == {"kantata.sync_runs", "kantata_marts.data_freshness"}
        table = DeltaTable(lake.address("kantata_marts.receivables"))
        table.delete()
        job.sync(sandbox, full=False)
    repaired = lake.pinned()["kantata_marts.receivables"]
    assert repaired["version"] == before["kantata_marts.receivables"]["version"] + 2
    assert lake.table("kantata_marts.receivables").num_rows == repaired["rows"] > 0
    assert len(lake.runs()) == 3
    pinned = lake.pinned(second.run.run_id)  # an earlier run remains readable as it was
    assert lake.table("kantata.sync_runs", pinned["kantata.sync_runs"]["version"]).num_rows == 3


def test_a_new_column_evolves_the_schema_and_earlier_runs_keep_theirs(job: Job, lake: Lake) -> None:
    """A field that nobody declared becomes a column of the lake, too."""
    with synced(job, milestones=40, seed=6) as sandbox:
        first = job.sync(sandbox, full=False)
        with sandbox.account.change():
            for milestone in sandbox.account.milestones.values():
                milestone["colour"] = "green"
        job.sync(sandbox)
    name = "kantata.billing_milestones"
    now = lake.table(name, lake.pinned()[name]["version"])
    assert set(now["colour"].to_pylist()) == {"green"}
    before = lake.table(name, lake.pinned(first.run.run_id)[name]["version"])
    assert "colour" not in before.column_names


def test_old_versions_are_removed_and_pinned_ones_kept(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a published run needs stays, however old; the rest goes after ``keep``."""
    monkeypatch.setenv("LAKE__KEEP", "0s")
    job = Job("duckdb")
    with synced(job, milestones=60, seed=7) as sandbox:
        runs = []
        for _ in range(4):
            _edit(sandbox)
            runs.append(job.sync(sandbox, full=False).run.run_id)
    assert lake.runs() == runs[-1:]  # with nothing to keep, only the last one
    name = "kantata_marts.billing_milestones"
    pinned = lake.pinned()[name]
    assert lake.table(name, pinned["version"]).num_rows == pinned["rows"]
    files = list(Path(lake.address(name)).glob("*.parquet"))
    assert len(files) == 1
    last = lake.pinned()["kantata.workspaces"]
    assert lake.table("kantata.workspaces", last["version"]).num_rows == last["rows"]


def test_a_run_that_was_replaced_just_now_stays_readable(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is kept for ``keep`` after the next one, even if it is much older."""
    monkeypatch.setenv("LAKE__KEEP", "2h")
    job = Job("duckdb")
    begin = datetime.now(UTC)
    with synced(job, milestones=60, seed=8) as sandbox:
        ids = []
        for hours in (0, 100, 101, 104):
            job.now = lambda hours=hours: begin + timedelta(hours=hours)  # type: ignore[misc]
            _edit(sandbox)
            ids.append(job.sync(sandbox, full=False).run.run_id)
            if hours == 100:
                assert lake.runs() == ids[:2]
                assert lake.reads_all(ids[0])
    assert lake.runs() == ids[2:]  # the second was replaced three hours ago
    assert lake.reads_all(ids[2])
    assert lake.reads_all(ids[3])


def test_a_copy_is_made_when_it_is_due(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``every``, runs between two copies make none; without a lake, its state is forgotten."""
    monkeypatch.setenv("LAKE__EVERY", "6h")
    job = Job("duckdb")
    begin = datetime.now(UTC)
    with synced(job, milestones=20, seed=9) as sandbox:
        for hours in (0, 1, 5, 5.95, 7):
            job.now = lambda hours=hours: begin + timedelta(hours=hours)  # type: ignore[misc]
            job.sync(sandbox, full=False)
        assert len(lake.runs()) == 2
        shown = "select lake_run_id, lake_error from kantata_marts.data_freshness"
        assert job.rows(shown) == [(lake.runs()[-1], None)]
        monkeypatch.delenv("LAKE__URL")
        job.sync(sandbox, full=False)
        assert job.rows(shown) == [(None, None)]


def test_every_decimal_of_the_marts_keeps_its_digits(lake: Lake) -> None:
    """The types of the lake have as many digits after the point as those of DuckDB."""
    job = Job("duckdb")
    with synced(job, milestones=5, seed=10):
        pass
    columns = job.rows(
        "select table_name, column_name, numeric_scale from information_schema.columns "
        "where data_type like 'DECIMAL%' and table_schema in ('kantata', 'kantata_marts')"
    )
    assert len(columns) > 60
    assert [c for c in columns if decimal_type(c[1]).scale != c[2]] == []


def _edit(sandbox: Sandbox) -> None:
    """Change an amount that is not invoiced, as a person would."""
    id_ = open_ids(sandbox.account)[0]
    amount = sandbox.account.milestones[id_]["amount_in_cents"]
    sandbox.account.update_milestone(id_, amount_in_cents=amount + 101)


def _sums(row: dict[str, Any]) -> dict[str, str]:
    """Return the sums by currency of a row of ``published_runs``."""
    return dict(json.loads(row["amount_by_currency"]))


def _sorted(rows: list[Any]) -> list[tuple[str, ...]]:
    """Return rows in an order that does not depend on the engine, as exact text."""
    values = [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in rows]
    return sorted(tuple(map(_text, row)) for row in values)


def _text(value: object) -> str:
    """Return a value as text: times in UTC, and decimals without trailing zeros."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return f"{value.normalize():f}" if isinstance(value, Decimal) else repr(value)
