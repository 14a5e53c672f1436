"""Behind a connection pooler a run either has its lock for itself, or is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.config.settings import kantata_settings
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import WarehouseLock
from sources.kantata_sandbox import Account, Fault, Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.pgbouncer import pgbouncer
from tests.support.processes import Forked, start_milestones
from tests.support.writing_desk import Desk
from warehouse.database import connect
from warehouse.errors import WarehouseMisconfigured
from warehouse.ledger.change import Action, Status
from warehouse.ledger.push_lock import push_lock
from warehouse.server_lock import ServerLock, ensure_own_session, server_lock

KEY = (7, 7)
REFUSED = "and a lock on it protects nothing. Connect to the server directly"
LOCKS = (
    "select count(*) from pg_locks where locktype = 'advisory' "
    "and database = (select oid from pg_database where datname = current_database())"
)


def _start(folder: Path, sandbox: Sandbox, url: str, *words: str) -> Forked:
    """Start a command on a machine of its own."""
    folder.mkdir(exist_ok=True)
    settings = {
        "KANTATA_API_URL": sandbox.url,
        "KANTATA_ACCESS_TOKEN": sandbox.token,
        "WAREHOUSE__DESTINATION": "postgres",
        "DESTINATION__POSTGRES__CREDENTIALS": url,
    }
    return start_milestones(*words, env=os.environ | settings, cwd=folder)


@pytest.mark.parametrize("size", [1, 5])
def test_runs_behind_a_pool_by_transaction(postgres: Job, tmp_path: Path, size: int) -> None:
    """Two runs at once are refused with 2 before they read, `check` says why, and no lock stays."""
    with (
        Sandbox(milestones=60) as sandbox,
        pgbouncer(tmp_path / "pool", postgres.url, "transaction", size) as url,
    ):
        runs = [_start(tmp_path / name, sandbox, url, "sync") for name in ("one", "two")]
        for run in runs:
            _, log = run.communicate(600)
            (line,) = log.splitlines()
            assert (run.returncode, REFUSED in line) == (2, True), log
        assert not sandbox.requests
        shown, _ = (check := _start(tmp_path / "one", sandbox, url, "check")).communicate(600)
        assert (check.returncode, REFUSED in shown) == (2, True), shown
        assert postgres.rows(LOCKS) == [(0,)]


def test_runs_behind_a_pool_by_session(postgres: Job, tmp_path: Path) -> None:
    """A pool that gives each connection a session of its own changes nothing: the second is 75."""
    with (
        Sandbox(milestones=60) as sandbox,
        pgbouncer(tmp_path / "pool", postgres.url, "session") as url,
    ):
        sandbox.misbehave(Fault("delay", seconds=3, path="billing_milestones", times=1))
        one = _start(tmp_path / "one", sandbox, url, "sync")
        assert one.stderr is not None
        assert "reading\n" in one.stderr
        two = _start(tmp_path / "two", sandbox, url, "sync")
        _, log = two.communicate(600)
        assert (two.returncode, f"process {one.pid} on" in log) == (75, True), log
        _, log = one.communicate(600)
        assert one.returncode == 0, log
        assert_equal(postgres, sandbox.account)


def test_sessions_that_are_shared(
    postgres: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with the session of another one gets no lock; a lock ends with its session."""
    with pgbouncer(tmp_path / "pool", postgres.url, "transaction", 2) as url:
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
        pooled = postgres.target.destination
        with connect(pooled) as one, connect(pooled) as two:
            lock = ServerLock(one.rows, KEY)
            assert lock.try_take()
            lock.ensure_held()
            with pytest.raises(WarehouseMisconfigured):  # it was given the same session
                ServerLock(two.rows, KEY).try_take()
            two.execute("select set_config('milestones.lock_mark', 'of another', false)")
            with pytest.raises(WarehouseMisconfigured):
                lock.ensure_held()
        with connect(pooled) as one, connect(pooled) as two:
            lock = ServerLock(one.rows, (8, 8))
            assert lock.try_take()
            with two.transaction():
                two.rows("select 1")  # keeps that session
                with pytest.raises(WarehouseMisconfigured):
                    lock.ensure_held()
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres.url)
    direct = postgres.target.destination
    with connect(direct) as one, connect(direct) as two:
        ensure_own_session(one.rows, two.rows)
        assert ServerLock(one.rows, KEY).try_take()
        assert not ServerLock(two.rows, KEY).try_take()


def test_nothing_is_loaded_by_a_session_that_lost_the_lock(postgres: Job) -> None:
    """A run whose connection lives on without its lock is refused before it loads."""
    with (
        Sandbox(milestones=60) as sandbox,
        connect(postgres.target.destination) as database,
        server_lock(database) as held,
    ):

        def lose_lock(_: Account) -> None:
            database.execute("select pg_advisory_unlock_all()")

        os.environ |= {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": sandbox.token}
        sandbox.misbehave(Fault("change", path="billing_milestones", times=1, action=lose_lock))
        lock = WarehouseLock(postgres.target, held)
        with pytest.raises(WarehouseMisconfigured, match="lock on the Postgres server was lost"):
            sync(kantata_settings(), lock, SyncOptions(full=True), RunObserver())
        assert postgres.rows("select count(*) from kantata.billing_milestones") == [(0,)]
        assert postgres.rows("select status from kantata.sync_runs") == [("failed",)]


@contextmanager
def _pool(desk: Desk, folder: Path) -> Iterator[None]:
    """Put a pool by transaction in front of the ledger."""
    direct = desk.url
    with pgbouncer(folder, direct, "transaction") as desk.url:
        yield
    desk.url = direct


def test_pushes_that_cannot_hold_a_lock(postgres: Job, tmp_path: Path) -> None:
    """A push behind a pool by transaction, and one that loses its lock, send nothing."""
    with Sandbox(milestones=30) as sandbox:
        desk = Desk(sandbox, postgres.url)
        change = desk.approved(desk.draft(Action.UPDATE))
        with _pool(desk, tmp_path / "pool"), pytest.raises(WarehouseMisconfigured, match=REFUSED):
            desk.push()

        with desk.ledger() as ledger, push_lock(ledger):
            with ledger.transaction():
                ledger.connection.exec_driver_sql("select pg_advisory_unlock_all()")
            with pytest.raises(WarehouseMisconfigured, match="was lost"):
                ledger.mark_sending(change, who="push", what="sending", at=desk.now)
        assert (desk.change(change).status, desk.sent(change)) == (Status.APPROVED, 0)
        desk.push()
        assert (desk.change(change).status, desk.sent(change)) == (Status.APPLIED, 1)
