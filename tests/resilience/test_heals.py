"""Odd records never block the job, and every rejected record can be resolved."""

from __future__ import annotations

import hashlib
import json

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids, versions
from tests.support.equality import assert_equal, ids_where
from tests.support.job import Job

_REFERENCE = {"service_name": "sap", "service_model": "x", "service_model_ref": "1"}


def _content(job: Job, id_: str) -> tuple[object, ...]:
    """The load and the date of a row, and the number of its versions."""
    return (
        *job.rows(
            "select _dlt_load_id, date_to_invoice from kantata.billing_milestones "
            f"where id = '{id_}'"
        ),
        len(versions(job, id_)),
    )


@pytest.mark.long
def test_absent_then_null(job: Job) -> None:
    """A missing field that returns as null becomes null, which makes a version."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        id_ = next(i for i in open_ids(account) if account.milestones[i]["date_to_invoice"])
        last = account.milestones[id_]["date_to_invoice"]
        job.synced(sandbox)
        account.remove_field("date_to_invoice")
        job.sync(sandbox)
        kept = _content(job, id_)
        for _ in range(2):
            job.sync(sandbox)
            assert _content(job, id_) == kept  # not rewritten while the field is missing
        assert str(kept[0][1]) == last  # type: ignore[index]
        account.restore_field("date_to_invoice")
        account.silently_update_milestone(id_, date_to_invoice=None)
        assert job.sync(sandbox, full=True).run.changed >= 1
        assert versions(job, id_) == ["created", "updated", "updated"]
        assert_equal(job, account)


@pytest.mark.long
def test_hashes_of_an_earlier_release_stay_valid(job: Job) -> None:
    """Rows without missing fields keep their hash: nothing is rewritten or versioned."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        id_ = open_ids(account)[0]
        account.set_raw(id_, "invoice_ids", ["10", "7"])
        job.sync(sandbox)
        (found,) = job.rows(f"select row_hash from kantata.billing_milestones where id = '{id_}'")
        record = account.milestone(id_)
        content = {n: sorted(v) if isinstance(v, list) else v for n, v in record.items()}
        content = {n: content[n] for n in sorted(content) if content[n] is not None}
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        assert found[0] == "1:" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        # An earlier release hashed only the record, even if the row kept a value.
        account.leave_out(id_, "title")
        job.sync(sandbox)
        plain = json.dumps({n: v for n, v in content.items() if n != "title"},
                           separators=(",", ":"), ensure_ascii=False)  # fmt: skip
        older = "1:" + hashlib.blake2b(plain.encode(), digest_size=16).hexdigest()
        for table in ("billing_milestones", "billing_milestone_versions"):
            last = "" if table == "billing_milestones" else " and version = 2"
            job.run(f"update kantata.{table} set row_hash = '{older}' where id = '{id_}'{last}")
        before = _content(job, id_)
        assert job.sync(sandbox).run.changed == 0
        assert _content(job, id_) == before


@pytest.mark.long
def test_null_links_are_dropped_and_absent_ones_stay(job: Job) -> None:
    """Null in invoice_ids removes the links; a missing field keeps them."""
    links = (
        "select invoice_id from kantata.billing_milestone_invoices "
        "where removed_at is null and billing_milestone_id = '{}'"
    )
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        id_ = open_ids(account)[0]
        invoice = account.invoice_milestone(id_, draft=True)
        job.sync(sandbox, full=False)
        account.leave_out(id_, "invoice_ids")
        job.sync(sandbox)
        assert job.rows(links.format(id_)) == [(invoice,)]
        account.set_raw(id_, "invoice_ids", None)
        job.sync(sandbox)
        assert job.rows(links.format(id_)) == []


@pytest.mark.long
def test_links_in_any_order_rewrite_nothing(job: Job) -> None:
    """Scans do not rewrite a milestone with several invoices, in any order the database returns."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        id_ = open_ids(account)[0]
        job.synced(sandbox)
        account.set_raw(id_, "invoice_ids", ["7"])
        job.sync(sandbox)
        account.set_raw(id_, "invoice_ids", ["10", "7"])
        job.sync(sandbox)
        before = _content(job, id_)
        job.sync(sandbox)
        assert _content(job, id_) == before


@pytest.mark.long
@pytest.mark.parametrize("full", [False, True])
def test_unlinked_invoice_is_read_again(job: Job, full: bool) -> None:
    """An invoice that lost its link becomes cancelled or deleted in the warehouse, too."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        one, two = open_ids(account)[:2]
        job.synced(sandbox)
        invoice, draft = account.invoice_milestone(one), account.invoice_milestone(two, draft=True)
        job.sync(sandbox, full=False)
        account.cancel_invoice(invoice)
        with account.change():
            account.invoices_of[one].remove(invoice)
            account.milestones_of[invoice].remove(one)
        account.delete_invoice(draft)
        job.sync(sandbox, full=full)
        states = dict(job.rows("select id, status from kantata.invoices"))
        assert (states[invoice], states[draft]) == ("cancelled", "deleted")
        before = sandbox.requests.copy()
        assert job.sync(sandbox, full=False).run.side_rows == {}
        paths = [served.path for served in list(sandbox.requests)[len(before) :]]
        assert len(paths) <= 5


