"""A sync on both warehouses is complete, typed and validated, and loads nothing twice."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from sources.kantata.errors import KantataError, KantataFieldLost
from sources.kantata_sandbox import Fault, Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job

_CONTENT = ("billing_milestones", "billing_milestone_versions", "billing_milestone_invoices",
            "workspaces", "stories", "invoices", "external_references", "currencies")  # fmt: skip


def content(job: Job) -> dict[str, list[str]]:
    """Return every row of every table that a load fills."""
    with job.reading():
        return {
            table: sorted(map(str, job.rows(f"select * from kantata.{table}")))
            for table in (*_CONTENT, "rejected_records", "_dlt_loads")
        }


@pytest.mark.parametrize(
    "milestones",
    [
        pytest.param(1, marks=pytest.mark.long),
        pytest.param(19, marks=pytest.mark.long),
        pytest.param(200, marks=pytest.mark.long),
        201,
        pytest.param(1_500, marks=pytest.mark.long),
    ],
)
def test_first_sync_equals_the_account(job: Job, milestones: int) -> None:
    """After the first run the warehouse equals the account in every field of every table."""
    with Sandbox(milestones=milestones, seed=milestones) as sandbox:
        result = job.sync(sandbox)
        assert (result.exit_code, result.run.added) == (0, milestones)
        assert_equal(job, sandbox.account)
        sums: Counter[str] = Counter()
        for milestone in sandbox.account.milestones.values():
            sums[milestone["currency"]] += milestone["amount_in_cents"]
        assert {code: total for code, (_, total) in result.run.totals.items()} == dict(sums)


@pytest.mark.long_on("duckdb")
def test_empty_account(job: Job) -> None:
    """An account without milestones is synced, and every table exists with its types."""
    with Sandbox(milestones=0) as sandbox:
        assert job.sync(sandbox).exit_code == 0
        assert_equal(job, sandbox.account)
    types = dict(
        job.rows(
            "select column_name, data_type from information_schema.columns "
            "where table_schema = 'kantata' and table_name = 'billing_milestones'"
        )
    )
    assert types["amount_in_cents"].lower() == "bigint"
    assert types["date_to_invoice"].lower() == "date"
    assert types["updated_at"].lower() == "timestamp with time zone"


@pytest.mark.long_on("postgres")
def test_unchanged_account_loads_no_row(job: Job) -> None:
    """A second run over an unchanged account writes one row, in sync_runs."""
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        before = content(job)
        result = job.sync(sandbox)
    assert (result.run.added, result.run.changed) == (0, 0)
    assert content(job) == before
    assert [row[0] for row in job.rows("select status from kantata.sync_runs")] == ["proven"] * 2


@pytest.mark.long_on("duckdb")
def test_changes_are_followed(job: Job) -> None:
    """Edits, silent changes, invoicing, cancelling, renaming and creating are all loaded."""
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        account = sandbox.account
        open_ids = [i for i, m in account.milestones.items() if m["invoice_id"] is None]
        billed = next(m for m in account.milestones.values() if m["invoice_id"] is not None)
        account.update_milestone(open_ids[0], amount_in_cents=-7, title='new "title", 日本')
        account.silently_update_milestone(open_ids[1], date_to_invoice=None)
        account.invoice_milestone(open_ids[2], draft=True)
        account.cancel_invoice(billed["invoice_id"])
        account.rename_workspace(billed["workspace_id"], "renamed")
        account.create_milestone(title="new", external_reference={
            "service_name": "sap", "service_model": "x", "service_model_ref": "1"})  # fmt: skip
        result = job.sync(sandbox)
        assert (result.exit_code, result.run.added) == (0, 1)
        assert_equal(job, account)
        versions = job.rows(
            "select version, change_type from kantata.billing_milestone_versions "
            f"where id = '{open_ids[0]}' order by version"
        )
        assert versions == [(1, "created"), (2, "updated")]


@pytest.mark.long
def test_dropped_link_is_marked(job: Job) -> None:
    """A link that the account drops keeps its row and gets the time of its removal."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        id_ = next(i for i, m in account.milestones.items() if m["invoice_id"] is None)
        invoice = account.invoice_milestone(id_, draft=True)
        job.sync(sandbox, full=False)
        account.delete_invoice(invoice)
        job.sync(sandbox)
    links = "select removed_at is not null from kantata.billing_milestone_invoices "
    assert job.rows(f"{links} where invoice_id = '{invoice}'") == [(True,)]


