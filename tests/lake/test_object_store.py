"""The lake in a bucket of a real S3 server, with everything that goes wrong there."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("deltalake")

from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import kantata_settings
from pipelines.config.targets import configured_target
from pipelines.ops.preflight import preflight
from pipelines.ops.status import read_status
from pipelines.runtime.exit_codes import ExitCode
from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job
from tests.support.lake import Lake, synced
from tests.support.object_store import SECRET, Front
from tests.support.processes import start_milestones

pytestmark = pytest.mark.lake
_SHORT = {"MAX_RETRIES": "1", "RETRY_TIMEOUT": "2s", "TIMEOUT": "3s"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a request after seconds."""
    for key, value in _SHORT.items():
        monkeypatch.setenv(f"LAKE__STORAGE_OPTIONS__{key}", value)


def _edit(sandbox: Sandbox) -> None:
    """Change an amount, as a person would."""
    id_ = open_ids(sandbox.account)[0]
    amount = sandbox.account.milestones[id_]["amount_in_cents"]
    sandbox.account.update_milestone(id_, amount_in_cents=amount + 101)


def test_a_run_is_copied_to_a_bucket(job: Job, bucket: Lake) -> None:
    """Two runs are published in a bucket; each remains readable as it was."""
    with synced(job, milestones=60, seed=21) as sandbox:
        first = job.sync(sandbox, full=False)
        _edit(sandbox)
        second = job.sync(sandbox, full=False)
        assert (first.needs, second.needs) == ([], []), job.notes
        assert not [note for note in job.notes if "failed" in note]
        assert bucket.runs() == [first.run.run_id, second.run.run_id]
        assert bucket.reads_all(first.run.run_id)
        assert bucket.reads_all(second.run.run_id)
        (lake,) = (c for c in _checked(job.name) if c[0] == "lake")
        assert lake[1:] == (f"{bucket.url} can be written; it shows run {second.run.run_id}", 0)


def test_a_store_that_fails_is_a_note_and_then_requires_action(
    watched: Lake, store: Front, impatient: None
) -> None:
    """A 503 is a note while the copy is young, and exit 3 when it is older than ``alert_after``."""
    job = Job("duckdb")
    begin = datetime.now(UTC)
    with synced(job, milestones=40, seed=22) as sandbox:
        published = job.sync(sandbox, full=False).run.run_id
        store.before = lambda method, _path: 503 if method == "PUT" else None
        codes = []
        for hours in (1, 5, 7, 8):
            _edit(sandbox)
            job.now = lambda hours=hours: begin + timedelta(hours=hours)  # type: ignore[misc]
            result = job.sync(sandbox, full=False)
            codes.append((result.exit_code, result.needs))
        assert [code for code, _ in codes] == [0, 0, 3, 3]
        assert codes[2] == codes[3]  # so that one alert is sent
        assert "is not current: it has failed since" in codes[2][1][0]
        assert "503" in job.notes[-1]
        found = read_status(configured_target("duckdb"))
        assert found.lake
        assert found.lake.run_id == published
        assert "503" in (found.lake.problem or "")
        assert watched.runs() == [published]  # readers see the last whole run
        assert watched.reads_all(published)
        store.before = lambda _method, _path: None
        assert job.sync(sandbox, full=False).needs == []
        assert watched.reads_all(watched.runs()[-1])
        assert job.rows("select lake_run_id, lake_error from kantata_marts.data_freshness") == [
            (watched.runs()[-1], None)
        ]


