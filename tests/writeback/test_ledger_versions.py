"""Ledgers of an earlier release, and rows that the database itself protects."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest

from tests.support.ledgers import Kind, create, draft
from warehouse.account import AccountBinding
from warehouse.errors import WarehouseUnwritable
from warehouse.ledger.account_binding import bind_account, bound_account
from warehouse.ledger.change import Status
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.push_lock import push_lock
from warehouse.ledger.schema import LEDGER_VERSION

HERE = Path(__file__).parent
# Queries that describe the schema of a ledger.
SHAPES = {
    "": [
        "select type, name, tbl_name from sqlite_master where name not like 'sqlite%' order by 2",
        *[
            f"select name, type, \"notnull\", pk from pragma_table_info('{table}') order by name"
            for table in ("changes", "events", "account", "ledger_version")
        ],
    ],
    "kantata_ledger.": [
        "select table_name, column_name, data_type, is_nullable from information_schema.columns "
        "where table_schema = 'kantata_ledger' order by 1, 2",
        "select indexdef from pg_indexes where schemaname = 'kantata_ledger' order by 1",
        "select tgname, pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = "
        "tgrelid join pg_namespace n on n.oid = relnamespace where nspname = 'kantata_ledger' "
        "and not tgisinternal order by 1",
        "select proname, prosrc from pg_proc p join pg_namespace n on n.oid = pronamespace "
        "where nspname = 'kantata_ledger' order by 1",
        "select conname, pg_get_constraintdef(c.oid) from pg_constraint c join pg_namespace n "
        "on n.oid = connamespace where nspname = 'kantata_ledger' order by 1",
    ],
}


def _shape(kind: Kind) -> list[object]:
    return [kind.sql(question) for question in SHAPES[kind.schema]]


def _make_version_1(kind: Kind) -> None:
    if kind.schema:
        script = (HERE / "ledger_1.postgres.sql").read_text()
        with psycopg2.connect(kind.url) as connection, connection.cursor() as cursor:
            cursor.execute(script)
        connection.close()
        return
    path = Path(kind.url.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.executescript((HERE / "ledger_1.sqlite.sql").read_text())
    connection.close()


def test_version_1_is_migrated(kind: Kind) -> None:
    """A ledger of version 1 is migrated and keeps its content, even if many open it at once."""
    _make_version_1(kind)
    events = kind.sql("select * from {schema}events order by number")
    errors: list[BaseException] = []

    def open_it() -> None:
        try:
            with kind.open() as ledger:
                ledger.changes()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert kind.sql("select version from {schema}ledger_version") == [(LEDGER_VERSION,)]
    with kind.open() as ledger:
        update, made, delete = ledger.changes()
        statuses = (update.status, made.status, delete.status)
        assert statuses == (Status.UNKNOWN, Status.APPLIED, Status.PROPOSED)
        assert (made.milestone_id, made.twins, made.seen_updated_at) == ("1000", ("9",), None)
        for change in (update, made):
            assert change.digest == change.approved_digest
        assert bound_account(ledger) is None
        bind_account(ledger, AccountBinding("here", "1"))
        ledger.transition(update, Status.APPLIED, who="bob", what="read back")
        ledger.approve(delete, "bob")
        (new,) = ledger.propose([draft("99")])
        assert ledger.change(new).status is Status.PROPOSED
    kept = kind.sql("select * from {schema}events order by number")[: len(events)]
    assert kept == [(*event, None) for event in events]  # nobody knows how they were identified


def test_a_migrated_ledger_equals_a_new_one(kind: Kind) -> None:
    """A migrated and a new ledger have the same tables, indexes, triggers and functions."""
    _make_version_1(kind)
    with kind.open():
        pass
    migrated = _shape(kind)
    assert all(migrated)
    if kind.schema:
        kind.sql("drop schema kantata_ledger cascade")
    else:
        Path(kind.url.removeprefix("sqlite:///")).unlink()
    with kind.open():
        pass
    assert _shape(kind) == migrated


@pytest.mark.parametrize(
    "statement",
    [
        "update {schema}changes set fields_after = '{{}}'",
        "update {schema}changes set fields_before = '{{}}'",
        "update {schema}changes set approver = 'mallory'",
        "update {schema}changes set approved_digest = 'x'",
        "update {schema}changes set approved_digest = null, approver = null",
        "update {schema}changes set action = 'delete'",
        "update {schema}changes set milestone_id = '12' where action = 'update'",
        "update {schema}changes set currency = null",
        "update {schema}changes set proposer = 'mallory'",
        "delete from {schema}changes",
    ],
)
def test_approved_changes_cannot_be_altered(kind: Kind, statement: str) -> None:
    """The database refuses to alter an approved change or its approver."""
    with kind.open() as ledger:
        for change_id in ledger.propose([draft("7"), create()]):
            ledger.approve(ledger.change(change_id), "bob")
        before = ledger.changes()
    with pytest.raises((sqlite3.IntegrityError, psycopg2.Error), match="never"):
        kind.sql(statement)
    with kind.open() as ledger:
        assert ledger.changes() == before


def test_replace_is_refused(tmp_path: Path) -> None:
    """SQLite's REPLACE, which fires no trigger for the rows it removes, is refused too."""
    kind = Kind(f"sqlite:///{tmp_path}/ledger.sqlite", "")
    with kind.open() as ledger:
        (change_id,) = ledger.propose([draft("7")])
        ledger.approve(ledger.change(change_id), "bob")
        changes, events = ledger.changes(), ledger.events()
    for table in ("events", "changes"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            kind.sql(f"insert or replace into {table} select * from {table}")
    with kind.open() as ledger:
        assert (ledger.changes(), ledger.events()) == (changes, events)


def test_on_conflict_is_refused(postgres_url: str) -> None:
    """On Postgres an insert that would update a row is refused like an update."""
    kind = Kind(postgres_url, "kantata_ledger.")
    with kind.open() as ledger:
        ledger.propose([draft("7")])
    with pytest.raises(psycopg2.Error, match="never altered"):
        kind.sql(
            "insert into {schema}events select * from {schema}events "
            "on conflict (number) do update set who = 'mallory'"
        )


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    """If the ledger's lock cannot be made, the message names the setting of the ledger."""
    kind = Kind(f"sqlite:///{tmp_path}/ledger.sqlite", "")
    (tmp_path / "ledger.sqlite.lock").mkdir()
    with (
        connect_ledger(kind.url, lambda: datetime.now(UTC)) as ledger,
        pytest.raises(WarehouseUnwritable, match="LEDGER__URL"),
        push_lock(ledger),
    ):
        pass
