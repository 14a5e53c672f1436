"""The wire: token, paths, headers, envelope, error bodies, and bodies of JSON and of forms."""

from __future__ import annotations

import time
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from sources.kantata_sandbox import Sandbox
from sources.kantata_sandbox.body_parser import parse_form
from tests.support.kantata import LIST, NOW, Kantata

OAUTH = [{"type": "oauth", "message": "Invalid OAuth 2 Request"}]
NOT_FOUND = [{"type": "system", "message": "Not found"}]


@pytest.mark.parametrize("header", [None, "Bearer wrong", "sandbox-token", "Basic sandbox-token"])
@pytest.mark.parametrize("path", [LIST, f"{LIST}/1", "subscribed_events", "nothing"])
def test_a_wrong_token_is_401(kantata: Kantata, header: str | None, path: str) -> None:
    """Without the right bearer token every request is 401, with the documented body."""
    headers = {"Authorization": header} if header else {}
    answer = requests.get(f"{kantata.sandbox.url}/{path}", headers=headers, timeout=120)
    assert (answer.status_code, answer.json()["errors"]) == (401, OAUTH)


def test_a_wrong_token_writes_nothing(kantata: Kantata) -> None:
    """A write without the token changes nothing."""
    url = f"{kantata.sandbox.url}/{LIST}"
    assert requests.post(url, json=kantata.new_body(), timeout=120).status_code == 401
    assert kantata.count() == 450


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "nothing"),
        ("GET", f"{LIST}/999999999"),
        ("GET", f"{LIST}/abc"),
        ("PUT", f"{LIST}/999999999"),
        ("DELETE", f"{LIST}/999999999"),
        ("PATCH", f"{LIST}/1"),
        ("POST", "external_references"),
        ("GET", "external_references/1"),
        ("DELETE", "external_references/999999999"),
        ("PUT", "invoices/999999999/cancel"),
        ("DELETE", "invoices/999999999"),
        ("GET", "workspaces/999999999"),
    ],
)
def test_missing_rows_and_endpoints_are_404(kantata: Kantata, method: str, path: str) -> None:
    """A missing row and a missing endpoint are 404, with the recorded body."""
    body = {"billing_milestone": {"title": "x"}} if method == "PUT" else None
    assert kantata.errors(method, path, body) == (404, NOT_FOUND)


@pytest.mark.parametrize("path", [LIST, "workspaces", "users/me", "subscribed_events/event_types"])
def test_the_json_suffix_is_optional(kantata: Kantata, path: str) -> None:
    """Every path answers the same with .json and without."""
    assert kantata.get(f"{path}.json") == kantata.get(path)


def test_a_single_row_has_the_json_suffix_too(kantata: Kantata) -> None:
    """GET /billing_milestones/{id}.json returns the same envelope as without the suffix."""
    id_ = kantata.open_milestone()
    body = kantata.get(f"{LIST}/{id_}.json")
    assert body == kantata.get(f"{LIST}/{id_}")
    assert (body["count"], body["results"]) == (1, [{"key": LIST, "id": id_}])
    assert body[LIST] == {id_: kantata.account.milestones[id_]}


def test_every_answer_has_its_own_id(kantata: Kantata) -> None:
    """Successes and refusals have an X-Request-Id, a different one each."""
    answers = [kantata.ask("GET", path) for path in (LIST, LIST, "nothing")]
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert len(set(ids)) == 3
    assert [served.request_id for served in kantata.sandbox.requests] == ids


def test_the_date_is_the_accounts(kantata: Kantata) -> None:
    """The Date header is the time of the account's own clock, also after it was advanced."""
    kantata.account.advance(3 * 86400)
    date = parsedate_to_datetime(kantata.ask("GET", LIST).headers["Date"])
    assert timedelta(0) <= date - NOW - timedelta(days=3) < timedelta(minutes=2)