def test_a_slow_store_ends_at_the_time_limit(
    watched: Lake, store: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is delayed by its time limit at most, and later runs copy the rest."""
    job = Job("duckdb")
    monkeypatch.setenv("LAKE__TIME_LIMIT", "8s")

    def wait(method: str, _path: str) -> None:
        time.sleep(0.5 if method == "PUT" else 0.0)

    with synced(job, milestones=40, seed=23) as sandbox:
        store.before = wait
        took, runs = [], 0
        while runs < 15:
            runs += 1
            start = time.monotonic()
            result = job.sync(sandbox, full=False)
            took.append(time.monotonic() - start)
            assert result.exit_code == ExitCode.DONE
            if job.rows("select lake_run_id from kantata_marts.data_freshness") != [(None,)]:
                break
            assert "not complete after 8 s" in job.notes[-1]
        assert 1 < runs < 15
        assert max(took) < 60  # of which the sync itself takes some on a busy machine
        assert watched.reads_all(watched.runs()[-1])


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret-here", "the keys are wrong"),
        ("AWS_ACCESS_KEY_ID", "nobody", "the keys are wrong"),
        ("ENDPOINT_URL", "https://", "correct endpoint_url"),
        ("ALLOW_HTTP", "false", 'set allow_http = "true"'),
    ],
)
def test_wrong_options_require_action_at_once(
    bucket: Lake, monkeypatch: pytest.MonkeyPatch, option: str, value: str, says: str
) -> None:
    """Wrong keys and addresses are exit 3 with one line, which shows no secret."""
    job = Job("duckdb")
    if value == "https://":
        value += bucket.options["endpoint_url"].removeprefix("http://")
    monkeypatch.setenv(f"LAKE__STORAGE_OPTIONS__{option}", value)
    with synced(job, milestones=10, seed=24) as sandbox:
        result = job.sync(sandbox, full=False)
        (line,) = result.needs
        assert result.exit_code == ExitCode.ACTION_REQUIRED
        assert says in line
        assert "\n" not in line
        assert SECRET not in line
        assert "wrong-secret-here" not in line
        assert job.sync(sandbox, full=False).needs == [line]  # the same line: one alert
        assert job.rows("select count(*) from kantata_marts.billing_milestones") == [(10,)]
        (lake,) = (c for c in _checked() if c[0] == "lake")
        assert says in lake[1]
        assert lake[2] == ExitCode.ACTION_REQUIRED


def test_a_missing_bucket_requires_action(bucket: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that does not exist is exit 3 with what to do."""
    monkeypatch.setenv("LAKE__URL", "s3://no-such-bucket/prefix")
    job = Job("duckdb")
    with synced(job, milestones=10, seed=24) as sandbox:
        (line,) = job.sync(sandbox, full=False).needs
    assert "there is no such bucket: create it, or correct LAKE__URL" in line


def test_two_warehouses_never_mix(
    bucket: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second warehouse is refused, also if both make their first copy at the same time."""
    job = Job("duckdb")
    with synced(job, milestones=30, seed=25) as ours, Sandbox(milestones=30, seed=26) as theirs:
        first = job.sync(ours, full=False)
        _second_warehouse(tmp_path, monkeypatch)
        (line,) = job.sync(theirs).needs
        assert f"shows run {first.run.run_id} of account" in line
        assert "which this warehouse of account" in line
        assert bucket.runs() == [first.run.run_id]
        assert bucket.reads_all(first.run.run_id)


def test_a_race_of_two_first_copies_publishes_one(
    watched: Lake, store: Front, s3: str, tmp_path: Path
) -> None:
    """If another warehouse publishes while we copy, we do not publish, and its run is whole."""
    job = Job("duckdb")
    published: list[str] = []

    with synced(job, milestones=30, seed=25) as ours, Sandbox(milestones=30, seed=26) as theirs:
        other = os.environ | {
            "KANTATA_API_URL": theirs.url,
            "KANTATA_ACCESS_TOKEN": theirs.token,
            "DESTINATION__DUCKDB__CREDENTIALS": str(tmp_path / "second" / "loader.duckdb"),
            "WAREHOUSE__PUBLISH_TO": str(tmp_path / "second" / "milestones.duckdb"),
            "LAKE__STORAGE_OPTIONS__ENDPOINT_URL": s3,
        }

        def meanwhile(method: str, path: str) -> int | None:
            if method == "PUT" and "published_runs/_delta_log" in path and not published:
                published.append("")
                with start_milestones("sync", env=other) as process:
                    _, err = process.communicate()
                assert process.returncode == 0, err
                published[0] = watched.runs()[0]
            return None

        store.before = meanwhile
        result = job.sync(ours, full=False)
        assert "another program wrote there meanwhile" in job.notes[-1]
        assert result.exit_code == ExitCode.DONE
        assert watched.runs() == published
        assert watched.reads_all(published[0])
        (line,) = job.sync(ours, full=False).needs
        assert "does not know" in line


def _second_warehouse(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure another warehouse with the same lake."""
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(folder / "second" / "loader.duckdb"))
    monkeypatch.setenv("WAREHOUSE__PUBLISH_TO", str(folder / "second" / "milestones.duckdb"))


def test_killed_at_each_write_the_next_run_completes(
    watched: Lake, store: Front, record_property: Callable[[str, object], None]
) -> None:
    """A run that dies before or after a write leaves the last run whole; the next completes it."""
    job = Job("duckdb")
    with synced(job, milestones=30, seed=27) as sandbox:
        whole = job.sync(sandbox, full=False).run.run_id
        _edit(sandbox)
        points = _kill_points(job, sandbox, store)
        kills = 0
        for number, when in points:
            _edit(sandbox)
            killed = _killed_at(sandbox, store, number, when)
            store.before, store.after = _nothing, _nothing
            assert killed, (number, when)
            kills += 1
            runs = watched.runs()
            assert watched.reads_all(runs[-1])
            assert whole in runs
            result = job.sync(sandbox, full=False)
            assert result.needs == []
            whole = result.run.run_id
            assert watched.runs()[-1] == whole
            assert watched.reads_all(whole)
            pinned = watched.pinned()["kantata_marts.billing_milestones"]
            (rows,) = job.rows("select sum(amount_in_cents) from kantata_marts.billing_milestones")
            table = watched.table("kantata_marts.billing_milestones", pinned["version"])
            assert sum(table["amount_in_cents"].to_pylist()) == rows[0]
        record_property("runs killed during the copy", kills)


def _nothing(_method: str, _path: str) -> None:
    """Let a request pass."""


def _kill_points(job: Job, sandbox: Sandbox, store: Front) -> list[tuple[int, str]]:
    """The numbers of the writes of one run, before and after each of a sample of them."""
    store.requests.clear()
    job.sync(sandbox, full=False)
    writes = len(store.writes())
    assert writes > 10
    every = max(1, writes // int(os.environ.get("MILESTONES_LAKE_KILLS", "4")))
    numbers = sorted({*range(1, writes + 1, every), writes - 1, writes})
    return [(number, when) for number in numbers for when in ("before", "after")]


def _killed_at(sandbox: Sandbox, store: Front, number: int, when: str) -> bool:
    """Run the job in a process, and kill it at a write; return whether it was reached."""
    seen, process, killed = 0, None, threading.Event()

    def kill(method: str, _path: str) -> None:
        nonlocal seen
        if method != "PUT" or killed.is_set():
            return
        seen += 1
        if seen == number and process is not None:
            os.kill(process.pid, signal.SIGKILL)
            killed.set()

    setattr(store, when, kill)
    environment = os.environ | {"KANTATA_API_URL": sandbox.url}
    environment["KANTATA_ACCESS_TOKEN"] = sandbox.token
    with start_milestones("sync", env=environment) as started:
        process = started
        started.communicate()
    return killed.is_set()


def test_sigterm_stops_a_copy(watched: Lake, store: Front) -> None:
    """A signal during a copy ends it within seconds with exit 143; the next run completes it."""
    job = Job("duckdb")
    with synced(job, milestones=30, seed=28) as sandbox:
        process = None
        sent = threading.Event()

        def slow(method: str, path: str) -> None:
            if "kantata/" in path and process is not None and not sent.is_set():
                sent.set()
                os.kill(process.pid, signal.SIGTERM)
            time.sleep(0.2)

        store.before = slow
        environment = os.environ | {"KANTATA_API_URL": sandbox.url}
        environment["KANTATA_ACCESS_TOKEN"] = sandbox.token
        start = time.monotonic()
        with start_milestones("sync", env=environment) as started:
            process = started
            _, err = started.communicate()
        assert started.returncode == 143, err
        assert "stopped by SIGTERM" in err
        assert time.monotonic() - start < 60
        store.before = _nothing
        assert job.sync(sandbox, full=False).needs == []
        assert watched.reads_all(watched.runs()[-1])


def test_no_secret_is_shown(bucket: Lake) -> None:
    """The keys of the store are masked in text of others."""
    assert SECRET not in mask_secrets(f"the store said {SECRET!r}, {SECRET}")


def _checked(name: str = "duckdb") -> Iterator[tuple[str, str, int]]:
    """The answers of ``milestones check``."""
    for result in preflight(kantata_settings, configured_target(name), probe=False):
        yield result.question, result.answer, result.exit_code
