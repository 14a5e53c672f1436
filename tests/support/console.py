"""A console on a real socket, and a browser without scripts that uses it."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import requests
from argon2 import PasswordHasher

from pipelines.config.console_settings import ConsoleSettings, console_settings
from pipelines.console.roles import Role
from pipelines.console.server import Address, ConsoleServer
from pipelines.console.services import Console
from pipelines.console.users import Users
from warehouse.target import Target

PASSWORD = "correct horse battery"  # noqa: S105 - of users of tests
USERS = {"vera": Role.VIEWER, "ana": Role.PROPOSER, "ben": Role.APPROVER, "cleo": Role.APPROVER}
_TOKEN = re.compile(r'name="csrf_token" value="([0-9a-f]+)"')
_PICK = re.compile(r'name="pick" value="([0-9a-f]+ [0-9a-f]+)"')


class Client:
    """A person's browser, without scripts.

    Args:
        url: The console's address.
        headers: Headers of every request, such as a proxy's.
    """

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self.web = requests.Session()
        self.web.trust_env = False
        self.web.headers.update({n.replace("_", "-"): value for n, value in headers.items()})

    def get(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401 - of requests
        """Get a page; a redirect is not followed."""
        return self.web.get(self.url + path, allow_redirects=False, timeout=60, **options)

    def token(self, path: str = "/changes") -> str:
        """The token in the forms of a page."""
        found = _TOKEN.search(self.get(path).text)
        assert found, path
        return found[1]

    def post(self, path: str, data: Any = (), **options: Any) -> requests.Response:  # noqa: ANN401
        """Send a form with the token of a page, unless the form has one."""
        fields = list(data.items()) if isinstance(data, dict) else list(data)
        if "csrf_token" not in dict(fields):
            page = "/login" if path.startswith("/login") else "/changes"
            fields.append(("csrf_token", self.token(page)))
        return self.web.post(
            self.url + path, data=fields, allow_redirects=False, timeout=60, **options
        )

    def log_in(self, name: str, password: str = PASSWORD, **fields: str) -> requests.Response:
        """Log in."""
        return self.post("/login", {"username": name, "password": password, **fields})

    def picks(self) -> list[str]:
        """What the boxes in the queue would send, each an id and a digest."""
        return _PICK.findall(self.get("/changes").text)

    def decide(self, what: str, *picks: str, **fields: str) -> requests.Response:
        """Approve, reject or withdraw changes, each named by its id and digest."""
        data = [*fields.items()]
        for pick in picks:
            id_, _, digest = pick.partition(" ")
            data += [("change_id", id_), ("digest", digest)]
        return self.post(f"/changes/{what}", data)


@contextmanager
def running_console(
    target: Target,
    *,
    settings: ConsoleSettings | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    address: Address | None = None,
) -> Iterator[Callable[..., Client]]:
    """A console with a user of each role; gives a function that opens a browser, logged in."""
    found = settings or console_settings()
    gc.collect()  # of this process's sync, which may keep the published file open
    failures: list[Exception] = []

    def note(error: Exception) -> str:
        failures.append(error)
        return ""

    console = Console(target=target, settings=found, now=now, has_tls=False)
    add_users(console.users)
    with ConsoleServer(console, address or Address(port=0), note) as server:

        def browser(name: str = "", **headers: str) -> Client:
            client = Client(server.url, **headers)
            if name:
                assert client.log_in(name).status_code == 303
            return client

        yield browser
    if failures:
        raise failures[0]


# With little work, which the hash itself states: the real one is meant to take long.
_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def add_users(users: Users) -> None:
    """Add a user of each role."""
    for name, role in USERS.items():
        if users.find(name) is None:
            with users._connected() as connection:
                connection.execute(
                    "insert into users values (?, ?, ?, ?, '2026-01-01T00:00:00+00:00')",
                    (name, name, role, _HASH),
                )
