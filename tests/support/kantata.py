"""A running sandbox, and shortcuts for requests to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from sources.kantata_sandbox import Account, Sandbox

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LIST = "billing_milestones"


@dataclass
class Kantata:
    """A running sandbox and a session that carries its token."""

    sandbox: Sandbox
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.headers["Authorization"] = f"Bearer {self.sandbox.token}"

    @property
    def account(self) -> Account:
        """The account behind the API."""
        return self.sandbox.account

    def ask(
        self, method: str, path: str, body: object = None, **query: object
    ) -> requests.Response:
        """Send one request with a JSON body, without following redirects."""
        return self.session.request(
            method,
            f"{self.sandbox.url}/{path}",
            params={name: str(value) for name, value in query.items()},
            json=body,
            timeout=120,
            allow_redirects=False,
        )

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """The body of a GET that must succeed."""
        answer = self.ask("GET", path, **query)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def rows(self, path: str, **query: object) -> list[dict[str, Any]]:
        """The records of a GET in the order of its `results`."""
        body = self.get(path, **query)
        return [body[result["key"]][result["id"]] for result in body["results"]]

    def ids(self, path: str = LIST, **query: object) -> list[str]:
        """The ids of a GET in the order of its `results`."""
        return [result["id"] for result in self.get(path, **query)["results"]]

    def count(self, path: str = LIST, **query: object) -> int:
        """The count of a GET."""
        return int(self.get(path, **query)["count"])

    def errors(self, method: str, path: str, body: object = None) -> tuple[int, list[Any]]:
        """The status and the errors of a request that must be refused."""
        answer = self.ask(method, path, body)
        return answer.status_code, answer.json()["errors"]

    def control(self, method: str, path: str, body: object = None) -> requests.Response:
        """Send one request to the sandbox's own controls, without the token."""
        url = f"{self.sandbox.control_url}/{path}"
        return requests.request(method, url, json=body, timeout=120)

    def open_milestone(self) -> str:
        """The id of a milestone that was never on an invoice."""
        milestones = self.account.milestones
        return next(
            i
            for i in milestones
            if not milestones[i]["invoice_id"] and not self.account.invoices_of.get(i)
        )

    def new_body(self, **fields: object) -> dict[str, Any]:
        """The body of a POST that creates a milestone, with these fields set; ``...`` omits one."""
        project = next(iter(self.account.workspaces))
        given = {"title": "new", "amount_in_cents": 1, "workspace_id": project} | fields
        return {"billing_milestone": {k: v for k, v in given.items() if v is not ...}}