@pytest.mark.long_on("postgres")
def test_new_fields_become_columns(job: Job) -> None:
    """A new field gets a column of its first value's type; other types go to ``__v_text``."""
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        ids = list(sandbox.account.milestones)
        sandbox.account.add_field("weight", 3)
        sandbox.account.add_field("customData", {"a": [1]})
        sandbox.account.add_field("row_hash", "theirs")
        sandbox.account.set_raw(ids[9], "weight", "heavy")
        result = job.sync(sandbox)
    assert any("weight is new (bigint)" in change for change in result.run.schema_changes)
    found = job.rows("select id, weight, weight__v_text, row_hash from kantata.billing_milestones")
    assert {row[1:3] for row in found if row[0] != ids[9]} == {(3, None)}
    assert next(row[1:3] for row in found if row[0] == ids[9]) == (None, "heavy")
    assert all(row[3].startswith("1:") for row in found)


_UNTYPABLE = [
    ("amount_in_cents", "12.50"), ("amount_in_cents", 1000.5), ("amount_in_cents", None),
    ("amount_in_cents", 10**19), ("date_to_invoice", "2026-02-30"), ("updated_at", "yesterday"),
    ("title", "a\0b"), ("currency", None),
]  # fmt: skip


@pytest.mark.long_on("postgres")
def test_untypable_records_are_rejected_and_heal(job: Job) -> None:
    """An invalid value rejects its record; the last good row stays until a good one arrives."""
    all_rows = "select * from kantata.billing_milestones order by id"
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        good = job.rows(all_rows)
        spoiled = dict(zip(account.milestones, _UNTYPABLE, strict=False))
        for id_, (field, value) in spoiled.items():
            account.set_raw(id_, field, value)
        for _ in range(2):
            result = job.sync(sandbox)
            assert result.exit_code == 3
            rejected = {(table, id_): problem for table, id_, problem in result.rejected}
            assert rejected.keys() == {("billing_milestones", id_) for id_ in spoiled}
            for id_, (field, _) in spoiled.items():
                assert field in rejected["billing_milestones", id_]
        assert job.rows("select count(*) from kantata.rejected_records") == [(len(spoiled),)]
        assert job.rows(all_rows) == good
        for id_ in spoiled:
            account.clear_raw(id_)
        assert job.sync(sandbox).exit_code == 0
        assert_equal(job, account)
    open_ = "select count(*) from kantata.rejected_records where resolved_at is null"
    assert job.rows(open_) == [(0,)]


@pytest.mark.long_on("postgres")
def test_absent_field_keeps_its_last_value(job: Job) -> None:
    """A field that is absent, not null, keeps its last value and is reported."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        before = job.rows("select id, title from kantata.billing_milestones order by id")
        sandbox.account.remove_field("title")
        result = job.sync(sandbox)
    assert job.rows("select id, title from kantata.billing_milestones order by id") == before
    assert any("billing_milestones.title is missing" in c for c in result.run.schema_changes)


@pytest.mark.long_on("postgres")
def test_lost_money_field_stops_the_run(job: Job) -> None:
    """If a field needed for amounts is missing from all records, nothing is loaded."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        before = content(job)
        sandbox.account.remove_field("amount_in_cents")
        with pytest.raises(KantataFieldLost):
            job.sync(sandbox)
    assert content(job) == before


