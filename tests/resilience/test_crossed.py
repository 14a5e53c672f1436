"""Each kind of fault meets each command: one clear end, nothing lost, and the next run is right.

`make test` crosses some kinds, chosen by the commit. `make torture` crosses all and prints a table.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from sources.kantata_sandbox import Fault, Sandbox
from tests.support.equality import assert_equal
from tests.support.holder import held_open
from tests.support.job import Job
from tests.support.office import Office
from tests.support.postgres import reader_of
from tests.support.sampling import sample

FOLDER, PUBLISHED = Path(".milestones"), Path("milestones.duckdb")
LOADER, LEDGER = FOLDER / "loader.duckdb", FOLDER / "ledger.sqlite"
COMMANDS = {
    "sync": ("sync",),
    "run": ("run",),
    "push": ("push",),
    "reconcile": ("reconcile",),
    "plan": ("plan",),
    "changes": ("changes",),
    "audit": ("audit", "--verify"),
    "propose": ("propose", "--query", "select 1 as id where 1 = 0", "--reason", "r"),
    "status": ("status",),
    "check": ("check",),
    "models": ("models",),
    "checks": ("checks",),
}
ENDS = (0, 1, 2, 3, 75)
Kind = Callable[[Office], AbstractContextManager[object]]


@contextmanager
def _answers(office: Office, **fault: object) -> Iterator[None]:
    """Let Kantata answer so."""
    office.sandbox.misbehave(Fault(**fault))  # type: ignore[arg-type]
    try:
        yield
    finally:
        office.sandbox.behave()


@contextmanager
def _environment(_office: Office, **settings: str) -> Iterator[None]:
    """Set variables of the environment."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _damaged(_office: Office, file: Path, damage: Callable[[Path], object]) -> Iterator[None]:
    """Damage a file, and repair it afterwards as a person would, unless the command did."""
    kept = Path("kept") / file.name
    kept.parent.mkdir(exist_ok=True)
    shutil.copy(file, kept)
    damage(file)
    left = file.read_bytes() if file.exists() else None
    try:
        yield
    finally:
        if (file.read_bytes() if file.exists() else None) == left:
            for other in (*file.parent.glob(f"{file.name}-*"), Path(f"{file}.wal")):
                other.unlink(missing_ok=True)
            shutil.copy(kept, file)


