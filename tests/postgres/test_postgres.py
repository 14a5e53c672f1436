"""What is specific to Postgres: roles with few rights, unique keys, servers that refuse."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from pipelines.config.settings import PushSettings, kantata_settings
from pipelines.runtime.observer import RunObserver
from pipelines.writeback.service import push_changes
from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.postgres import replica
from tests.support.writing_desk import Desk
from warehouse.errors import WarehouseError
from warehouse.ledger.change import Action, Status
from warehouse.models import build


def test_few_rights_are_enough(postgres: Job, roles: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader role needs only its own schemas; the reader role can read only the marts."""
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", roles)
    monkeypatch.setenv("WAREHOUSE__MODELS", "models")
    model = Path("models", "mine.sql")
    model.parent.mkdir()
    model.write_text("-- A.\nselect 1 as a")
    with Sandbox(milestones=120) as sandbox:
        assert postgres.sync(sandbox).exit_code == 0
        model.write_text("-- A.\nselect 1 as a, count(*) as n from kantata_marts.push_audit")
        sandbox.account.add_field("new_field", 7)
        sandbox.account.create_milestone(title="new")
        assert postgres.sync(sandbox).exit_code == 0
        desk = Desk(sandbox, roles)
        change = desk.approved(desk.draft(Action.UPDATE))
        settings = PushSettings(enabled=True)
        result = push_changes(
            kantata_settings(), settings, postgres.target, RunObserver(), postgres.now
        )
        assert result.exit_code == 0
        assert desk.assert_true(change).status is Status.APPLIED
        assert postgres.sync(sandbox).exit_code == 0
        assert_equal(postgres, sandbox.account)
        connection = psycopg2.connect(postgres.url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("set role milestones_reader")
            for model in build.marts():
                cursor.execute(f"select count(*) from kantata_marts.{model.name}")
                may_be_empty = model.name.endswith(("_reporting", "_restatements"))
                assert cursor.fetchall()[0][0] > 0 or may_be_empty
            cursor.execute("select n > 0 from kantata_user.mine")  # the table was replaced
            assert cursor.fetchall() == [(True,)]
            for table in ("kantata.billing_milestones", "kantata.sync_runs", "kantata_stg.today"):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(f"select * from {table}")
            cursor.execute("reset role; drop schema kantata_user cascade")
        connection.close()
        (line,) = postgres.sync(sandbox).needs
        assert "the role milestones_loader may not create the schema kantata_user: as an" in line


def test_keys_are_unique(postgres: Job) -> None:
    """Postgres refuses a second row with the same key in a raw table or a mart."""
    with Sandbox(milestones=30) as sandbox:
        postgres.synced(sandbox)
    for table in ("kantata.billing_milestones", "kantata_marts.billing_milestones"):
        with pytest.raises(psycopg2.errors.UniqueViolation):
            postgres.run(f"insert into {table} select * from {table}")


def test_unchanged_rows_are_not_rewritten(postgres: Job) -> None:
    """A refresh writes only changed rows to the marts with one row for each milestone."""
    rows = "select id, ctid::text, title from kantata_marts.{}"
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        postgres.synced(sandbox)
        marts = ("billing_milestones", "milestone_slippage")
        before = {mart: set(postgres.rows(rows.format(mart))) for mart in marts}
        changed, deleted = open_ids(account)[:2]
        account.update_milestone(changed, title="other")
        account.delete_milestone(deleted)
        created = account.create_milestone(title="new")
        postgres.sync(sandbox)
        for mart in marts:
            after = set(postgres.rows(rows.format(mart)))
            assert {row[0] for row in before[mart] - after} == {changed, deleted}
            assert {row[::2] for row in after - before[mart]} == {
                (changed, "other"), (created, "new")
            }  # fmt: skip


def failure(job: Job, sandbox: Sandbox) -> tuple[int, str]:
    """Run a sync that fails; return its exit code and message."""
    with pytest.raises(WarehouseError) as raised:
        job.sync(sandbox)
    assert "postgres:postgres" not in str(raised.value)
    return raised.value.exit_code, str(raised.value)


def test_wrong_password(postgres: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password is a configuration error."""
    wrong = postgres.url.replace("postgres:postgres@", "postgres:wrong@")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", wrong)
    with Sandbox(milestones=30) as sandbox:
        code, error = failure(postgres, sandbox)
    assert (code, "password authentication failed" in error, ":wrong" in error) == (2, True, False)


@pytest.mark.long
def test_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only replica is a configuration error, and the message says what it is."""
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")

    def fill(url: str) -> None:
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
        assert Job("postgres", url).sync(sandbox).exit_code == 0

    with Sandbox(milestones=30) as sandbox, replica(fill) as url:
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
        job = Job("postgres", url)
        assert job.rows("select pg_is_in_recovery()") == [(True,)]
        code, error = failure(job, sandbox)
        assert (code, "read-only" in error, "primary" in error) == (2, True, True)
        assert job.rows("select status from kantata.sync_runs") == [("proven",)]
        assert job.rows("select count(*) from kantata_marts.billing_milestones") == [(30,)]


def test_lock_of_another_role(postgres: Job, roles: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the holder of the lock, as far as the server shows another role."""
    postgres.shortest_wait = 0.0
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", roles)
    with (
        Sandbox(milestones=30) as sandbox,
        closing(psycopg2.connect(postgres.url)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute("select pg_advisory_lock(x'6d696c65'::int, 1), pg_backend_pid()")
        backend = cursor.fetchall()[0][1]
        for name, who in {
            "psql": f"psql, role postgres, process {backend} of the server",
            "": f"a process without a name, role postgres, process {backend} of the server",
            "milestones 7 20260102T030405Z far-away": (
                "milestones, process 7 on far-away since 2026-01-02 03:04:05+0000"
            ),
        }.items():
            cursor.execute("select set_config('application_name', %s, false)", (name,))
            other.commit()
            assert failure(postgres, sandbox) == (75, f"another run is in progress: {who}")