@pytest.mark.long_on("postgres")
def test_unreadable_project_requires_action(job: Job) -> None:
    """A milestone whose project cannot be read is loaded and reported with exit code 3."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        id_ = next(iter(sandbox.account.milestones))
        sandbox.account.set_raw(id_, "workspace_id", "999999")
        result = job.sync(sandbox)
    assert result.exit_code == 3
    assert "999999" in result.run.warnings[0]
    found = job.rows(f"select workspace_id from kantata.billing_milestones where id = '{id_}'")
    assert found == [("999999",)]


_FAILURES = {
    "refused": Fault("refuse", status=403, path="billing_milestones"),
    "unavailable": Fault("error", path="billing_milestones"),
    "html": Fault("html"),
    "throttled": Fault("throttle"),
    "cut off": Fault("drop_before", path="billing_milestones", skip=1),
    "garbage": Fault("garbage", path="billing_milestones"),
    "rows lost": Fault("lose_rows", path="billing_milestones"),
    "redirected": Fault("redirect"),
}
_SHORT = ("refused", "html", "cut off", "rows lost")  # the others: tests/source/test_client.py


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    "failures",
    [_SHORT, pytest.param(tuple(_FAILURES), marks=pytest.mark.long)],
    ids=["some", "all"],
)
def test_failed_reads_load_nothing(job: Job, failures: tuple[str, ...]) -> None:
    """A failed read is recorded, and changes neither the warehouse nor the published file."""
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        before = content(job)
        published = job.target.published
        bytes_before = published.read_bytes() if published else b""
        sandbox.account.update_milestone(next(iter(sandbox.account.milestones)), title="changed")
        for failure in failures:
            sandbox.misbehave(_FAILURES[failure])
            with pytest.raises(KantataError) as caught:
                job.sync(sandbox)
            assert content(job) == before, failure
            assert not published or published.read_bytes() == bytes_before, failure
            status, error = job.rows(
                "select status, error from kantata.sync_runs order by run_id desc limit 1"
            )[0]
            assert (status, error) == ("failed", str(caught.value)), failure
            sandbox.behave()
        assert job.sync(sandbox).run.changed == 1
        assert_equal(job, sandbox.account)


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("error", marks=pytest.mark.long),
        pytest.param("throttle", marks=pytest.mark.long),
        pytest.param("drop_before", marks=pytest.mark.long),
        "drop_after",
        pytest.param("garbage", marks=pytest.mark.long),
    ],
)
def test_temporary_faults_are_retried(job: Job, fault: str) -> None:
    """A temporary fault is retried, and the run succeeds."""
    with Sandbox(milestones=400) as sandbox:
        job.synced(sandbox)
        sandbox.account.update_milestone(next(iter(sandbox.account.milestones)), title="changed")
        sandbox.misbehave(Fault(fault, path="billing_milestones", times=3, skip=2))
        assert job.sync(sandbox).exit_code == 0
        assert_equal(job, sandbox.account)


@pytest.mark.long
def test_local_folder_may_be_lost(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dlt's working folder, or in another folder, the next run has the same result."""
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        before = content(job)
        shutil.rmtree(job.target.working)
        if job.name == "postgres":
            elsewhere = Path("elsewhere")
            elsewhere.mkdir()
            monkeypatch.chdir(elsewhere)
        assert job.sync(sandbox).run.added == 0
        assert content(job) == before
        sandbox.account.add_field("new_field", 1.5)
        assert job.sync(sandbox).run.changed == 300
    assert job.rows("select distinct new_field from kantata.billing_milestones") == [(1.5,)]


@pytest.mark.long_on("duckdb")
def test_token_is_never_stored(job: Job) -> None:
    """No file, row or error contains the token."""
    token = "s3cret-token-8f1c"  # noqa: S105 - made up
    with Sandbox(milestones=30, token=token) as sandbox:
        job.sync(sandbox)
        sandbox.misbehave(Fault("error"))
        with pytest.raises(KantataError) as caught:
            job.sync(sandbox)
    assert token not in str(caught.value) + "".join(job.notes)
    for path in Path().rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path
    assert token not in json.dumps(job.rows("select * from kantata.sync_runs"), default=str)
