"""Locks of files that cannot be had: on file systems without them, and in the hands of others."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import ExitStack

import pytest

from pipelines.config.settings import kantata_settings
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import locked
from sources.kantata_sandbox import Sandbox
from tests.support.equality import assert_equal
from tests.support.holder import NotOpened, held_open
from tests.support.job import Job
from tests.support.no_flock import skip_unless_possible
from tests.support.processes import run_milestones, start_function
from warehouse.errors import OpenElsewhere, WarehouseError


def _without_flock(sandbox: Sandbox, number: int, *words: str) -> tuple[int, str, str]:
    """Run a command on a file system without locks; return its exit code and its output."""
    settings = {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": sandbox.token}
    function = "tests.support.no_flock:milestones_without_flock"
    with start_function(function, number, *words, env=os.environ | settings) as process:
        out, err = process.communicate(600)
        return process.wait(), out, err


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO, errno.ESTALE])
def test_file_systems_without_locks(number: int) -> None:
    """A run ends with 2 in one line that names the folder, in `check` too; reading still works."""
    skip_unless_possible()
    line = f"/.milestones/loader.lock: {os.strerror(number)} (errno {number}). The file system"
    with Sandbox(milestones=5) as sandbox:
        for words in (("sync",), ("run",), ("check",)):
            sandbox.requests.clear()
            code, out, err = _without_flock(sandbox, number, *words)
            shown = [text for text in (out + err).splitlines() if line in text]
            assert (code, len(shown)) == (2, 1), out + err
            if words != ("check",):
                assert err.count("\n") == 1
                assert not sandbox.requests
        if number == errno.ENOLCK:
            Job("duckdb").synced(sandbox)
            code, out, err = _without_flock(sandbox, number, "status", "--json")
            assert code == 0, err
            assert line in json.loads(out)["source"]


def _sync_while_opened(job: Job, step: str) -> None:
    """Sync while another process opens the loader's file when a step begins."""
    loader = job.target.loader
    assert loader
    with ExitStack() as reader, locked(job.target) as lock:

        def at(phase: str) -> None:
            if phase == step:
                reader.enter_context(held_open(loader))

        observer = RunObserver(phase=at, began=lambda _: at("begun"))
        sync(kantata_settings(), lock, SyncOptions(), observer)


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_a_loader_file_that_is_opened_during_a_run(job: Job) -> None:
    """If another process can open the loader's file, a run ends with 75, and the next one works."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        sandbox.account.create_milestone(title="publishing")
        with pytest.raises(OpenElsewhere, match=r"\(PID \d+\)") as raised:
            _sync_while_opened(job, "publishing")
        assert raised.value.exit_code == 75
        for step in ("begun", "loading"):  # the run has it open from its first step to its last
            sandbox.account.create_milestone(title=step)
            with pytest.raises(NotOpened):
                _sync_while_opened(job, step)
        job.sync(sandbox)
        assert_equal(job, sandbox.account)


def test_commands_while_a_person_has_the_loader_file_open(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that need the file end with 75 in one line; others read the published file."""
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_url)
    monkeypatch.setenv("PUSH__ENABLED", "true")
    job = Job("duckdb")
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        settings = {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": sandbox.token}
        assert job.target.loader
        assert job.target.published
        with held_open(job.target.loader, read_only=False):
            for words in (
                "sync", "run", "models", "checks", "check", "move", "rebind --reason r",
                "restore --from loader --reason r",
            ):  # fmt: skip
                result = run_milestones(*words.split(), env=os.environ | settings)
                shown = [line for line in result.stdout.splitlines() if "✗" in line]
                (line,) = shown or result.stderr.replace("copying\n", "").splitlines()
                assert (result.returncode, "is open in another process" in line) == (75, True), line
            for code in (0, 75):
                result = run_milestones("status", env=os.environ | settings)
                assert result.returncode == code, result.stderr
                job.target.published.unlink(missing_ok=True)


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_a_published_file_that_a_person_has_open(job: Job) -> None:
    """A published file that is open for writing still counts: nothing that it knows is lost."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        loader, published = job.target.loader, job.target.published
        assert loader
        assert published
        shutil.copy(loader, "older")
        job.sync(sandbox)
        loader.unlink()
        with held_open(published, read_only=False):
            assert job.sync(sandbox).exit_code == 3  # restored from it
        assert job.rows("select count(*) from kantata.sync_runs") == [(3,)]
        shutil.copy("older", loader)
        content = published.read_bytes()
        with held_open(published, read_only=False), pytest.raises(WarehouseError) as raised:
            job.sync(sandbox)
        assert (raised.value.exit_code, published.read_bytes() == content) == (1, True)
