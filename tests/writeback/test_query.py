"""A proposer's query reads the warehouse, and can do nothing else."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.postgres import reader_of
from warehouse.errors import WarehouseMisconfigured
from warehouse.proposer_query import QueryRefused, check_reader, run_proposer_query
from warehouse.reader import open_reader

_DELETE = "delete from kantata.billing_milestones"
COUNT = "select count(*) from kantata.billing_milestones"
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
    "select * from range(0, 200000)",
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
    "select * from generate_series(1, 200000)",
    "select set_config('transaction_read_only', 'off', false)",
    "select set_config('role', 'postgres', false)",
    f"select query_to_xml('{_DELETE} returning id', true, true, '')",
    "select deleted_by_a_function()",
    "call deleted_by_a_procedure(1)",
    f"explain analyze {_DELETE}",
    "select lo_export(1::oid, '{folder}/written.csv')",
    "select pg_read_file('{folder}/secret.csv')",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres'",
    "select rolpassword from pg_authid",
    "select id from kantata.billing_milestones for update",
]
# Postgres refuses it in a transaction that only reads from release 16. Before, it is rolled back.
MADE_BEFORE_16 = "select lo_creat(-1)"
# What a reader must not be allowed, and the end of the sentence that refuses it.
POWERS = {
    "alter role {role} superuser": "is a superuser",
    "alter role {role} createrole": "may create roles",
    "alter schema kantata_stg owner to {role}": "owns a schema",
    "grant update on kantata.billing_milestones to {role}": "may write a table",
    "grant create on schema kantata_marts to {role}": "may create tables",
    "grant pg_read_server_files to {role}": "belongs to a role that",
    "create function dblink_connect(text) returns int language sql as 'select 1'": "dblink",
}


@pytest.fixture
def synced(job: Job, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A warehouse with a role for queries, if it is on Postgres."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
    if job.name == "postgres":
        _make_traps(job.url)
        monkeypatch.setenv("WAREHOUSE__READER_CREDENTIALS", reader_of(job.url))
    return job


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


def test_a_query_changes_nothing(synced: Job, tmp_path: Path) -> None:
    """No query changes the warehouse or a file; a select returns its rows."""
    (tmp_path / "secret.csv").write_text("id\n1\n")
    others = REFUSED_BY_POSTGRES if synced.name == "postgres" else REFUSED_BY_DUCKDB
    before = synced.rows(COUNT)
    assert before != [(0,)]
    target = synced.target
    for sql in [*REFUSED, *others]:
        with pytest.raises(QueryRefused):
            run_proposer_query(target, sql.format(folder=tmp_path))
        assert synced.rows(COUNT) == before, sql
    if synced.name == "postgres":
        with suppress(QueryRefused):
            run_proposer_query(target, MADE_BEFORE_16)
        assert synced.rows("select count(*) from pg_largeobject_metadata") == [(0,)]
    assert not (tmp_path / "written.csv").exists()
    query = f"with all_of_them as ({COUNT}) table all_of_them;"
    assert run_proposer_query(target, query)[1] == before
    assert run_proposer_query(target, "select 1 as \"a%\", '100 %s' as b, 3 as b") == (
        ["a%", "b", "b"],
        [(1, "100 %s", 3)],
    )
    assert not synced.rows(
        "select 1 from information_schema.tables where table_name in ('made', 'other')"
    )


def test_a_query_ends_in_time(synced: Job) -> None:
    """It ends after the time limit, or with a signal; a run may start meanwhile."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    long = (
        "select sum(a.range * b.range) from range(0, 1000000) a, range(0, 1000000) b"
        if synced.name == "duckdb"
        else "select pg_sleep(600)"
    )
    began = time.monotonic()
    with pytest.raises(QueryRefused, match=r"longer than 1 s|longer than 0 s"):
        run_proposer_query(synced.target, long, time_limit=0.5)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run_proposer_query(synced.target, long, time_limit=600)
    assert time.monotonic() - began < 60
    if synced.name == "postgres":
        assert not synced.rows("select 1 from pg_stat_activity where query like '%pg_sleep(600)%' "
                               "and pid <> pg_backend_pid() and state = 'active'")  # fmt: skip


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
@pytest.mark.long
def test_a_long_query_holds_no_lock(synced: Job) -> None:
    """A run can lock the warehouse while a query runs."""
    with Sandbox(milestones=30) as sandbox:
        long = "select sum(a.range * b.range) from range(0, 1000000) a, range(0, 1000000) b"
        errors: list[BaseException] = []

        def query() -> None:
            try:
                run_proposer_query(synced.target, long, time_limit=2)
            except QueryRefused as error:
                errors.append(error)

        thread = threading.Thread(target=query)
        thread.start()
        time.sleep(0.2)
        assert synced.sync(sandbox, full=False).exit_code == 0
        assert thread.is_alive()
        thread.join()
    assert "longer than 2 s" in str(errors[0])


@pytest.mark.parametrize("job", ["postgres"], indirect=True)
def test_a_reader_that_may_do_more_is_refused(synced: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role of queries must not be able to do what a query must not do."""
    for statement, words in POWERS.items():
        url = reader_of(synced.url)
        role = url.partition("//")[2].partition(":")[0]
        monkeypatch.setenv("WAREHOUSE__READER_CREDENTIALS", url)
        check_reader(synced.target)
        synced.run(statement.format(role=role))
        for attempt in (check_reader, lambda target: run_proposer_query(target, "select 1")):
            with pytest.raises(WarehouseMisconfigured, match=words) as raised:
                attempt(synced.target)
            assert "only%20reads" not in str(raised.value)
        synced.run(f"drop owned by {role} cascade" if "owner" in statement else "select 1")


@pytest.mark.parametrize("job", ["postgres"], indirect=True)
def test_a_query_needs_a_reader(synced: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a role of its own, or with one that cannot connect, a query is refused."""
    monkeypatch.delenv("WAREHOUSE__READER_CREDENTIALS")
    with pytest.raises(WarehouseMisconfigured, match=r"WAREHOUSE__READER_CREDENTIALS.*roles\.sql"):
        run_proposer_query(synced.target, "select 1")
    wrong = reader_of(synced.url).replace("only%20reads", "wr%6Fng")
    monkeypatch.setenv("WAREHOUSE__READER_CREDENTIALS", wrong)
    with pytest.raises(WarehouseMisconfigured, match="authentication failed") as raised:
        run_proposer_query(synced.target, "select 1")
    assert "wrong" not in str(raised.value)


def test_reading_cannot_write(job: Job) -> None:
    """The reader of the warehouse cannot write, even by our own statements."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
    with (
        open_reader(job.target) as query,
        pytest.raises(Exception, match=r"read-only|read only"),
    ):
        query.rows(_DELETE)
