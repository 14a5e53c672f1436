"""A lake in a folder: a full disk, a folder that cannot be written, tables of others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("deltalake")

import pyarrow as pa
from deltalake import write_deltalake

from pipelines.config.targets import configured_target
from pipelines.ops.lake_check import check_lake
from pipelines.ops.status import read_status
from pipelines.runtime.exit_codes import ExitCode
from tests.support.accounts import open_ids
from tests.support.job import Job
from tests.support.kill_points import Point, died
from tests.support.lake import Lake, synced

pytestmark = pytest.mark.lake
_POINTS = (
    Point("warehouse.lake.tables:lake_tables"),
    Point("warehouse.lake.delta:DeltaStore.overwrite"),
    Point("warehouse.lake.delta:DeltaStore.overwrite", 2),
    Point("warehouse.lake.source:read_contents", 20),
    Point("warehouse.lake.published_runs:write_published"),
    Point("warehouse.lake.copy:LakeCopy._remove_old_versions"),
    Point("warehouse.lake.delta:DeltaStore.vacuum", 3),
    Point("pipelines.sync.lake:_record"),
    Point("warehouse.raw.lake_copies:write_state"),
)


def test_killed_at_each_step_the_next_run_completes(
    job: Job,
    lake: Lake,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """A run that dies at a step of the copy leaves a whole run; the next one completes the copy."""
    monkeypatch.setenv("LAKE__KEEP", "0s")
    with synced(job, milestones=30, seed=31) as sandbox:
        job.sync(sandbox, full=False)
        for point in _POINTS:
            id_ = open_ids(sandbox.account)[0]
            amount = sandbox.account.milestones[id_]["amount_in_cents"]
            sandbox.account.update_milestone(id_, amount_in_cents=amount + 7)
            assert died(job, sandbox, point, full=False), point
            assert lake.reads_all(lake.runs()[-1]), point
            result = job.sync(sandbox, full=False)
            assert result.needs == [], point
            assert lake.runs() == [result.run.run_id]
            assert lake.reads_all(result.run.run_id), point
            name = "kantata_marts.billing_milestones"
            pinned = lake.pinned()[name]
            table = lake.table(name, pinned["version"])
            rows = job.rows(f"select sum(amount_in_cents) from {name}")
            assert [(sum(table["amount_in_cents"].to_pylist()),)] == rows
    record_property("runs killed at a step of the copy", len(_POINTS))


def test_a_full_disk_requires_action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is exit 3 with one line; the warehouse is published, and the next run copies."""
    job = Job("duckdb")
    with _small_disk(tmp_path / "disk") as disk:
        lake = Lake(str(disk / "lake"))
        monkeypatch.setenv("LAKE__URL", lake.url)
        with synced(job, milestones=60, seed=32) as sandbox:
            whole = job.sync(sandbox, full=False).run.run_id
            assert lake.runs() == [whole]
            filler = disk / "filler"
            _fill(filler)
            sandbox.account.update_milestone(open_ids(sandbox.account)[0], amount_in_cents=7)
            result = job.sync(sandbox, full=False)
            assert result.exit_code == ExitCode.ACTION_REQUIRED
            assert "the disk is full: free space there" in result.needs[0]
            rows = "select count(*) from kantata_marts.billing_milestones where amount_in_cents = 7"
            assert job.rows(rows) == [(1,)]
            assert lake.runs() == [whole]
            assert lake.reads_all(whole)
            filler.unlink()
            assert job.sync(sandbox, full=False).needs == []
            assert lake.reads_all(lake.runs()[-1])


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of three megabytes, if this user may."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(file: Path) -> None:
    """Fill the disk of a file."""
    with file.open("wb") as open_file:
        free = shutil.disk_usage(file.parent).free
        open_file.write(b"\0" * free)


@pytest.mark.parametrize("place", ["file/lake", "/proc/lake"])
def test_a_folder_that_cannot_be_written_requires_action(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """It is exit 3 with the folder and what to do; `check` says so before."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAKE__URL", str(tmp_path / place))
    job = Job("duckdb")
    with synced(job, milestones=10, seed=33) as sandbox:
        target = configured_target("duckdb")
        assert target.lake
        checked = check_lake(target, target.lake)
        assert checked.exit_code == ExitCode.ACTION_REQUIRED
        (line,) = job.sync(sandbox, full=False).needs
    for text in (checked.answer, line):
        assert "LAKE__URL" in text
        assert place in text
        assert "\n" not in text
    found = read_status(target)
    assert found.lake
    assert found.lake.run_id is None
    assert found.lake.problem


@pytest.mark.parametrize("path", ["published_runs", "kantata/workspaces"])
def test_tables_of_others_are_not_overwritten(lake: Lake, path: str) -> None:
    """A Delta table that another program made is exit 3, and stays as it was."""
    job = Job("duckdb")
    theirs = pa.table({"run_id": ["theirs"]})
    write_deltalake(f"{lake.url}/{path}", theirs)
    with synced(job, milestones=10, seed=34) as sandbox:
        (line,) = job.sync(sandbox, full=False).needs
    assert f"{path} is a table of another program: set LAKE__URL to another folder" in line
    assert lake.table(path).equals(theirs)
