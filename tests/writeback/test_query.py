"""An untrusted query reads the warehouse, and can do nothing else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from warehouse.reader import QueryRefused, open_reader

_DELETE = "delete from kantata.billing_milestones"
REFUSED = [
    _DELETE,
    f"{_DELETE} returning id",
    f"select 1 as id; {_DELETE}",
    f"set transaction read write; {_DELETE}; select '1' as id",
    f"commit; begin read write; {_DELETE}; commit; select '1' as id",
    f"with gone as ({_DELETE} returning id) select id from gone",
    "create table kantata.made as select 1 as id",
    "copy (select 1) to '{folder}/written.csv'",
    "select nothing",
    "select 1; select 2",
    "-- nothing",
    "",
    "select 'a\0b'",
    "select '\udcff'",
]
REFUSED_BY_DUCKDB = [
    "explain select 1",
    "select * from read_csv('{folder}/secret.csv')",
    "select * from '{folder}/secret.csv'",
    "select * from query('copy (select 1) to ''{folder}/written.csv''')",
    "attach '{folder}/written.csv' as other",
    "set lock_configuration = false",
]
REFUSED_BY_POSTGRES = [
    "select set_config('transaction_read_only', 'off', false)",
    f"select query_to_xml('{_DELETE} returning id', true, true, '')",
    "select deleted_by_a_function()",
    "call deleted_by_a_procedure(1)",
    f"explain analyze {_DELETE}",
    "select lo_export(1::oid, '{folder}/written.csv')",
    "select pg_read_file('{folder}/secret.csv')",
    "select pg_terminate_backend(pg_backend_pid())",
    "select id from kantata.billing_milestones for update",
]


def _make_traps(url: str) -> None:
    """Create functions and procedures with side effects."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "create function deleted_by_a_function() returns int language plpgsql "
            f"security definer as $$ begin {_DELETE}; return 1; end $$; "
            "create procedure deleted_by_a_procedure(inout given int) language plpgsql "
            f"as $$ begin {_DELETE}; end $$"
        )
    connection.close()


def test_large_objects_are_rolled_back(postgres: Job) -> None:
    """Postgres before 16 creates one in a read-only transaction; it is rolled back."""
    with Sandbox(milestones=20) as sandbox:
        postgres.synced(sandbox)
    with open_reader(postgres.target) as query, suppress(QueryRefused):
        query.run_untrusted("select lo_creat(-1)")
    assert postgres.rows("select count(*) from pg_largeobject_metadata") == [(0,)]


def test_an_untrusted_query_changes_nothing(job: Job, tmp_path: Path) -> None:
    """No query changes the warehouse or a file; a select returns its rows."""
    (tmp_path / "secret.csv").write_text("id\n1\n")
    with Sandbox(milestones=20) as sandbox:
        job.synced(sandbox)
    others = REFUSED_BY_DUCKDB
    if job.name == "postgres":
        _make_traps(job.url)
        others = REFUSED_BY_POSTGRES
    count = "select count(*) from kantata.billing_milestones"
    before = job.rows(count)
    assert before != [(0,)]
    for sql in [*REFUSED, *others]:
        with open_reader(job.target) as query, pytest.raises(QueryRefused):
            query.run_untrusted(sql.format(folder=tmp_path))
        assert job.rows(count) == before, sql
    assert not (tmp_path / "written.csv").exists()
    with open_reader(job.target) as query:
        assert query.run_untrusted(f"with all_of_them as ({count}) table all_of_them;")[1] == before
        assert query.run_untrusted("select 1 as \"a%\", '100 %s' as b, 3 as b") == (
            ["a%", "b", "b"],
            [(1, "100 %s", 3)],
        )
        assert query.rows(count) == before
    assert not job.rows(
        "select 1 from information_schema.tables where table_name in ('made', 'other')"
    )


def test_reading_cannot_write(job: Job) -> None:
    """The reader of the warehouse cannot write, even by our own statements."""
    with Sandbox(milestones=20) as sandbox:
        job.synced(sandbox)
    with (
        open_reader(job.target) as query,
        pytest.raises(Exception, match=r"read-only|read only"),
    ):
        query.rows(_DELETE)
