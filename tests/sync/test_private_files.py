"""What only the loader reads is private, whatever the umask; readers' files are not."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
import typer

from pipelines.cli.errors import handle_errors
from pipelines.config.targets import duckdb_target
from pipelines.ops.file_rights import file_rights
from pipelines.runtime.clock import utc_now
from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.processes import run_milestones
from warehouse.alert_state import AlertState, read_file, write_file
from warehouse.errors import WarehouseUnwritable
from warehouse.ledger.connection import connect_ledger
from warehouse.lineage import replace_loader
from warehouse.moved import Move, mark_as_moved
from warehouse.publish import publish

ANOTHER_USER = 4711
WRONG = {"KANTATA_API_URL": "http://127.0.0.1:9/api/v1", "KANTATA_ACCESS_TOKEN": "abcdefgh"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give links away")


@pytest.fixture
def open_umask(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A umask that gives new files all rights."""
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    before = os.umask(0)
    yield
    os.umask(before)


def _mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


@pytest.mark.usefixtures("open_umask")
def test_new_files_are_private() -> None:
    """Folders, loader and ledger are private; existing rights stay; no trace is left."""
    job = Job("duckdb")
    with Sandbox(milestones=5) as sandbox:
        job.sync(sandbox)
        with connect_ledger(job.target.ledger_url, utc_now):
            pass
        folder = Path(".milestones")
        assert (_mode(folder), _mode(job.target.working)) == (0o700, 0o700)
        assert _mode(folder / "loader.duckdb") == _mode(folder / "ledger.sqlite") == 0o600
        assert _mode("milestones.duckdb") == 0o666
        assert not list(folder.rglob("trace.pickle*"))
        folder.chmod(0o770)
        (folder / "loader.duckdb").chmod(0o660)
        job.sync(sandbox)
        assert (_mode(folder), _mode(folder / "loader.duckdb")) == (0o770, 0o660)


def _rights(job: Job) -> list[tuple[str, int]]:
    return [(result.answer, result.exit_code) for result in file_rights(job.target)]


def test_rights_of_others_are_reported() -> None:
    """A line for each private file: rights of all users fail the check, those of a group do not."""
    job, folder, secrets = Job("duckdb"), Path(".milestones"), Path(".dlt/secrets.toml")
    private = (folder, folder / "loader.duckdb", folder / "ledger.sqlite", folder / "error.log")
    secrets.parent.mkdir()
    folder.mkdir(mode=0o700)
    for path in (*private[1:], secrets, Path("milestones.duckdb")):
        path.touch(mode=0o644)
        path.chmod(0o644)
    secrets.chmod(0o600)
    Path(".milestones/error.log").chmod(0o600)
    group = folder.group()
    within = [(f"the group {group} can read {path}", 0) for path in private[1:3]]
    nobody = [("only their owner can read the private files", 0)]
    assert _rights(job) == nobody  # nobody else can enter the folder
    folder.chmod(0o710)
    assert _rights(job) == within
    folder.chmod(0o777)
    found = [
        (f"every user of this machine can read{more} {path}: chmod o-rwx {path}", 3)
        for path, more in zip(private[:3], (" and change", "", ""), strict=True)
    ]
    assert _rights(job) == found
    for path in private:
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert _rights(job) == nobody


def test_rights_of_the_secrets_file_are_reported() -> None:
    """`check` reads the settings as every command does."""
    secrets = Path(".dlt/secrets.toml")
    secrets.parent.mkdir()
    secrets.write_text("")
    secrets.chmod(0o664)
    shown = json.loads(run_milestones("check", "--json", env=os.environ | WRONG).stdout)
    (rights,) = (result for result in shown if result["question"] == "file rights")
    assert rights["answer"].startswith("every user of this machine can read ")
    assert rights["answer"].endswith(".dlt/secrets.toml")


@needs_root
def test_a_link_of_another_user_is_not_published_to() -> None:
    """It could lead to any file of ours; our own links are followed."""
    Path("mine").write_text("mine")
    Path("link").symlink_to("mine")
    Path("milestones.duckdb").symlink_to("link")
    os.lchown("link", ANOTHER_USER, ANOTHER_USER)
    with duckdb.connect("loader.duckdb"):
        pass
    with pytest.raises(WarehouseUnwritable, match="a link of another user"):
        publish(Path("loader.duckdb"), Path("milestones.duckdb"))
    assert Path("mine").read_text() == "mine"
    os.lchown("link", os.geteuid(), os.getegid())
    publish(Path("loader.duckdb"), Path("milestones.duckdb"))
    assert Path("mine").read_bytes() == Path("loader.duckdb").read_bytes()


@needs_root
def test_a_link_of_another_user_gets_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """The error is still reported in one line."""
    Path(".milestones").mkdir()
    Path("mine").write_text("mine")
    error_log = Path(".milestones/error.log")
    error_log.symlink_to(Path("mine").absolute())
    os.lchown(error_log, ANOTHER_USER, ANOTHER_USER)
    with pytest.raises(typer.Exit), handle_errors(as_json=False, checks_settings=False):
        raise RuntimeError("a bug")
    assert "RuntimeError: a bug (details are not saved: " in capsys.readouterr().err
    assert Path("mine").read_text() == "mine"


def test_a_link_in_place_of_a_new_file_is_not_followed(tmp_path: Path) -> None:
    """What the link leads to keeps its content, and the file is written all the same."""
    target = duckdb_target(tmp_path / "loader.duckdb", tmp_path / "published.duckdb")
    moved = [tmp_path / "loader.moved.json", tmp_path / "published.duckdb.moved.json"]
    state = tmp_path / "state.json"
    others = tmp_path / "precious"
    others.write_text("precious")
    for file in (*moved, state):
        for name in (f"{file.name}.new", f"{file.stem}.new"):
            file.with_name(name).unlink(missing_ok=True)
            file.with_name(name).symlink_to(others)
    mark_as_moved(
        target,
        Move(moved_to="db", moved_at="2027", is_complete=True, retired_ledger=None, ledger=None),
    )
    write_file(state, AlertState(condition="failed"))
    assert others.read_text() == "precious"
    assert read_file(state).condition == "failed"
    assert all("moved_to" in file.read_text() and not file.is_symlink() for file in moved)


def test_a_link_in_place_of_a_copy_is_not_followed(tmp_path: Path) -> None:
    """Nor is one with the name of a copy that a killed process left: it is removed like that."""
    loader, published = tmp_path / "loader.duckdb", tmp_path / "published.duckdb"
    others = tmp_path / "precious"
    others.write_text("precious")
    left = [file.with_name(f".{file.name}.{os.getpid()}.new") for file in (loader, published)]
    for link in left:
        link.symlink_to(others)
    duckdb.connect(str(loader)).close()
    publish(loader, published)
    before = loader.read_bytes()
    loader.unlink()
    replace_loader(duckdb_target(loader, published), published)
    assert loader.read_bytes() == before
    assert (others.read_text(), _mode(loader)) == ("precious", 0o600)
    assert sorted(tmp_path.iterdir()) == [loader, others, published]
