"""Every way to name a Postgres server works in all commands, or is refused by all of them.

What the server does to connections that wait changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from urllib.parse import quote, urlsplit

import psycopg2
import pytest

from sources.kantata_sandbox import Fault, Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.postgres import empty_database
from tests.support.processes import run_milestones
from tests.support.writing_desk import Desk
from warehouse.ledger.change import Action

ROLE, PASSWORD = "bill ing", "p w+%"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A small account, which the commands read."""
    with Sandbox(milestones=5) as sandbox:
        monkeypatch.setenv("KANTATA_API_URL", sandbox.url)
        monkeypatch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
        monkeypatch.setenv("WAREHOUSE__DESTINATION", "postgres")
        yield sandbox


def _run(*words: str, credentials: str, **environment: str) -> tuple[int, str]:
    """Run a command on this database; return its exit code and what it printed."""
    environment["DESTINATION__POSTGRES__CREDENTIALS"] = credentials
    result = run_milestones(*words, env=os.environ | environment, timeout=600)
    return result.returncode, result.stdout + result.stderr


def _execute(url: str, *statements: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def role(postgres_url: str) -> Iterator[None]:
    """A role whose name and password contain what must be encoded in a URL."""
    database = urlsplit(postgres_url).path[1:]
    _execute(
        postgres_url,
        f"create role \"{ROLE}\" login password '{PASSWORD}'",
        f'grant create on database {database} to "{ROLE}"',
    )
    yield
    _execute(postgres_url, f'drop owned by "{ROLE}" cascade', f'drop role "{ROLE}"')


@pytest.mark.usefixtures("role")
def test_forms_of_a_connection(sandbox: Sandbox, postgres_url: str) -> None:
    """Spaces, key=value, PGPASSWORD and several hosts work: for check, load and ledger."""
    parts = urlsplit(postgres_url)
    address, database = f"{parts.hostname}:{parts.port}", parts.path[1:]
    user, word = quote(ROLE), quote(PASSWORD)
    url = f"postgresql://{user}:{word}@{address}/{database}"
    code, shown = _run("sync", credentials=f"{url}\n")
    assert code == 0, shown
    code, shown = _run(
        "propose", "create", "--set", f"workspace_id={next(iter(sandbox.account.workspaces))}",
        "--set", "title=x", "--set", "amount_in_cents=5", "--reason", "r", credentials=url,
    )  # fmt: skip
    assert code == 0, shown
    pairs = f"host={parts.hostname} port={parts.port} dbname={database} user='{ROLE}'"
    for credentials, environment in (
        (f"{pairs} password='{PASSWORD}'", {}),
        (f"postgresql://{user}@{address}/{database}", {"PGPASSWORD": PASSWORD}),
        (f"postgresql://{user}:{word}@127.0.0.1:1,{address}/{database}", {}),
    ):
        code, shown = _run("check", credentials=credentials, **environment)
        assert (code, "has 5 milestones" in shown) == (0, True), shown
    code, shown = _run("changes", "--json", credentials=f"{pairs} password='{PASSWORD}'")
    assert (code, len(json.loads(shown))) == (0, 1)


def test_what_no_later_run_can_fix_is_refused(
    sandbox: Sandbox, postgres_url: str, postgres_server: str
) -> None:
    """An unknown parameter, required TLS, a wrong password or encoding end with 2 everywhere."""
    parts = urlsplit(postgres_url)
    wrong = f"postgresql://nobody:pa55@{parts.hostname}:{parts.port}{parts.path}"
    with empty_database(postgres_server) as latin:
        name = urlsplit(latin).path[1:]
        _execute(
            postgres_server,
            f"drop database {name}",
            f"create database {name} encoding 'LATIN1' locale 'C' template template0",
        )
        for credentials, message in (
            (f"{postgres_url}?schema=x", "the parameter schema, which Postgres does not know"),
            (f"{postgres_url}?pgbouncer=true", "the parameter pgbouncer"),
            (f"{postgres_url}?sslmode=require", "does not support SSL"),
            (f"{postgres_url}?sslmode=perhaps", "invalid sslmode value"),
            (wrong, "authentication failed"),
            (latin, "encoding LATIN1"),
        ):
            for command in ("check", "sync"):
                sandbox.requests.clear()
                code, shown = _run(command, credentials=credentials)
                assert (code, message in shown) == (2, True), shown
                assert "pa55" not in shown
                if command == "sync":
                    assert not any("milestones" in r.path for r in sandbox.requests)


def test_idle_limits_do_not_end_a_run(postgres: Job) -> None:
    """A run waits longer for Kantata, reading and writing, than the server keeps idle sessions."""
    name = urlsplit(postgres.url).path[1:]
    with Sandbox(milestones=30) as sandbox:
        desk = Desk(sandbox, postgres.url)
        postgres.synced(sandbox)
        change = desk.approved(desk.draft(Action.UPDATE))
        for limit in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
            _execute(postgres.url, f"alter database {name} set {limit} = '500ms'")
        for fault in (Fault("delay", method="PUT"), Fault("delay", path="billing_milestones")):
            sandbox.misbehave(replace(fault, times=1, seconds=1.5))
        with desk.ledger() as ledger:  # a machine that loses power does not keep the push lock
            found = ledger.connection.exec_driver_sql("show tcp_keepalives_idle").scalar()
            assert found == "30"
        code, shown = _run(
            "run", credentials=postgres.url,
            WAREHOUSE__DESTINATION="postgres", PUSH__ENABLED="true", KANTATA_API_URL=sandbox.url,
            KANTATA_ACCESS_TOKEN=sandbox.token, SOURCES__KANTATA__SCAN_EVERY="0s",
        )  # fmt: skip
        assert code == 0, shown
        desk.assert_true(change)
        assert desk.sent(change) == 1
        assert_equal(postgres, sandbox.account)