def _cut(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def _sql(statement: str) -> Callable[[Path], object]:
    """Alter the ledger by SQL."""

    def alter(file: Path) -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.executescript(statement)
            connection.execute("pragma wal_checkpoint(truncate)")

    return alter


@contextmanager
def _dropped(office: Office, what: str, back: str) -> Iterator[None]:
    """Take something from the Postgres warehouse, and give it back."""
    office.job.run(what)
    try:
        yield
    finally:
        office.job.run(back)


def _name(office: Office) -> str:
    return office.job.url.rpartition("/")[2]


ACCOUNT: dict[str, Kind] = {
    "a page of HTML": lambda office: _answers(office, kind="html"),
    "garbage": lambda office: _answers(office, kind="garbage"),
    "always busy": lambda office: _answers(office, kind="throttle", retry_after=0),
    "wait for a day": lambda office: _answers(office, kind="throttle", retry_after=86_400),
    "errors of the server": lambda office: _answers(office, kind="error"),
    "cut connections": lambda office: _answers(office, kind="drop_before"),
    "lost answers": lambda office: _answers(office, kind="drop_after"),
    "refused by Kantata": lambda office: _answers(office, kind="refuse", status=403),
    "a redirection": lambda office: _answers(office, kind="redirect"),
    "rows left out": lambda office: _answers(office, kind="lose_rows", path="billing_milestones$"),
    "a wrong token": lambda office: _environment(office, KANTATA_ACCESS_TOKEN="wrong"),  # noqa: S106
    "no server": lambda office: _environment(office, KANTATA_API_URL="http://127.0.0.1:9/api/v1"),
    "an unknown setting": lambda office: _environment(office, WAREHOUSE__PUBLISHTO="x"),
    "an invalid setting": lambda office: _environment(office, PUSH__MAX_CHANGES="many"),
    "another time zone": lambda office: _environment(
        office, WAREHOUSE__REPORTING_TIMEZONE="Asia/Tokyo"
    ),
    "names meant for others": lambda office: _environment(
        office, DEV_MODE="true", DATASET_NAME="x", CREDENTIALS="y"
    ),
}
ON_DUCKDB: dict[str, Kind] = {
    "no loader's file": lambda office: _damaged(office, LOADER, Path.unlink),
    "an empty loader's file": lambda office: _damaged(office, LOADER, lambda f: f.write_bytes(b"")),
    "half a loader's file": lambda office: _damaged(office, LOADER, _cut),
    "no published file": lambda office: _damaged(office, PUBLISHED, Path.unlink),
    "half a published file": lambda office: _damaged(office, PUBLISHED, _cut),
    "a text as published file": lambda office: _damaged(
        office, PUBLISHED, lambda file: file.write_text("not a warehouse, but long enough")
    ),
    "loader's file in use": lambda _: held_open(LOADER, read_only=False),
    "no ledger": lambda office: _damaged(office, LEDGER, Path.unlink),
    "half a ledger": lambda office: _damaged(office, LEDGER, _cut),
    "a ledger without version": lambda office: _damaged(
        office, LEDGER, _sql("delete from ledger_version")
    ),
    "a ledger with an unknown status": lambda office: _damaged(
        office, LEDGER, _sql("update changes set status = 'done'")
    ),
    "an altered event": lambda office: _damaged(
        office,
        LEDGER,
        _sql("drop trigger events_update_refused; update events set who = 'eve'"),
    ),
}
ON_POSTGRES: dict[str, Kind] = {
    "no database": lambda office: _environment(
        office, DESTINATION__POSTGRES__CREDENTIALS="postgresql://postgres@127.0.0.1:9/x"
    ),
    "a database that only allows reading": lambda office: _dropped(
        office,
        f"alter database {_name(office)} set default_transaction_read_only = on",
        "set transaction read write; "
        f"alter database {_name(office)} reset default_transaction_read_only",
    ),
    "no marts": lambda office: _dropped(
        office, "drop schema if exists kantata_marts cascade", "select 1"
    ),
    "an altered event": lambda office: _dropped(
        office,
        "drop trigger events_refused on kantata_ledger.events; "
        "update kantata_ledger.events set who = 'eve' where who = 'bob'",
        "update kantata_ledger.events set who = 'bob' where who = 'eve'; "
        "create trigger events_refused before update or delete or truncate on "
        "kantata_ledger.events for each statement execute function kantata_ledger.refuse()",
    ),
}


def _ready(job: Job, sandbox: Sandbox) -> Office:
    """A synced warehouse with an applied change, whose ledger is copied, and a proposed one."""
    job.synced(sandbox)
    if job.name == "postgres":
        os.environ["WAREHOUSE__READER_CREDENTIALS"] = reader_of(job.url)
    office = Office(job, sandbox)
    first, second, *_ = office.free()
    for id_ in (first, second):
        words = ("update", id_, "--set", "amount_in_cents=4711", "--reason", "r", "--as", "ann")
        change = office.json("propose", *words)["change_id"]
        if id_ == first:
            office.json("approve", change, "--as", "bob")
            assert office.run("push")[0] == 0
    return office


def _crossed(office: Office, kind: Kind, words: tuple[str, ...]) -> int:
    """Run a command while the fault lasts; return its exit code."""
    with ExitStack() as stack:
        stack.enter_context(kind(office))
        code, said = office.run(*words)
    assert code in ENDS, said
    for bad in ("Traceback", "unexpected error", "error.log"):
        assert bad not in said, (words, said)
    assert code == 0 or said, words
    return code


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(28, id="some", marks=pytest.mark.long_on("postgres")),
        pytest.param(1, id="all", marks=pytest.mark.long),
    ],
)
def test_faults_and_commands(
    job: Job, monkeypatch: pytest.MonkeyPatch, every: int, record_property: pytest.RecordProperty
) -> None:
    """A fault never ends as a bug; when it is over, a run makes the warehouse equal the account."""
    monkeypatch.setenv("PUSH__ENABLED", "true")
    monkeypatch.setenv("WAREHOUSE__READER_CREDENTIALS", "")
    kinds = ACCOUNT | (ON_DUCKDB if job.name == "duckdb" else ON_POSTGRES)
    chosen = sample(sorted(kinds), every)
    with Sandbox(milestones=30) as sandbox:
        office = _ready(job, sandbox)
        for name in chosen.items:
            sandbox.account.create_milestone(title=f"new for {name}")
            ends = {
                command: _crossed(office, kinds[name], words) for command, words in COMMANDS.items()
            }
            print(f"{job.name:9} {name:38}", *(f"{c} {code}" for c, code in ends.items()))
            code, said = office.run("run")
            assert code in (0, 3), (name, said)
            assert_equal(job, sandbox.account)
            assert "are as they were recorded" in office.run("check")[1], name
        writes = [r for r in list(sandbox.requests) if r.method in ("PUT", "POST", "DELETE")]
        assert len(writes) == 1
    record_property("crossed", f"{len(chosen.items) * len(COMMANDS)} ({chosen.about})")
