"""The command line as people and cron use it: a process with output and an exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from pipelines.cli.app import app
from sources.kantata_sandbox import Account, Fault, Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.page import Page
from tests.support.processes import COMMAND, ROOT, run_milestones, start_milestones
from warehouse.locks import file_lock


def milestones(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line, without a token unless given."""
    return run_milestones(*arguments, env=os.environ | environment, timeout=600)


def access(sandbox: Sandbox) -> dict[str, str]:
    """Return the address and token of a sandbox as environment variables."""
    return {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": sandbox.token}


@contextmanager
def sandbox_process(*arguments: str) -> Iterator[dict[str, str]]:
    """Run a sandbox in another process, as in another terminal; yield the variables it prints."""
    with start_milestones("sandbox", *arguments, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        printed = "".join(process.stdout.readline() for _ in range(4))
        yield dict(re.findall(r"export (\w+)=(\S+)", printed))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.parametrize("count", [450, pytest.param(10_000, marks=pytest.mark.long)])
def test_sync_from_another_terminal(count: int) -> None:
    """After a sync from a sandbox in another process, the warehouse equals the account."""
    with sandbox_process("--milestones", str(count), "--seed", "7") as variables:
        result = milestones("sync", "--json", **variables)
    assert result.returncode == 0, result.stderr
    for step in ("reading", "loading", "validating", "building marts", "publishing"):
        assert step in result.stderr.splitlines()
    shown = json.loads(result.stdout)
    assert (shown["rows_read"], shown["added"], shown["status"]) == (count, count, "proven")
    account = Account.seeded(count, 7)
    assert_equal(Job("duckdb"), account)
    shutil.copy("milestones.duckdb", "copy.duckdb")
    with duckdb.connect("copy.duckdb", read_only=True) as published:
        rows = published.execute("select count(*) from kantata.billing_milestones").fetchone()
        assert rows == (count,)


_WRONG = {
    "no token": ({}, 2, "no token: set KANTATA_ACCESS_TOKEN"),
    "a shorter name": ({"ACCESS_TOKEN": "someone-elses"}, 2, "no token"),
    "no such host": ({"KANTATA_API_URL": "https://kantata.invalid/api/v1"}, 75, "resolve"),
    "http elsewhere": ({"KANTATA_API_URL": "http://192.0.2.1/api/v1"}, 2, "Use https"),
    "not a number": ({"SOURCES__KANTATA__REQUESTS_IN_FLIGHT": "x"}, 2, "REQUESTS_IN_FLIGHT is"),
    "no database": ({"DESTINATION__DUCKDB__CREDENTIALS": ":memory:"}, 2, "path of a file"),
    "dataset's name": ({"DESTINATION__DUCKDB__CREDENTIALS": "kantata.duckdb"}, 2, "another file"),
    "same file": ({"WAREHOUSE__PUBLISH_TO": ".milestones/loader.duckdb"}, 2, "another file"),
    "same file by another way": (
        {"WAREHOUSE__PUBLISH_TO": ".milestones/../.milestones/loader.duckdb"}, 2, "cannot be both"
    ),
    "a view's schema": (
        {"DESTINATION__DUCKDB__CREDENTIALS": "kantata_stg.duckdb"}, 2, "the loader's file cannot"
    ),
    "published as the dataset": (
        {"WAREHOUSE__PUBLISH_TO": "out/Kantata.2027.duckdb"}, 2, "the schema kantata."
    ),
    "published as the marts": (
        {"WAREHOUSE__PUBLISH_TO": "kantata_marts.duckdb"}, 2, "the schema kantata_marts."
    ),
    "published as dlt's own": ({"WAREHOUSE__PUBLISH_TO": "kantata_staging.db"}, 2, "be called"),
    "published nowhere": ({"WAREHOUSE__PUBLISH_TO": ""}, 2, "WAREHOUSE__PUBLISH_TO is empty"),
    "published to a folder": ({"WAREHOUSE__PUBLISH_TO": "/"}, 2, "/ is a folder"),
    "loaded into a folder": ({"DESTINATION__DUCKDB__CREDENTIALS": "."}, 2, "is a folder"),
    "below a file": ({"DESTINATION__DUCKDB__CREDENTIALS": "afile/x.duckdb"}, 2, "is not a folder"),
    "no DuckDB file": ({"DESTINATION__DUCKDB__CREDENTIALS": "afile"}, 2, "is no warehouse of"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", _WRONG)
def test_wrong_settings(wrong: str) -> None:
    """A wrong setting gives one line on stderr, or JSON on stdout, and its exit code."""
    environment, code, words = _WRONG[wrong]
    Path("afile").write_text("no database, and long enough to be none")
    if "token" not in words:
        environment = {"KANTATA_ACCESS_TOKEN": "abcdefgh"} | environment
    result = milestones("sync", **environment)
    assert (result.returncode, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    shown = CliRunner().invoke(app, ["sync", "--json"], env=environment)
    assert (shown.exit_code, json.loads(shown.stdout)["exit_code"]) == (code, code)
    assert not Path("milestones.duckdb").exists()
    if code == 2:  # it is reported before any file is created
        assert not list(Path().glob("**/*.duckdb"))


def test_postgres_that_does_not_answer() -> None:
    """A Postgres that refuses connections gives exit code 75; its password is not shown."""
    settings = {
        "KANTATA_ACCESS_TOKEN": "abcdefgh",
        "DESTINATION__POSTGRES__CREDENTIALS": "postgresql://u:hidden-word@127.0.0.1:1/db",
    }
    result = milestones("sync", "--destination", "postgres", **settings)
    assert result.returncode == 75
    assert "Connection refused" in result.stderr
    assert "hidden-word" not in result.stderr
    del settings["DESTINATION__POSTGRES__CREDENTIALS"]
    assert milestones("sync", "--destination", "postgres", **settings).returncode == 2


def test_a_password_that_the_driver_repeats() -> None:
    """A password written as sslmode, too, is in no output."""
    settings = {
        "KANTATA_ACCESS_TOKEN": "abcdefgh",
        "KANTATA_API_URL": "http://127.0.0.1:9/api/v1",
        "SOURCES__KANTATA__BACKOFF_SECONDS": "0",
        "DESTINATION__POSTGRES__CREDENTIALS": "postgresql://u:hidden%2Fword@127.0.0.1:1/db"
        "?sslmode=hidden%2Fword",
    }
    for words in (("sync",), ("run", "--log-format", "json"), ("check", "--json"), ("changes",)):
        result = milestones(*words, "--destination", "postgres", **settings)
        assert result.returncode == 2 or words[0] == "check"
        assert "sslmode" in result.stdout + result.stderr
        assert "hidden" not in result.stdout + result.stderr


def test_too_little_memory() -> None:
    """If DuckDB's memory limit is too low or invalid, the message says how to set it."""
    with Sandbox(milestones=300) as sandbox:
        small = milestones("sync", WAREHOUSE__MEMORY_LIMIT="8MB", **access(sandbox))
        assert small.returncode == 2, small.stderr
        assert "WAREHOUSE__MEMORY_LIMIT=1GB" in small.stderr
        wrong = milestones("sync", WAREHOUSE__MEMORY_LIMIT="much", **access(sandbox))
        assert (wrong.returncode, "512MB" in wrong.stderr) == (2, True)


def test_check_and_probe() -> None:
    """Check prints one line for each question, and exits with the worst code a run would."""
    with Sandbox(milestones=300) as sandbox:
        good = milestones("check", "--probe", **access(sandbox))
        assert good.returncode == 0, good.stdout
        for line in (
            "valid: it is the token of",
            "300 readable, with their",
            "event feed",
            "probe: order: applied",
        ):
            assert line in good.stdout
        assert {served.method for served in sandbox.requests} == {"GET"}
        sandbox.misbehave(Fault("refuse", status=403, path="billing_milestones"))
        bad = milestones("check", **access(sandbox))
        assert (bad.returncode, bad.stdout.count("✗")) == (2, 1)
        wrong = milestones("check", **access(sandbox) | {"KANTATA_ACCESS_TOKEN": "wrong-one"})
        assert wrong.returncode == 2
        assert "wrong-one" not in wrong.stdout + wrong.stderr
        none = milestones("check", **access(sandbox) | {"KANTATA_ACCESS_TOKEN": ""})
        assert (none.returncode, "no token" in none.stdout) == (2, True)
        assert "warehouse: " in none.stdout  # the rest is checked all the same
        sandbox.behave()
        sandbox.account.advance(86_400)
        late = milestones("check", **access(sandbox), WAREHOUSE__MODELS="missing")
        assert "✗ clock" in late.stdout  # which requires action, and no run ends with that code
        assert late.returncode == 2


def test_status() -> None:
    """Status shows all runs, failed ones too, and amounts by month that add up."""
    assert milestones("status").returncode == 2
    with Sandbox(milestones=300) as sandbox:
        Job("duckdb").synced(sandbox)
        sandbox.misbehave(Fault("refuse", status=403))
        assert milestones("sync", **access(sandbox)).returncode == 2
        shown = json.loads(milestones("status", "--json").stdout)
        assert [run["status"] for run in shown["runs"]] == ["failed", "proven"]
        sums = {m["currency"]: 0 for m in shown["months"]}
        for month in shown["months"]:
            sums[month["currency"]] += month["subunits"]
        for currency, total in sums.items():
            held = sandbox.account.milestones.values()
            assert total == sum(m["amount_in_cents"] for m in held if m["currency"] == currency)
    assert "validated" in milestones("status").stdout


def test_demo() -> None:
    """The demo needs no token, ends with the write-back and the report, and shows the marts."""
    result = milestones("demo", LEDGER__URL="sqlite:///mine.sqlite")
    assert not Path("mine.sqlite").exists()
    assert result.returncode == 0, result.stderr
    assert not Path(".milestones").stat().st_mode & 0o077  # else `check` would complain
    for part in (
        "1 added, 4 changed, 1 deleted (feed",
        "0 added, 1 changed (scan",
        "amount changed",
        "milestones-demo.duckdb",
        "█",
        "2027-03-31 → 2027-02-28",
        "proposed by ana, approved by ben",
        "1 applied, 0 not applied",
        "approved → applying: sending update",
    ):
        assert part in result.stdout
    sql = result.stdout.partition("try:")[2]
    with duckdb.connect("milestones-demo.duckdb", read_only=True) as connection:
        found = {row[:2]: row[3] for row in connection.execute(sql).fetchall()}
    overdue = re.search(r"^overdue +([\d,.]+)", result.stdout, re.MULTILINE)
    assert overdue
    assert Decimal(overdue[1].replace(",", "")) == found["USD", "overdue"]
    report = Page(Path("milestones-demo.html").read_text())
    assert "Changed since the report of" in report.text
    for amount in found.values():
        assert f"{amount.normalize():,f}" in report.text.replace(".00 ", " "), amount


def test_sandbox_on_a_taken_port() -> None:
    """A taken port is reported without a traceback."""
    with sandbox_process() as variables:
        port = variables["KANTATA_API_URL"].split(":")[2].split("/")[0]
        result = milestones("sandbox", "--port", port)
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert f"port {port}" in result.stderr


@pytest.mark.long
def test_readers_do_not_block_a_run() -> None:
    """A reader with the published file open keeps its copy; the next run replaces the file."""
    with Sandbox(milestones=60) as sandbox:
        Job("duckdb").synced(sandbox)
        with duckdb.connect("milestones.duckdb", read_only=True) as reader:
            sandbox.account.create_milestone()
            assert milestones("sync", **access(sandbox)).returncode == 0
            count = "select count(*) from kantata.billing_milestones"
            assert reader.execute(count).fetchone() == (60,)
        with duckdb.connect("milestones.duckdb", read_only=True) as reader:
            assert reader.execute(count).fetchone() == (61,)


def test_unwritable_published_file() -> None:
    """If the file for readers cannot be written, the run fails and says so; the next succeeds."""
    Path("afile").write_text("x")
    with Sandbox(milestones=60) as sandbox:
        Job("duckdb").synced(sandbox)
        result = milestones("sync", WAREHOUSE__PUBLISH_TO="afile/x.duckdb", **access(sandbox))
        assert (result.returncode, "cannot publish" in result.stderr) == (1, True)
        assert milestones("sync", **access(sandbox)).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("3m", 60),
        ("14m", 60),
        *(pytest.param(size, 20_000, marks=pytest.mark.long) for size in ("3m", "8m", "14m")),
    ],
)
def test_full_disk(size: str, count: int) -> None:
    """A disk that fills up during a run is reported; with more room, the next run succeeds."""
    disk = Path("disk")
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounts")
    try:
        settings = {
            "DESTINATION__DUCKDB__CREDENTIALS": "disk/loader.duckdb",
            "WAREHOUSE__PUBLISH_TO": "disk/milestones.duckdb",
        }
        with Sandbox(milestones=count) as sandbox:
            result = milestones("sync", **settings, **access(sandbox))
            assert result.returncode == 1, result.stderr
            assert "cannot " in result.stderr
            assert "Traceback" not in result.stderr
            assert not (disk / "milestones.duckdb").exists()
            again = ["mount", "-o", "remount,size=400m", str(disk)]
            subprocess.run(again, check=True, capture_output=True)
            result = milestones("sync", **settings, **access(sandbox))
            assert result.returncode == 0, result.stderr
            os.environ["DESTINATION__DUCKDB__CREDENTIALS"] = settings[
                "DESTINATION__DUCKDB__CREDENTIALS"
            ]
            assert_equal(Job("duckdb"), sandbox.account)
    finally:
        os.environ.pop("DESTINATION__DUCKDB__CREDENTIALS", None)
        subprocess.run(["umount", str(disk)], check=False)


_UNREADABLE = {
    "config.toml": b"[alerts",
    "secrets.toml": b'kantata_access_token = "\xff"',
}


@pytest.mark.parametrize("file", _UNREADABLE)
def test_invalid_settings_files(file: str) -> None:
    """An invalid settings file is reported in one line that names it, also in the log of a run."""
    Path(".dlt").mkdir()
    (Path(".dlt") / file).write_bytes(_UNREADABLE[file])
    for command in ("sync", "status", "check", "changes"):
        result = milestones(command)
        assert (result.returncode, result.stdout) == (2, "")
        (line,) = result.stderr.splitlines()
        assert f".dlt/{file}" in line
    result = milestones("run", "--log-format", "json")
    (line,) = result.stderr.splitlines()
    shown = json.loads(line)
    assert (result.returncode, shown["event"], shown["exit_code"]) == (2, "end", 2)
    assert f".dlt/{file}" in shown["error"]


@pytest.mark.parametrize("url", ["https://[::1/x", "https://kantata.invalid:99999/x"])
def test_invalid_addresses(url: str) -> None:
    """An invalid address in any setting is a configuration error."""
    for name, setting in {
        "KANTATA_API_URL": "kantata_api_url",
        "ALERTS__WEBHOOK_URL": "ALERTS__WEBHOOK_URL",
    }.items():
        result = milestones("run", **{"KANTATA_ACCESS_TOKEN": "abcdefgh", name: url})
        assert result.returncode == 2, result.stderr
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"milestones: {setting} is ")


def test_a_reader_is_not_reported_as_a_run() -> None:
    """A sync that is blocked by a reader names the reader, not a run that has ended."""
    with Sandbox(milestones=30) as sandbox:
        Job("duckdb").synced(sandbox)
        with file_lock(Path(".milestones/loader.lock"), shared=True):
            result = milestones("sync", **access(sandbox))
    assert result.returncode == 75
    assert "the warehouse is being read" in result.stderr
    assert "another run" not in result.stderr


def _as_another_user(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user for whom the rights of files count: root drops that capability."""
    fewer = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    return subprocess.run(
        [*(fewer if os.geteuid() == 0 else []), *COMMAND, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_status_of_another_user() -> None:
    """A user who may not take the lock reads the published file, and status says why."""
    with Sandbox(milestones=30) as sandbox:
        Job("duckdb").synced(sandbox)
    Path(".milestones/loader.lock").chmod(0)
    result = _as_another_user("status", "--json")
    assert result.returncode == 0, result.stderr
    assert (
        "milestones.duckdb (lock file .milestones/loader.lock"
        in json.loads(result.stdout)["source"]
    )


@pytest.mark.long
def test_a_folder_of_another_user() -> None:
    """A user who may not enter the folder reads the published file, and gets one line else."""
    with Sandbox(milestones=30) as sandbox:
        Job("duckdb").synced(sandbox)
    folder = Path(".milestones")
    folder.chmod(0)
    status, changes = _as_another_user("status", "--json"), _as_another_user("changes")
    folder.chmod(0o700)
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["source"] == "milestones.duckdb"
    (line,) = changes.stderr.splitlines()
    assert line.startswith("milestones: cannot use .milestones/ledger.sqlite: Permission denied.")
    assert changes.returncode == 1
