"""A process that is forked for a test behaves like one that was started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dlt.common.configuration.container import Container

from tests.support.processes import (
    COMMAND,
    FIXED,
    ROOT,
    fork_server,
    run_milestones,
    start_function,
    start_milestones,
)

HERE = "tests.resilience.test_fork_server"


def report() -> None:
    """Print what a child finds when it starts."""
    handlers = {name: signal.getsignal(getattr(signal, name)) for name in ("SIGINT", "SIGTERM")}
    found = {
        "folder": os.getcwd(),
        "argv": sys.argv,
        "environment": dict(os.environ),
        "files": sorted(os.listdir("/proc/self/fd"))[:-1],  # the last one is the folder's own
        "threads": len(os.listdir("/proc/self/task")),
        "signals": [handlers["SIGINT"] is signal.default_int_handler, handlers["SIGTERM"] == 0],
        "dlt": [str(contexts) for contexts, _ in Container().thread_contexts.values()],
    }
    print(json.dumps(found))


def fail() -> None:
    """Fail with an error."""
    raise LookupError("nothing there")


def reported(**where: Any) -> dict[str, Any]:  # noqa: ANN401 - of `start_function`
    """The report of a child."""
    with start_function(f"{HERE}:report", **where) as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def test_child_has_what_it_is_given(tmp_path: Path) -> None:
    """A child has its own environment, folder, command line, files and signals, and no others."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    found = reported(env={"GIVEN": "ä", "LOAD__WORKERS": "7"} | fixed(), cwd=folder)
    assert found["folder"] == str(folder)
    assert found["argv"] == [f"{HERE}:report"]
    environment = found["environment"]
    assert (environment["GIVEN"], environment["LOAD__WORKERS"]) == ("ä", "7")
    assert environment["RUNTIME__DLTHUB_TELEMETRY"] == "false"  # set by our own code
    assert not {"HOME", "PATH", "PYTEST_CURRENT_TEST"} & environment.keys()
    assert found["files"] == ["0", "1", "2"]
    assert (found["threads"], found["signals"], found["dlt"]) == (1, [True, True], ["{}"])


def fixed() -> dict[str, str]:
    """The variables that a child must have from the server."""
    return {name: value for name, value in os.environ.items() if name.startswith(FIXED)}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc")
def test_server_opens_nothing() -> None:
    """The server has one thread, no file, and no socket except the one for requests."""
    reported()
    process = Path("/proc") / str(fork_server().process.pid)
    assert len(list((process / "task").iterdir())) == 1
    files = {file.name: os.readlink(file) for file in (process / "fd").iterdir()}
    opened = [name for number, name in files.items() if int(number) > 2]
    assert [name.partition(":")[0] for name in opened] == ["socket"]


def test_exit_codes_are_those_of_a_process() -> None:
    """A child reports an exit code, a traceback, and the signal that ended it."""
    with start_function("sys:exit", 3) as process:
        assert process.communicate() == ("", "")
        assert process.returncode == 3
    with start_function(f"{HERE}:fail") as process:
        out, err = process.communicate()
        assert (process.returncode, out) == (1, "")
        assert err.startswith("Traceback")
        assert err.endswith("LookupError: nothing there\n")
    with start_function("nowhere:nothing") as process:
        assert process.communicate()[1].endswith("No module named 'nowhere'\n")
        assert process.returncode == 1
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        with start_function("time:sleep", 1_000) as process:
            assert process.poll() is None
            process.send_signal(number)
            process.communicate()
            assert process.wait() == -number
    with start_function("time:sleep", 1_000) as process, pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.01)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("words", [["status", "--json"], ["sync", "--nonsense"]])
@pytest.mark.long
def test_output_equals_that_of_a_real_process(words: list[str], tmp_path: Path) -> None:
    """Output, errors and exit code are those of a started process, settings included."""
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt" / "config.toml").write_text('[warehouse]\nreporting_timezone = "Mars"\n')
    real = subprocess.run(
        [*COMMAND, *words], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    forked = run_milestones(*words)
    assert (forked.returncode, forked.stdout) == (real.returncode, real.stdout)
    assert forked.stderr == real.stderr.replace("python -m pipelines.cli", "milestones")
    elsewhere = run_milestones(*words, cwd=tmp_path / ".dlt")  # a folder without those settings
    assert ("Mars" in forked.stdout, "Mars" in elsewhere.stdout) == ("--json" in words, False)


def test_output_goes_where_it_is_sent(tmp_path: Path) -> None:
    """Output goes to a file, to the null device, or into a pipe."""
    with (tmp_path / "out").open("w") as out:
        process = start_milestones("status", "--json", stdout=out, stderr=subprocess.DEVNULL)
        assert process.wait() == 2
    assert process.stdout is None
    assert json.loads((tmp_path / "out").read_text())["exit_code"] == 2


def test_variables_of_the_start_are_refused() -> None:
    """A variable that Python or a library reads only at its start is refused."""
    with pytest.raises(ValueError, match="NO_COLOR is read while Python starts"):
        run_milestones("status", env=os.environ | {"NO_COLOR": "1"})