@pytest.mark.long_on("duckdb")
def test_fields_named_like_sql_keywords(job: Job) -> None:
    """The column of a field called order or group can be read like any other."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        for name in ("order", "group", "user", "end", "limit"):
            account.add_field(name, 3)
        for project in account.workspaces.values():
            project["group"] = "g"
        job.sync(sandbox)
        account.delete_milestone(open_ids(account)[0])
        account.remove_field("order")
        project = next(iter(account.workspaces.values()))
        del project["group"]
        account.rename_workspace(project["id"], "renamed")
        result = job.sync(sandbox)
        assert (result.run.deleted, result.run.side_rows) == (1, {"workspaces": 1})
        assert job.rows('select distinct "order" from kantata.billing_milestones') == [(3,)]


@pytest.mark.long
def test_fields_named_like_ours(job: Job) -> None:
    """A field called deleted_at gets a column of another name, and marks nothing as deleted."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        for name in ("deleted_at", "access_lost_at", "_dlt_id", "observed_at", "row_hash"):
            account.add_field(name, "2026-01-01")
        job.sync(sandbox)
        assert ids_where(job, "deleted_at is not null or access_lost_at is not null") == set()
        columns = job.rows(
            "select column_name from information_schema.columns "
            "where table_schema = 'kantata' and table_name = 'billing_milestones' "
            "and column_name like '%\\_\\_x%' escape '\\'"
        )
        assert len(set(columns)) == 5  # one for each field, so no value is lost
        account.side_load("currencies", {"7": {"id": "7", "x": 1}})
        result = job.sync(sandbox)
        table = result.run.schema_changes[0].split()[0]
        assert job.rows(f"select id, x from kantata.{table}") == [("7", 1)]
        assert job.sync(sandbox).run.side_rows == {}


@pytest.mark.long
def test_nul_in_an_id_is_rejected(job: Job) -> None:
    """An id that no database can store is rejected, until its record is deleted."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        sandbox.account.side_load("things", {"a\0b": {"id": "a\0b", "x": 1}})
        for _ in range(2):
            assert [row[:2] for row in job.sync(sandbox).rejected] == [("things", "a\ufffdb")]
        assert job.rows("select count(*) from kantata.rejected_records") == [(1,)]
        sandbox.account.side_load("things", {})
        assert job.sync(sandbox).exit_code == 0


@pytest.mark.long_on("duckdb")
def test_dates_beyond_the_calendar_are_rejected(job: Job) -> None:
    """Dates and times outside the databases' range are rejected."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        one, two, three = open_ids(account)[:3]
        account.set_raw(one, "date_to_invoice", "0000-01-01")
        account.set_raw(two, "updated_at", "9999-12-31T23:59:59-07:00")
        account.set_raw(three, "updated_at", "0001-01-01T00:00:00+07:00")
        assert {row[1] for row in job.sync(sandbox).rejected} == {one, two, three}
        for id_ in (one, two, three):
            account.delete_milestone(id_)
        result = job.sync(sandbox)
        assert (result.run.deleted, result.exit_code) == (3, 0)


@pytest.mark.long
def test_all_deletions_can_be_allowed(job: Job) -> None:
    """With allow_deletes, an empty account marks every milestone as deleted."""
    with Sandbox(milestones=5) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        for id_ in list(account.milestones):
            account.delete_milestone(id_)
        assert job.sync(sandbox).exit_code == 3
        result = job.sync(sandbox, allow_deletes=True)
        assert (result.exit_code, result.run.deleted) == (0, 5)
        assert job.sync(sandbox).exit_code == 0


