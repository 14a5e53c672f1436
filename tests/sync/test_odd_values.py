"""A value that cannot be stored costs its record, by name, and no other one."""

from __future__ import annotations

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.altered import altered
from tests.support.equality import assert_equal
from tests.support.job import Job

ODD = b'"@@odd@@"'
VALUES = {
    "half a character": (b'"Test \\ud83d"', "not valid Unicode"),
    "not UTF-8": (b'"Test \xff"', "not valid Unicode"),
    "not a number": (b"NaN", "NaN is no number"),
    "too large": (b"1e400", "1e400 is too large"),
    "many digits": (b"9" * 5000, "has too many digits"),
    "nested": (b'{"a":' * 300 + b"1" + b"}" * 300, "nested more than 100 levels"),
    "nested lists": (b"[" * 300 + b"]" * 300, "nested more than 100 levels"),
}


@pytest.mark.long_on_postgres
def test_an_odd_value_rejects_its_record_only(job: Job) -> None:
    """In a declared field or another one: the rest loads, and the record heals when it is good."""
    with Sandbox(milestones=20) as sandbox, altered(sandbox) as between:
        account = sandbox.account
        job.synced(sandbox)
        one, two = open_ids(account)[:2]
        for number, (name, (odd, reason)) in enumerate(VALUES.items()):
            account.set_raw(one, "title" if number % 2 else "customer_note", "@@odd@@")
            account.update_milestone(two, title=name)
            between.bytes_instead = ODD, odd
            result = job.sync(between)
            assert result.exit_code == 3, name
            assert [(r.id, reason in r.reason) for r in result.rejected] == [(one, True)], name
            titles = job.rows(f"select title from kantata.billing_milestones where id = '{two}'")
            assert titles == [(name,)]
            account.clear_raw(one)
        assert job.sync(sandbox).exit_code == 0
        assert_equal(job, account)


@pytest.mark.long_on_postgres
def test_an_odd_side_loaded_record(job: Job) -> None:
    """A project with such a value is rejected by name; the milestones load."""
    with Sandbox(milestones=20) as sandbox, altered(sandbox) as between:
        project = next(iter(sandbox.account.workspaces))
        sandbox.account.update_workspace(project, title="@@odd@@")
        between.bytes_instead = ODD, b"NaN"
        result = job.sync(between)
        assert [(r.table, r.id) for r in result.rejected] == [("workspaces", project)]
        assert job.rows("select count(*) from kantata.billing_milestones") == [(20,)]


def test_many_new_fields(job: Job) -> None:
    """Beyond 200 columns of undeclared fields, the others go into one column, as JSON."""
    with Sandbox(milestones=10) as sandbox:
        job.synced(sandbox)
        for name in ("xmin", "tableoid"):
            sandbox.account.add_field(name, "mine")
        for number in range(1000):
            sandbox.account.add_field(f"field_{number}", number)
        result = job.sync(sandbox)
        assert (result.exit_code, result.run.changed) == (0, 10)
        assert any("further_fields is new" in line for line in result.run.schema_changes)
        assert len(result.run.schema_changes) < 220
        ((text,),) = job.rows(
            "select distinct further_fields from kantata.billing_milestones "
            "where further_fields is not null"
        )
        assert '"field_999":999' in text
        assert job.sync(sandbox).run.changed == 0
        id_ = open_ids(sandbox.account)[0]
        sandbox.account.add_field("field_999", "another")
        sandbox.account.update_milestone(id_, title="new")
        assert job.sync(sandbox).run.changed == 10
