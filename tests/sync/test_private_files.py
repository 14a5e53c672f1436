"""What only the loader reads is private, whatever the umask; readers' files are not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.runtime.clock import utc_now
from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from warehouse.ledger.connection import connect_ledger


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
