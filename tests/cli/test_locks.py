"""Locks of files that cannot be had: on file systems without them, and in the hands of others."""

from __future__ import annotations

import errno
import json
import os

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.no_flock import skip_unless_possible
from tests.support.processes import start_function


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
