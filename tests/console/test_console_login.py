"""Who may use the console: logins, sessions, forged requests, proxies, and where it listens."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.config.console_settings import ConsoleSettings
from pipelines.console.addresses import client_address
from pipelines.console.login import safe_next
from pipelines.console.roles import Role
from pipelines.console.security import CONTENT_SECURITY_POLICY, MOST_BYTES
from pipelines.console.server import Address
from pipelines.console.users import IDLE_LIFE, SESSION_LIFE, Users
from sources.kantata.errors import KantataMisconfigured
from sources.kantata_sandbox import Sandbox
from tests.support.console import PASSWORD, Client, running_console
from tests.support.job import Job
from tests.support.processes import ROOT

Browser = Callable[..., Client]


class _Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        """The time."""
        return self.time


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    """A DuckDB warehouse: the engine decides nothing here."""
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    job = Job("duckdb")
    with Sandbox(milestones=100) as sandbox:
        job.synced(sandbox)
    return job


@pytest.fixture
def clock() -> _Clock:
    """The console's clock."""
    return _Clock()


@pytest.fixture
def browser(job: Job, clock: _Clock) -> Iterator[Browser]:
    """Opens browsers of a console."""
    with running_console(job.target, now=clock) as opened:
        yield opened


def test_sessions(browser: Browser, clock: _Clock) -> None:
    """A login begins a new session, which ends by log-out, time, password or removal."""
    stranger = browser()
    for path in ("/", "/milestones?status=overdue&page=2", "/changes", "/runs", "/milestones.csv"):
        answer = stranger.get(path)
        assert (answer.status_code, answer.headers["location"][:6]) == (303, "/login"), path
    location = stranger.get("/milestones?status=overdue&page=2").headers["location"]
    assert location == "/login?next=%2Fmilestones%3Fstatus%3Doverdue%26page%3D2"
    assert stranger.post("/changes/approve", {"csrf_token": "x"}).status_code == 303
    asked = stranger.get("/milestones", headers={"HX-Request": "true"})
    assert (asked.status_code, asked.headers["hx-redirect"]) == (401, "/login?next=%2Fmilestones")

    client = browser()
    client.web.cookies.set("milestones", "chosen-by-an-attacker", domain="127.0.0.1", path="/")
    answer = client.log_in(" BEN ", next="/milestones?status=overdue")
    assert (answer.status_code, answer.headers["location"]) == (303, "/milestones?status=overdue")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    first = client.web.cookies["milestones"]
    assert len(first) > 40
    assert client.get("/").status_code == 200
    client.log_in("ben")
    assert client.web.cookies["milestones"] != first  # and the old one has ended
    assert browser().get("/", cookies={"milestones": first}).status_code == 303

    other = browser("ben")
    token = other.token()
    assert other.post("/logout").headers["location"] == "/login"
    assert other.get("/").status_code == 303
    assert client.get("/").status_code == 200
    assert client.post("/logout", {"csrf_token": token}).status_code == 403  # of another session

    clock.time += IDLE_LIFE - timedelta(minutes=5)
    assert client.get("/").status_code == 200
    clock.time += IDLE_LIFE + timedelta(minutes=5)
    assert client.get("/").status_code == 303
    client.log_in("ben")
    for _ in range(int(SESSION_LIFE / timedelta(hours=1))):
        assert client.get("/").status_code == 200
        clock.time += timedelta(hours=1, seconds=1)
    assert client.get("/changes").status_code == 303

    client.log_in("ben")
    vera = browser("vera")
    users = Users(Path(".milestones/console.sqlite"), clock)
    users.remove("vera")
    users.set_password("ben", f"{PASSWORD} 2")
    assert vera.get("/").status_code == 303
    assert client.get("/").status_code == 303
    assert client.log_in("ben").status_code == 401
    assert client.log_in("ben", f"{PASSWORD} 2").status_code == 303


