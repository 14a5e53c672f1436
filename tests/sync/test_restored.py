"""What cannot be read again from Kantata is never replaced by a copy that knows less."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pipelines.ops.marts import rebuild_marts
from pipelines.ops.restore import restore
from pipelines.runtime.clock import utc_now
from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job
from warehouse.errors import WarehouseDamaged, WarehouseError, WarehouseMisconfigured
from warehouse.locks import file_lock
from warehouse.reader import open_reader

HISTORY = (
    "select count(*), count(case when version > 1 then 1 end) "
    "from kantata.billing_milestone_versions"
)
PUBLISHED = Path("milestones.duckdb")
LOADER = Path(".milestones/loader.duckdb")


def _change(sandbox: Sandbox) -> None:
    sandbox.account.update_milestone(open_ids(sandbox.account)[0], title=f"title {utc_now()}")


def _published_runs() -> int:
    with duckdb.connect(str(PUBLISHED), read_only=True) as connection:
        return int(connection.execute("select count(*) from kantata.sync_runs").fetchall()[0][0])


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A small account."""
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    with Sandbox(milestones=30) as sandbox:
        yield sandbox


@pytest.fixture
def synced(sandbox: Sandbox) -> Job:
    """A DuckDB warehouse with a second version of a milestone."""
    job = Job("duckdb")
    job.synced(sandbox)
    _change(sandbox)
    job.sync(sandbox, full=False)
    return job


@pytest.mark.parametrize(
    "loss", ["missing", *(pytest.param(n, marks=pytest.mark.long) for n in ("no bytes", "no runs"))]
)
def test_a_lost_loader_is_restored(sandbox: Sandbox, synced: Job, loss: str) -> None:
    """The next run restores it from the published file, with all versions, and ends with 3 once."""
    before = synced.rows(HISTORY)
    if loss == "missing":
        shutil.rmtree(".milestones")
    else:
        LOADER.write_bytes(b"")
    if loss == "no runs":
        LOADER.unlink()
        duckdb.connect(str(LOADER)).close()
    with pytest.raises(WarehouseError, match=r"sync|exists, but it is not"):
        rebuild_marts(synced.target)
    result = synced.sync(sandbox, full=False)
    assert result.exit_code == 3
    assert "was restored from milestones.duckdb" in result.run.warnings[0]
    assert synced.rows(HISTORY) == before
    assert _published_runs() == 3
    assert synced.sync(sandbox, full=False).exit_code == 0


@pytest.mark.long
def test_a_damaged_loader_is_restored(sandbox: Sandbox, synced: Job) -> None:
    """A run ends with 1 and says how; status reads the published file."""
    before = synced.rows(HISTORY)
    with LOADER.open("r+b") as file:
        file.truncate(200_000)
    with pytest.raises(WarehouseDamaged, match="milestones restore --from published") as raised:
        synced.sync(sandbox)
    assert raised.value.exit_code == 1
    with open_reader(synced.target) as reader:
        assert "is damaged" in reader.source
        assert reader.rows(HISTORY) == before
    restore(synced.target, "published", "damaged", utc_now)
    assert synced.sync(sandbox, full=False).exit_code == 0
    assert synced.rows(HISTORY) == before


def test_an_empty_loader_beside_a_published_file(synced: Job) -> None:
    """Readers use the published file, as if the other one did not exist."""
    before = synced.rows(HISTORY)
    LOADER.write_bytes(b"")
    with open_reader(synced.target) as reader:
        assert (reader.source, reader.rows(HISTORY)) == (str(PUBLISHED), before)


def test_a_loader_that_is_no_duckdb_file(synced: Job) -> None:
    """Readers use the published file; without one, the message names what remains."""
    before = synced.rows(HISTORY)
    LOADER.write_bytes(b"damaged" * 1000)
    with open_reader(synced.target) as reader:
        assert reader.rows(HISTORY) == before
        assert reader.source.startswith(f"{PUBLISHED} (cannot read ")
    PUBLISHED.unlink()
    alone = f"{LOADER} is damaged, and there is no published file: .* restore --from FILE "
    with pytest.raises(WarehouseDamaged, match=alone), open_reader(synced.target):
        pass


def test_two_damaged_files_do_not_advise_each_other(synced: Job) -> None:
    """The messages name what remains: a backup, or to read the account again."""
    whole = LOADER.read_bytes()
    for file in (LOADER, PUBLISHED):
        os.truncate(file, 200_000)
    remains = "restore --from FILE .* remove both files and run `milestones sync`"
    damaged = pytest.raises(WarehouseDamaged, match=f"loader.duckdb is damaged, too. .*{remains}")
    with damaged, open_reader(synced.target):
        pass
    with pytest.raises(WarehouseError, match=f"cannot restore milestones.duckdb: .*{remains}"):
        restore(synced.target, "published", "damaged", utc_now)
    LOADER.unlink()
    with pytest.raises(WarehouseDamaged, match=remains), open_reader(synced.target):
        pass
    LOADER.write_bytes(whole)
    damaged = pytest.raises(WarehouseDamaged, match=r"is damaged: .*The next sync replaces it$")
    with file_lock(synced.target.lock), damaged, open_reader(synced.target):
        pass