def test_answers_are_plain_json(kantata: Kantata) -> None:
    """Answers and refusals are application/json, not problem+json; a 204 has no body."""
    for path in (LIST, "nothing"):
        answer = kantata.ask("GET", path)
        assert answer.headers["Content-Type"].split(";")[0] == "application/json"
    deleted = kantata.ask("DELETE", f"{LIST}/{kantata.open_milestone()}")
    assert (deleted.status_code, deleted.content) == (204, b"")


def test_the_empty_account(empty: Kantata) -> None:
    """An empty account gives count 0, page_count 0, page_number 0 and empty maps."""
    body = empty.get(LIST, include="invoices,story", page=7)
    assert body == {
        "count": 0,
        "meta": {"count": 0, "page_count": 0, "page_number": 0, "page_size": 20},
        "results": [],
        LIST: {},
        "invoices": {},
        "stories": {},
    }


def test_served_requests_are_recorded(kantata: Kantata) -> None:
    """The sandbox records the method, path, query, status and time of each request."""
    kantata.ask("GET", f"{LIST}.json", per_page=3)
    served = kantata.sandbox.requests[-1]
    assert (served.method, served.path, served.status) == ("GET", f"/{LIST}", 200)
    assert served.query == {"per_page": "3"}
    assert 0 <= served.at - NOW.timestamp() < 120


def test_latency_is_added_to_each_answer() -> None:
    """With latency_ms no answer takes less time than that."""
    with Sandbox(milestones=1, latency_ms=80) as sandbox, requests.Session() as session:
        begun = time.monotonic()
        Kantata(sandbox, session).get(LIST)
        assert time.monotonic() - begun >= 0.08


def _form(**fields: object) -> dict[str, object]:
    return {f"billing_milestone[{name}]": value for name, value in fields.items()}


def test_a_form_is_read_like_json(kantata: Kantata) -> None:
    """A Rails form creates the same milestone as JSON, including its nested reference."""
    project = next(iter(kantata.account.workspaces))
    data = _form(title="Ünïcode", amount_in_cents="-7", workspace_id=project) | {
        "billing_milestone[external_reference][service_name]": "us",
        "billing_milestone[external_reference][service_model]": "m",
        "billing_milestone[external_reference][service_model_ref]": "k-1",
    }
    answer = kantata.session.post(f"{kantata.sandbox.url}/{LIST}", data=data, timeout=120)
    (id_,) = answer.json()[LIST]
    record = kantata.account.milestone(id_)
    assert (record["title"], record["amount_in_cents"]) == ("Ünïcode", -7)
    assert len(record["external_reference_ids"]) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a[b][c]=1", {"a": {"b": {"c": "1"}}}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("a[][x]=1&a[][y]=2&a[][x]=3", {"a": [{"x": "1", "y": "2"}, {"x": "3"}]}),
        ("a[0][x]=1&a[1][x]=2", {"a": [{"x": "1"}, {"x": "2"}]}),
        ("a[][b][c]=1&a[][b][c]=2", {"a": [{"b": {"c": "1"}}, {"b": {"c": "2"}}]}),
        ("a=", {"a": ""}),
    ],
)
def test_bracketed_names_are_nested(text: str, value: dict[str, Any]) -> None:
    """Forms nest as Rails reads them: objects by name, lists by empty or numbered brackets."""
    assert parse_form(text) == value


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"[1]"),
        ("application/json", b""),
        ("application/json", b"{}"),
        ("application/json", b'{"billing_milestone": "text"}'),
        ("application/json", b'{"billing_milestones": []}'),
        ("application/x-www-form-urlencoded", b"billing_milestone=1&billing_milestone[title]=x"),
        ("application/x-www-form-urlencoded", b"title=x"),
    ],
)
def test_an_invalid_body_is_400(kantata: Kantata, content_type: str, body: bytes) -> None:
    """A body that cannot be parsed, or lacks its top key, is refused and creates nothing."""
    answer = kantata.session.post(
        f"{kantata.sandbox.url}/{LIST}",
        data=body,
        headers={"Content-Type": content_type},
        timeout=120,
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["type"] == "system"
    assert kantata.count() == 450
