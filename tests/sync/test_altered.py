"""Incomplete or malformed answers: no change is missed, no other record is rejected."""

from __future__ import annotations

from typing import Any

import pytest

from sources.kantata.errors import KantataIncomplete
from sources.kantata_sandbox import Fault, Sandbox
from tests.support.accounts import open_ids
from tests.support.altered import Change, altered
from tests.support.equality import assert_equal, ids_where
from tests.support.job import Job


def _without_meta(_: str, body: Any) -> Any:  # noqa: ANN401 - any JSON
    body.pop("meta", None)
    return body


def _without_type(path: str, body: Any) -> Any:  # noqa: ANN401 - any JSON
    if "subscribed_events?" in path:
        for event in body["subscribed_events"].values():
            event["name"] = event.pop("event_type")
    return body


def _only_created(path: str, body: Any) -> Any:  # noqa: ANN401 - any JSON
    created = {"subscribed_event_types": ["billing_milestone:created"]}
    return created if path.endswith("event_types") else body


@pytest.mark.long_on("postgres")
def test_list_without_page_counts(job: Job) -> None:
    """A list whose rows do not fit its pages is refused as incomplete."""
    with Sandbox(milestones=300) as sandbox, altered(sandbox) as between:
        between.change = _without_meta
        with pytest.raises(KantataIncomplete, match="300 milestones"):
            job.sync(between)
        assert job.rows("select count(*) from kantata.billing_milestones") == [(0,)]


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    "change",
    [
        _without_type,
        *(pytest.param(c, marks=pytest.mark.long) for c in (_only_created, _without_meta)),
    ],
)
def test_incomplete_events_lead_to_a_scan(job: Job, change: Change) -> None:
    """If events have no type, or only creations have events, a scan finds the changes."""
    with Sandbox(milestones=30) as sandbox, altered(sandbox) as between:
        job.synced(sandbox)
        for id_ in open_ids(sandbox.account)[:3]:
            sandbox.account.update_milestone(id_, amount_in_cents=3)
        between.change = change
        result = job.sync(between, full=False)
        expected = "feed" if change is _without_meta else "scan"  # few rows need no pages
        assert (result.run.mode, result.run.changed) == (expected, 3)
        assert_equal(job, sandbox.account)


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    "path", ["subscribed_events$", pytest.param("invoices$", marks=pytest.mark.long)]
)
def test_short_answer_of_the_feed_leads_to_a_scan(job: Job, path: str) -> None:
    """If events or invoices are counted and not returned, the run scans instead."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        account.update_milestone(open_ids(account)[0], amount_in_cents=5)
        account.invoice_milestone(open_ids(account)[1])
        account.advance(2 * 3_600)
        sandbox.misbehave(Fault("lose_rows", path=path))
        assert job.sync(sandbox, full=False).run.mode == "scan"
        sandbox.behave()
        assert_equal(job, account)


@pytest.mark.long
def test_invalid_side_loads_are_reported_and_the_rest_is_kept(job: Job) -> None:
    """A null among invoices, or a type sent as a list, is reported; other records are loaded."""

    def spoil(path: str, body: Any) -> Any:  # noqa: ANN401 - any JSON
        if "billing_milestones?" in path and "invoices" in body:
            body["invoices"]["99"], body["things"] = None, [{"id": "1"}]
        return body

    with Sandbox(milestones=60) as sandbox, altered(sandbox) as between:
        between.change = spoil
        for _ in range(2):
            result = job.sync(between)
            assert result.exit_code == 3
            assert [warning.split(":")[0] for warning in result.run.warnings] == [
                "side-loaded invoices was not completely loaded",
                "side-loaded things was not completely loaded",
            ]
        assert_equal(job, sandbox.account)


@pytest.mark.long
def test_invalid_date_header(job: Job) -> None:
    """An invalid Date header is ignored, one without a zone is UTC; drift is still reported."""
    dates = (None, "rubbish", "Mon, 24 Nov 2031 10:00:00 -0000")
    with Sandbox(milestones=30) as sandbox, altered(sandbox) as between:
        between.date = dates[0]
        job.sync(between)
        for number, date in enumerate(dates):
            between.date = date
            sandbox.account.add_field(f"weight_{number}", 1)
            result = job.sync(between)
            new = f"billing_milestones.weight_{number} is new (bigint)"
            assert result.run.schema_changes == [new]
            is_readable = date is not None and date.endswith("-0000")
            assert (result.run.cursor_at is not None) == is_readable
            assert_equal(job, sandbox.account)


@pytest.mark.long_on("postgres")
def test_milestone_that_lists_leave_out_is_not_deleted(job: Job) -> None:
    """A milestone that no list returns is fetched by its id before it counts as deleted."""
    with Sandbox(milestones=30) as sandbox, altered(sandbox) as between:
        job.synced(sandbox)
        hidden = open_ids(sandbox.account)[0]

        def hide(path: str, body: Any) -> Any:  # noqa: ANN401 - any JSON
            if "billing_milestones?" in path:
                shown = [row for row in body["results"] if row["id"] != hidden]
                body["count"] -= len(body["results"]) - len(shown)
                body["results"] = shown
            return body

        between.change = hide
        assert job.sync(between).run.deleted == 0
        assert ids_where(job, "deleted_at is not null") == set()


@pytest.mark.long
def test_invalid_ids_reject_their_records(job: Job) -> None:
    """An invalid id rejects its own record and no other."""
    wrong = [
        ("workspace_id", {"id": 3}), ("workspace_id", [3]), ("story_id", ["1"]),
        ("invoice_id", {"id": "1"}), ("invoice_ids", "7"), ("invoice_ids", [{"id": "7"}]),
        ("invoice_ids", ["7,8"]), ("external_reference_ids", [None]), ("id", None),
    ]  # fmt: skip
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        other, *ids = open_ids(account)[: 1 + len(wrong)]
        for id_, (field, value) in zip(ids, wrong, strict=True):
            account.set_raw(id_, field, value)
        account.set_raw(other, "id", int(other))  # a number will do
        result = job.sync(sandbox)
        rejected = {row[1]: row[2] for row in result.rejected}
        assert rejected.keys() == set(ids)
        for id_, (field, _) in zip(ids, wrong, strict=True):
            assert field in rejected[id_]
        for id_ in (other, *ids):
            account.clear_raw(id_)
        assert job.sync(sandbox).exit_code == 0
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
def test_milestones_left_out_of_lists_are_not_deleted(job: Job) -> None:
    """If some that are missing from lists exist, no other is believed to be deleted unseen."""
    with Sandbox(milestones=400) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        newest = sorted(open_ids(account), key=int, reverse=True)
        hidden, deleted = newest[:30], newest[30:35]
        for id_ in deleted:
            account.delete_milestone(id_)
        account.unlist_milestones(*hidden)
        result = job.sync(sandbox)
        assert result.run.deleted == len(deleted)
        assert ids_where(job, "deleted_at is not null") == set(deleted)
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
def test_many_left_out_of_lists_are_left_alone(job: Job) -> None:
    """If they are too many to look up, none is marked, and the run asks for action."""
    with Sandbox(milestones=400) as sandbox:
        job.synced(sandbox)
        sandbox.account.unlist_milestones(*sorted(sandbox.account.milestones)[:240])
        result = job.sync(sandbox, allow_deletes=True)
        assert (result.exit_code, result.run.deleted) == (3, 0)
        assert "220 milestones are missing from lists" in "".join(result.run.warnings)
        assert ids_where(job, "deleted_at is not null") == set()


@pytest.mark.long_on("postgres")
def test_invoices_of_the_feed_that_do_not_name_their_milestones(job: Job) -> None:
    """A run scans instead, so that a milestone that was just invoiced is not overdue for a day."""

    def drop(path: str, body: Any) -> Any:  # noqa: ANN401 - any JSON
        if "/invoices?" in path:
            body.pop("billing_milestones", None)
            for invoice in body["invoices"].values():
                invoice.pop("billing_milestone_ids", None)
        return body

    with Sandbox(milestones=30) as sandbox, altered(sandbox) as between:
        job.synced(sandbox)
        between.change = drop
        sandbox.account.advance(600)
        id_ = next(i for i, m in sandbox.account.milestones.items() if m["invoice_id"] is None)
        sandbox.account.invoice_milestone(id_)
        assert job.sync(between, full=False).run.mode == "scan"
        assert_equal(job, sandbox.account)


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    ("table", "fields"),
    [
        ("billing_milestones", ("invoice_id",)),
        pytest.param("invoices", ("draft", "status"), marks=pytest.mark.long),
    ],
)
def test_a_decisive_field_that_no_record_has(job: Job, table: str, fields: tuple[str, ...]) -> None:
    """Each run warns of it, since what is invoiced, or what an invoice counts as, is not known."""

    def drop(_: str, body: Any) -> Any:  # noqa: ANN401 - any JSON
        for record in body.get(table, {}).values():
            for name in fields:
                record.pop(name, None)
        return body

    with Sandbox(milestones=60) as sandbox, altered(sandbox) as between:
        between.change = drop
        for _ in range(2):
            result = job.sync(between)
            assert result.exit_code == 3
            (warning,) = result.run.warnings
            assert warning.startswith(f"{' and '.join(fields)} missing from all {table} that were")