def test_an_older_loader_is_refused(sandbox: Sandbox, synced: Job) -> None:
    """Nothing is published from it until a person says which copy to use."""
    shutil.copy(LOADER, "old.duckdb")
    _change(sandbox)
    synced.sync(sandbox, full=False)
    newest = synced.rows(HISTORY)
    shutil.copy("old.duckdb", LOADER)
    for command in (lambda: synced.sync(sandbox), lambda: rebuild_marts(synced.target)):
        with pytest.raises(WarehouseError, match="does not know; its last run is") as refused:
            command()
        assert refused.value.exit_code == 1
    assert _published_runs() == 3
    restored = restore(synced.target, "published", "disk failure", utc_now)
    assert restored.last_run_id == restored.replaced_run_id
    assert synced.rows(HISTORY) == newest
    assert synced.sync(sandbox, full=False).exit_code == 0


@pytest.mark.long
def test_an_old_backup_can_be_restored_on_purpose(sandbox: Sandbox, synced: Job) -> None:
    """It is published, its reason is kept, and the next run continues from it."""
    shutil.copy(PUBLISHED, "backup.duckdb")
    before = synced.rows(HISTORY)
    _change(sandbox)
    synced.sync(sandbox, full=False)
    with pytest.raises(WarehouseError, match="no file nowhere"):
        restore(synced.target, "nowhere.duckdb", "test", utc_now)
    Path("text.duckdb").write_text("no database")
    with pytest.raises(WarehouseError, match="cannot restore text"):
        restore(synced.target, "text.duckdb", "test", utc_now)
    restored = restore(synced.target, "backup.duckdb", "test of the backup", utc_now)
    assert str(restored.replaced_run_id) > restored.last_run_id
    assert synced.rows(HISTORY) == before
    assert synced.rows("select source, reason from kantata.restores") == [
        ("backup.duckdb", "test of the backup")
    ]
    assert _published_runs() == 2
    assert synced.sync(sandbox, full=False).exit_code == 0
    assert synced.rows(HISTORY)[0][0] == before[0][0] + 1


@pytest.mark.long
def test_starting_over(sandbox: Sandbox, synced: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the loader's file, another time zone is refused; without both files all is new."""
    shutil.rmtree(".milestones")
    monkeypatch.setenv("WAREHOUSE__REPORTING_TIMEZONE", "Asia/Tokyo")
    with pytest.raises(WarehouseError, match="reporting time zone UTC, not Asia/Tokyo"):
        synced.sync(sandbox)
    PUBLISHED.unlink()
    assert synced.sync(sandbox).exit_code == 0
    assert _published_runs() == 1


def test_files_of_others_are_not_touched(
    sandbox: Sandbox, synced: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of something else is neither published over, nor loaded into, nor restored."""
    with duckdb.connect("team.duckdb") as connection:
        connection.execute("create table budget as select 1 as amount")
    Path("notes.txt").write_text("keep me")
    for name, file in (
        ("WAREHOUSE__PUBLISH_TO", "team.duckdb"),
        ("WAREHOUSE__PUBLISH_TO", "notes.txt"),
        ("WAREHOUSE__PUBLISH_TO", ".milestones/loader.lock"),
        ("DESTINATION__DUCKDB__CREDENTIALS", "team.duckdb"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, file)
            with pytest.raises(WarehouseMisconfigured, match="is no warehouse of milestones"):
                synced.sync(sandbox)
    assert Path("notes.txt").read_text() == "keep me"
    with duckdb.connect("team.duckdb", read_only=True) as connection:
        assert connection.execute("show tables").fetchall() == [("budget",)]


@pytest.mark.long
def test_a_file_of_another_account_is_not_restored(
    synced: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by a person nor by a run; the message names both accounts."""
    with Sandbox(milestones=20, seed=2) as other:
        shutil.rmtree(".milestones")
        with pytest.raises(WarehouseMisconfigured, match=r"account 4711 .*4712 .*connected"):
            synced.sync(other)
        assert not LOADER.exists()
        monkeypatch.setenv("WAREHOUSE__PUBLISH_TO", "theirs.duckdb")
        synced.sync(other)
        loaded = LOADER.read_bytes()
        with pytest.raises(WarehouseMisconfigured, match=r"account 4711 .* from account 4712"):
            restore(synced.target, "milestones.duckdb", "wrong file", utc_now)
        monkeypatch.setenv("WAREHOUSE__PUBLISH_TO", "milestones.duckdb")
        with pytest.raises(WarehouseMisconfigured, match=r"account 4711 .* from account 4712"):
            synced.sync(other)
        assert LOADER.read_bytes() == loaded


@pytest.mark.long
def test_a_damaged_loader_is_replaced(sandbox: Sandbox, synced: Job) -> None:
    """A run refuses it and names the command that replaces it; that command works."""
    before = synced.rows(HISTORY)
    LOADER.write_bytes(b"damaged" * 1000)
    with pytest.raises(WarehouseMisconfigured, match="milestones restore --from published"):
        synced.sync(sandbox)
    restore(synced.target, "published", "damaged disk", utc_now)
    assert synced.rows(HISTORY) == before
    assert synced.sync(sandbox, full=False).exit_code == 0
