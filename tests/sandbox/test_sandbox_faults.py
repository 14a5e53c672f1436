"""The sandbox misbehaves on demand, from Python and over HTTP."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import requests

from sources.kantata_sandbox import Account, Fault
from sources.kantata_sandbox.faults import FaultKind
from sources.kantata_sandbox.rate_limit import RateLimit
from tests.support.kantata import LIST, Kantata


def test_documented_controls_exist(kantata: Kantata) -> None:
    """Each control of the sandbox in the reference exists, and each kind of fault is there."""
    page = (Path(__file__).parents[2] / "pipelines" / "REFERENCE.md").read_text()
    mutators = re.findall(r"POST /sandbox/account/(\w+)`", page)
    assert len(mutators) == 5
    assert all(callable(getattr(Account, name)) for name in mutators)
    (line,) = re.findall(r"`POST /sandbox/faults`.*", page)
    assert set(FaultKind) <= set(re.findall(r"`(\w+)`", line))
    example = re.findall(r'`({"kind".*?})`', line)[0]
    root = kantata.sandbox.control_url
    assert requests.post(f"{root}/faults", data=example, timeout=9).status_code == 200
    assert requests.delete(f"{root}/faults", timeout=9).status_code == 200
    assert requests.get(f"{root}/account", timeout=9).json()["milestones"]


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (Fault("refuse"), 422, "application/json"),
        (Fault("refuse", status=403), 403, "application/json"),
        (Fault("throttle"), 429, "application/json"),
        (Fault("error"), 503, "application/json"),
        (Fault("error", status=502, html=True), 502, "text/html"),
        (Fault("html"), 200, "text/html"),
        (Fault("redirect"), 302, "text/html"),
        (Fault("garbage"), 200, "application/json"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_faulty_answers(kantata: Kantata, fault: Fault, status: int, kind: str) -> None:
    """A faulty answer has the status and the content type of its fault."""
    kantata.sandbox.misbehave(fault)
    answer = kantata.ask("GET", LIST)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith(kind)
    if fault.kind == "garbage":
        with pytest.raises(requests.exceptions.JSONDecodeError):
            answer.json()
    kantata.sandbox.behave()
    assert kantata.count(LIST) == 450


def test_retry_after_is_optional(kantata: Kantata) -> None:
    """A 429 has Retry-After only if the fault names it."""
    kantata.sandbox.misbehave(Fault("throttle", times=1), Fault("throttle", times=1, retry_after=3))
    answers = [kantata.ask("GET", LIST) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert [answer.headers.get("Retry-After") for answer in answers] == [None, "3", None]


def test_a_limit_of_requests(kantata: Kantata) -> None:
    """Requests over the limit get 429, until the next window or until a token is there again."""
    now = 100.5
    limit = RateLimit(requests=2, seconds=10, clock=lambda: now)
    kantata.sandbox.limit_rate(limit)
    answers = [kantata.ask("GET", LIST) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["Retry-After"] == "10"
    now = 110.0
    assert [kantata.ask("GET", LIST).status_code for _ in range(3)] == [200, 200, 429]
    limit = RateLimit(requests=2, seconds=10, is_bucket=True, says_when=False, clock=lambda: now)
    kantata.sandbox.limit_rate(limit)
    assert [kantata.ask("GET", LIST).status_code for _ in range(3)] == [200, 200, 429]
    now = 115.0
    answers = [kantata.ask("GET", LIST) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert "Retry-After" not in answers[1].headers
    assert (limit.accepted, limit.refused) == (3, 2)


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (Fault("drop_before", method="POST", times=1), False),
        (Fault("drop_after", method="POST", times=1), True),
        (Fault("error", method="POST", times=1), False),
        (Fault("error", method="POST", times=1, html=True, executed=True), True),
    ],
    ids=["cut before", "cut after", "503 before", "502 after"],
)
def test_lost_answers(kantata: Kantata, fault: Fault, kept: bool) -> None:
    """A write whose answer is lost looks the same, whether it was committed or not."""
    kantata.sandbox.misbehave(fault)
    try:
        assert kantata.ask("POST", LIST, kantata.new_body()).status_code == 503
    except requests.ConnectionError:
        assert "drop" in str(fault.kind)
    assert kantata.count(LIST) == 450 + kept


def test_rows_are_lost_silently(kantata: Kantata) -> None:
    """A page can lack rows that its count includes."""
    everything = kantata.ids(LIST, per_page=200)
    kantata.sandbox.misbehave(Fault("lose_rows", rows=3, times=1))
    short = kantata.get(LIST, per_page=200)
    assert [result["id"] for result in short["results"]] == everything[3:]
    assert short["count"] == 450


def test_data_changes_between_two_requests(kantata: Kantata) -> None:
    """A fault can change the account exactly between two requests."""

    def one_more(account: Account) -> None:
        account.create_milestone(title="in between")

    kantata.sandbox.misbehave(Fault("change", action=one_more, skip=1, times=1))
    assert [kantata.count(LIST) for _ in range(3)] == [450, 451, 451]


def test_faults_are_set_over_http(kantata: Kantata) -> None:
    """Faults and changes can be set over HTTP, without Python."""
    kantata.control("POST", "faults", [{"kind": "throttle", "times": 1, "path": LIST}])
    assert [kantata.ask("GET", LIST).status_code for _ in range(2)] == [429, 200]
    kantata.control("POST", "account/create_milestone", {"title": "over http"})
    assert "over http" in {row["title"] for row in kantata.rows(LIST)}