def test_forged_requests(browser: Browser) -> None:
    """What another site could make a browser send is refused, and a login leads nowhere else."""
    client = browser("ben")
    for path in ("propose", "approve", "reject", "withdraw"):
        for token in ("", "0" * 64, "é"):
            answer = client.post(f"/changes/{path}", {"csrf_token": token})
            assert answer.status_code == 403, path
    assert client.post("/logout", {"csrf_token": ""}).status_code == 403
    fresh = browser()
    login = {"username": "ben", "password": PASSWORD}
    assert fresh.post("/login", {**login, "csrf_token": "0" * 64}).status_code == 403
    token = fresh.token("/login")
    fresh.web.cookies.clear()
    assert fresh.post("/login", {**login, "csrf_token": token}).status_code == 403
    for wanted in ("https://evil.example", "//evil.example", "/\\evil.example", "/a\r\nb: c"):
        assert safe_next(wanted) == "/"
        assert fresh.log_in("ben", next=wanted).headers["location"] == "/"
    assert safe_next("/milestones?q=http://x") == "/milestones?q=http://x"

    page = client.get("/")
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    for path in (
        "/static/../users.py", "/static/%2e%2e/users.py", "/static/..%2f..%2f..%2fpyproject.toml",
        "/static//etc/passwd", "/milestones/..%2f..%2fconsole.sqlite", "/changes/%00",
    ):  # fmt: skip
        assert client.get(path).status_code == 404, path
    large = client.post("/changes/propose", files={"file": ("a.csv", b"x" * MOST_BYTES)})
    assert (large.status_code, "too large" in large.text) == (413, True)
    assert client.get("/changes/approve").status_code in (404, 405)


def test_attempts_to_log_in_are_limited(browser: Browser) -> None:
    """After ten wrong passwords the right one is not tried, either; another name is."""
    client = browser()
    answers = [client.log_in("ben", "wrong password") for _ in range(10)]
    assert {answer.status_code for answer in answers} == {401}
    assert "name or the password is wrong" in answers[0].text
    assert client.log_in("nobody", "wrong password").text.count("is wrong") == 1
    nameless = [client.log_in("", "wrong password").status_code for _ in range(11)]
    assert nameless == [401] * 10 + [429]  # also an empty name has ten attempts
    refused = client.log_in("BEN")
    assert (refused.status_code, int(refused.headers["retry-after"]) > 60) == (429, True)
    assert client.log_in("vera").status_code == 303


def test_proxy(job: Job) -> None:
    """A name in the header counts only if a trusted proxy sent it, once; roles are the users'."""
    trusted = ConsoleSettings(
        users=Path(".milestones/console.sqlite"),
        trusted_proxies=(ip_network("127.0.0.0/8"),),
        identity_header="x-forwarded-user",
    )
    with running_console(job.target, settings=trusted) as browser:
        ben = browser(X_Forwarded_User="Ben", X_Forwarded_Proto="https")
        page = ben.get("/changes")
        assert (page.status_code, "ben" in page.text, "Log out" in page.text) == (200, True, False)
        assert ben.post("/changes/approve", {"csrf_token": ben.token()}).status_code == 422
        assert ben.post("/changes/approve", {"csrf_token": "0"}).status_code == 403
        stranger = browser(X_Forwarded_User="mallory <b>").get("/")
        assert (stranger.status_code, "mallory &lt;b&gt;" in stranger.text) == (403, True)
        unnamed = browser(X_Forwarded_Proto="https")
        unnamed.get("/login")
        assert unnamed.web.cookies._cookies["127.0.0.1"]["/"]["__Host-milestones-login"].secure  # type: ignore[attr-defined]
    elsewhere = ConsoleSettings(
        users=trusted.users,
        trusted_proxies=(ip_network("10.0.0.0/8"),),
        identity_header="x-forwarded-user",
    )
    with running_console(job.target, settings=elsewhere) as browser:
        spoofed = browser(X_Forwarded_User="ben", X_Forwarded_For="10.0.0.1")
        assert spoofed.get("/changes").status_code == 303
    networks = (ip_network("10.0.0.0/8"),)
    assert client_address("10.0.0.1", "6.6.6.6, 192.0.2.7, 10.0.0.2", networks) == "192.0.2.7"
    assert client_address("192.0.2.9", "10.0.0.1", networks) == "192.0.2.9"


