"""Without a warehouse, commands that need one say so and create nothing; sync creates one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.processes import run_milestones

WHO = ("--as", "bob")
COMMANDS = (
    ("propose", "delete", "1", "--reason", "r", *WHO),
    ("approve", "abc", *WHO),
    ("reject", "abc", "--reason", "r", *WHO),
    ("withdraw", "abc", *WHO),
    ("show", "abc"),
    ("plan",),
    ("push",),
    ("reconcile",),
    ("models",),
    ("checks",),
    ("status",),
    ("rebind", "--reason", "r"),
)
SCHEMAS = "select schema_name from information_schema.schemata where schema_name like 'kantata%'"


def _run(job: Job, *words: str) -> tuple[int, str, str]:
    result = run_milestones(*words, "--destination", job.name, env=os.environ, timeout=600)
    return result.returncode, result.stdout, result.stderr


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that is configured, and never asked."""
    monkeypatch.setenv("KANTATA_API_URL", "http://127.0.0.1:9/api/v1")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "t0ken-x")
    monkeypatch.setenv("PUSH__ENABLED", "true")


@pytest.mark.long_on("postgres")
def test_no_warehouse(job: Job, account: None) -> None:
    """Each command ends with 2 and names the place; only lists stay empty lists."""
    place = (
        str(Path(".milestones").absolute()) if job.name == "duckdb" else "this Postgres database"
    )
    for words in COMMANDS:
        code, out, error = _run(job, *words)
        assert (code, out) == (2, ""), (words, error)
        assert f"there is no warehouse in {place}: run `milestones sync`" in error, words
    for words in (("changes", "--json"), ("audit", "abc", "--json")):
        code, out, error = _run(job, *words)
        assert (code, out) == (0, "[]\n"), (words, error)
        assert "there is no warehouse" in error
    if job.name == "duckdb":
        postgres = {"DESTINATION__POSTGRES__CREDENTIALS": "postgresql://a:b@127.0.0.1:9/x"}
        moved = run_milestones("move", env=os.environ | postgres)
        assert (moved.returncode, "there is no warehouse" in moved.stderr) == (2, True)
        assert not list(Path().rglob("*.duckdb"))
        assert not list(Path().rglob("ledger.sqlite"))
    else:
        assert job.rows(SCHEMAS) == []


@pytest.fixture
def small_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """An account of 30 milestones."""
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    with Sandbox(milestones=30) as sandbox:
        yield sandbox


def test_the_published_file_is_enough_to_monitor(small_account: Sandbox) -> None:
    """On a machine that has only the published file, status and checks work."""
    job = Job("duckdb")
    job.synced(small_account)
    shutil.rmtree(".milestones")
    code, out, error = _run(job, "status")
    assert code == 0, error
    assert "milestones.duckdb" in out
    assert _run(job, "checks")[0] == 0


@pytest.mark.skipif(find_spec("deltalake") is not None, reason="the extra is installed")
def test_a_lake_without_its_extra_is_refused_before_anything_is_read() -> None:
    """With [lake] url and without deltalake, sync ends with 2 and the command to install it."""
    with Sandbox(milestones=5) as sandbox:
        access = {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": sandbox.token}
        result = run_milestones("sync", env=os.environ | access | {"LAKE__URL": "lake"})
        assert result.returncode == 2
        assert "pip install -c constraints.txt -e '.[lake]'" in result.stderr
        assert not sandbox.requests
    assert not Path(".milestones", "loader.duckdb").exists()
    assert run_milestones("config", env=os.environ | {"LAKE__URL": "lake"}).returncode == 0
