"""A value that cannot be stored costs its record, by name, and no other one."""

from __future__ import annotations

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.altered import altered
from tests.support.equality import assert_equal
from tests.support.job import Job

VALUES = {
    "half a character": (b'"Test \\ud83d"', "not valid Unicode"),
    "not UTF-8": (b'"Test \xff"', "not valid Unicode"),
    "not a number": (b"NaN", "NaN is no number"),
    "too large": (b"1e400", "1e400 is too large"),
    "many digits": (b"9" * 5000, "has too many digits"),
    "nested": (b'{"a":' * 300 + b"1" + b"}" * 300, "nested more than 100 levels"),
    "nested lists": (b"[" * 300 + b"]" * 300, "nested more than 100 levels"),
}


@pytest.mark.long_on("postgres")
def test_an_odd_value_rejects_its_record_only(job: Job) -> None:
    """In a declared field or another one: the rest loads, and good records heal."""
    with Sandbox(milestones=40) as sandbox, altered(sandbox) as between:
        account = sandbox.account
        job.synced(sandbox)
        good, *others = open_ids(account)
        odd = dict(zip(others, VALUES.values(), strict=False))
        for number, id_ in enumerate(odd):
            field = "title" if number % 2 else "customer_note"
            account.set_raw(id_, field, f"@@odd{number}@@")
        account.update_milestone(good, title="loaded all the same")
        between.bytes_instead = {
            f'"@@odd{number}@@"'.encode(): value for number, (value, _) in enumerate(odd.values())
        }
        result = job.sync(between)
        assert result.exit_code == 3
        assert {r.id: odd[r.id][1] in r.reason for r in result.rejected} == dict.fromkeys(odd, True)
        assert len(odd) == len(VALUES)
        titles = job.rows(f"select title from kantata.billing_milestones where id = '{good}'")
        assert titles == [("loaded all the same",)]
        for id_ in odd:
            account.clear_raw(id_)
        assert job.sync(sandbox).exit_code == 0
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
def test_an_odd_side_loaded_record(job: Job) -> None:
    """A project with such a value is rejected by name; the milestones load."""
    with Sandbox(milestones=20) as sandbox, altered(sandbox) as between:
        project = next(iter(sandbox.account.workspaces))
        sandbox.account.update_workspace(project, title="@@odd@@")
        between.bytes_instead = {b'"@@odd@@"': b"NaN"}
        result = job.sync(between)
        assert [(r.table, r.id) for r in result.rejected] == [("workspaces", project)]
        assert job.rows("select count(*) from kantata.billing_milestones") == [(20,)]


@pytest.mark.long
def test_many_new_fields(job: Job) -> None:
    """Beyond 200 columns of undeclared fields, the others go into one column, as JSON."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        for name in ("xmin", "tableoid"):
            sandbox.account.add_field(name, "mine")
        for number in range(300):
            sandbox.account.add_field(f"field_{number}", number)
        result = job.sync(sandbox)
        assert (result.exit_code, result.run.changed) == (0, 30)
        assert any("further_fields is new" in line for line in result.run.schema_changes)
        assert len(result.run.schema_changes) < 220
        ((text,),) = job.rows(
            "select distinct further_fields from kantata.billing_milestones "
            "where further_fields is not null"
        )
        assert '"field_299":299' in text
        assert job.sync(sandbox).run.changed == 0
        id_ = open_ids(sandbox.account)[0]
        sandbox.account.add_field("field_299", "another")
        sandbox.account.update_milestone(id_, title="new")
        assert job.sync(sandbox).run.changed == 30