def test_where_it_listens(tmp_path: Path) -> None:
    """Not beyond this machine, unless something encrypts; the message says what to do."""
    alone = ConsoleSettings(users=tmp_path / "users")
    proxied = ConsoleSettings(users=alone.users, trusted_proxies=(ip_network("10.0.0.0/8"),))
    for host in ("127.0.0.1", "::1", "localhost"):
        Address(host=host).check(alone)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.com"):  # noqa: S104 - that is refused
        with pytest.raises(KantataMisconfigured, match="--tls-cert"):
            Address(host=host).check(alone)
        Address(host=host).check(proxied)
    with pytest.raises(KantataMisconfigured, match="both"):
        Address(certificate=tmp_path / "c").check(alone)
    (tmp_path / "c").write_text("no certificate")
    with pytest.raises(KantataMisconfigured, match="cannot use the certificate"):
        Address(certificate=tmp_path / "c", key=tmp_path / "c").check(alone)
    result = CliRunner().invoke(app, ["console", "--host", "0.0.0.0"])  # noqa: S104 - refused
    assert (result.exit_code, "does not listen" in result.output) == (2, True)


def test_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands for users: passwords come from the environment, and roles are kept."""

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["console", "user", *words])
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result.exit_code, " ".join(result.output.split())

    assert "no users" in run("list")[1]
    code, output = run("add", "Ann Lee", "--role", "approver")
    assert (code, "no terminal" in output) == (2, True)
    monkeypatch.setenv("MILESTONES_CONSOLE_PASSWORD", "short")
    assert run("add", "Ann Lee", "--role", "approver")[0] == 2
    monkeypatch.setenv("MILESTONES_CONSOLE_PASSWORD", PASSWORD)
    assert run("add", " Ann  Lee", "--role", "approver") == (0, "added Ann Lee, approver")
    code, output = run("add", "ann lee", "--role", "viewer")
    assert (code, "there is a user ann lee already" in output) == (2, True)
    assert run("add", "x\x1b", "--role", "viewer")[0] == 2
    assert run("list") == (0, "approver Ann Lee")
    assert run("password", "ANN LEE")[0] == 0
    assert run("password", "nobody")[0] == 2
    file = Path(".milestones/console.sqlite")
    assert PASSWORD.encode() not in file.read_bytes()
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run("remove", "ann lee")[0] == 0
    assert run("remove", "ann lee")[0] == 2
    assert Role.APPROVER.may(Role.PROPOSER)
    assert not Role.PROPOSER.may(Role.APPROVER)
    monkeypatch.setenv("CONSOLE__TRUSTED_PROXIES", "10.0.0.0/33")
    code, output = run("list")
    assert (code, "10.0.0.0/33" in output) == (2, True)
    monkeypatch.setenv("CONSOLE__TRUSTED_PROXIES", "")
    monkeypatch.setenv("CONSOLE__IDENTITY_HEADER", "X-Forwarded-User")
    assert "CONSOLE__TRUSTED_PROXIES" in run("list")[1]


@pytest.mark.long
def test_the_console_forgets_the_token() -> None:
    """Neither the settings nor the environment of its process have it after the start."""
    Path(".dlt").mkdir()
    Path(".dlt/secrets.toml").write_text(
        '[sources.kantata]\nkantata_access_token = "tok-in-a-file"'
    )
    code = (
        "import gc, os\n"
        "from pipelines.config.providers import use_named_settings\n"
        "from pipelines.config.settings import resolve_kantata\n"
        "from pipelines.config.tokens import forget_tokens\n"
        "use_named_settings()\n"
        "known = resolve_kantata().kantata_access_token\n"
        "forget_tokens()\n"
        "print(known, repr(resolve_kantata().kantata_access_token), *os.environ.values())"
    )
    for environment, known in (({}, "tok-in-a-file"), ({"KANTATA_ACCESS_TOKEN": "tok-2"}, "tok-2")):
        ended = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert ended.stdout.startswith(f"{known} '' ")
        assert ended.stdout.count("tok-") == 1