@pytest.mark.long
def test_reject_of_a_restored_and_deleted_milestone_is_resolved(job: Job) -> None:
    """The reject of a milestone that was restored spoiled, then deleted again, is resolved."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        account.set_feed(enabled=False)
        job.synced(sandbox)
        id_ = open_ids(account)[0]
        record = dict(account.true_milestones[id_])
        account.delete_milestone(id_)
        job.sync(sandbox)
        account.restore_milestone(record)
        account.set_raw(id_, "amount_in_cents", "12.50")
        assert job.sync(sandbox).exit_code == 3
        account.delete_milestone(id_)
        assert job.sync(sandbox).exit_code == 0


@pytest.mark.long
def test_side_rejects_are_resolved(job: Job) -> None:
    """A rejected reference is resolved when it is good again, and when it is deleted."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        one, two = open_ids(account)[:2]
        repaired, deleted = (
            account.save_reference(one, _REFERENCE),
            account.save_reference(two, _REFERENCE),
        )
        job.sync(sandbox)
        for reference in (repaired, deleted):
            account.external_references[reference]["created_at"] = "yesterday"
        account.silently_update_milestone(one, title="x")
        assert {row[1] for row in job.sync(sandbox).rejected} == {repaired, deleted}
        account.external_references[repaired]["created_at"] = "2026-02-03T04:05:06Z"
        account.silently_update_milestone(one, title="y")
        assert [row[1] for row in job.sync(sandbox).rejected] == [deleted]
        account.delete_reference(deleted)
        assert job.sync(sandbox).exit_code == 0
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
def test_deleted_before_it_had_a_version(job: Job) -> None:
    """If a crash left a row without a version, its deletion makes one with the row's values."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        id_ = open_ids(account)[0]
        record = dict(account.milestones[id_])
        for table in (
            "kantata.billing_milestone_versions",
            "kantata_marts.billing_milestone_history",
        ):
            job.run(f"delete from {table} where id = '{id_}'")
        account.delete_milestone(id_)
        assert job.sync(sandbox).run.deleted == 1
        ((change_type, raw),) = job.rows(
            f"select change_type, raw from kantata.billing_milestone_versions where id = '{id_}'"
        )
        version = json.loads(raw)
        assert change_type == "deleted"
        for name in ("id", "amount_in_cents", "currency", "workspace_id", "date_to_invoice"):
            assert version.get(name) == record[name]


def lose_version(job: Job, sandbox: Sandbox, id_: str, state: str) -> None:
    """Delete the second version, as a crash would lose it, then remove the milestone, too."""
    for table in ("kantata.billing_milestone_versions", "kantata_marts.billing_milestone_history"):
        job.run(f"delete from {table} where id = '{id_}' and version = 2")
    account = sandbox.account
    if state == "deleted":
        account.delete_milestone(id_)
    else:
        account.hide_workspace(account.milestones[id_]["workspace_id"])
    job.sync(sandbox, allow_deletes=True)


@pytest.mark.long
@pytest.mark.parametrize("state", [pytest.param("deleted", marks=pytest.mark.long), "access lost"])
def test_lost_before_its_version_was_loaded(job: Job, state: str) -> None:
    """A version that a crash prevented is made from its row, even if the milestone is lost."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        id_ = open_ids(account)[0]
        account.invoice_milestone(id_)
        job.sync(sandbox)
        lose_version(job, sandbox, id_, state)
        ((change_type, raw),) = job.rows(
            "select change_type, raw from kantata.billing_milestone_versions "
            f"where id = '{id_}' and version = 2"
        )
        assert change_type == ("deleted" if state == "deleted" else "updated")
        ((invoice_id,),) = job.rows(
            f"select invoice_id from kantata.billing_milestones where id = '{id_}'"
        )
        assert json.loads(raw)["invoice_id"] == invoice_id is not None
        for workspace in list(account.hidden):
            account.show_workspace(workspace)
        job.sync(sandbox)
        assert_equal(job, account)


@pytest.mark.long
@pytest.mark.parametrize("state", ["deleted", "access lost"])
def test_invoice_removed_before_its_version_was_loaded(job: Job, state: str) -> None:
    """The version that is made from such a row keeps its nulls."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        id_ = open_ids(account)[0]
        account.invoice_milestone(id_)
        job.sync(sandbox)
        account.cancel_invoice(account.milestones[id_]["invoice_id"])
        job.sync(sandbox)
        lose_version(job, sandbox, id_, state)
        history = (
            "select version, invoice_id is null from kantata_marts.billing_milestone_history "
            f"where id = '{id_}' order by version"
        )
        assert job.rows(history) == [(1, False), (2, True)]
