"""The API reader: each failure raises its own error, and the token is never disclosed."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from sources.kantata import errors
from sources.kantata.api.reader import KantataReader
from sources.kantata_sandbox import Fault, Sandbox
from sources.kantata_sandbox.rate_limit import RateLimit

LIST = "billing_milestones"
TOKEN = "s3cret-token-8f1c"  # noqa: S105 - made up


def reader(url: str, token: str = TOKEN) -> KantataReader:
    """Return a reader that hardly waits between attempts."""
    return KantataReader(url, token, backoff_seconds=0.001)


_FAULTS = {
    "403": (Fault("refuse", status=403), errors.KantataForbidden, 1),
    "422": (Fault("refuse", status=422), errors.KantataRefused, 1),
    "404": (Fault("refuse", status=404), errors.KantataMisaddressed, 1),
    "500": (Fault("error", status=500), errors.KantataUnavailable, 5),
    "502 in HTML": (Fault("error", status=502, html=True), errors.KantataUnavailable, 5),
    "429": (Fault("throttle"), errors.KantataThrottled, 5),
    "HTML": (Fault("html"), errors.KantataMisaddressed, 1),
    "redirect": (Fault("redirect"), errors.KantataMisaddressed, 1),
    "cut off": (Fault("drop_before"), errors.KantataUnavailable, 5),
}


@pytest.mark.parametrize("name", _FAULTS)
def test_failures_are_named_by_what_to_do(name: str) -> None:
    """Each failure raises its own error, and is retried only if a retry can help."""
    fault, error, tries = _FAULTS[name]
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        sandbox.misbehave(fault)
        with pytest.raises(error) as caught:
            reader(sandbox.url).page(LIST, {})
        assert type(caught.value) is error
        assert TOKEN not in str(caught.value)
        assert len(sandbox.requests) == tries


def test_wrong_token() -> None:
    """A rejected token is reported at once; the message does not contain it."""
    with Sandbox(milestones=5, token="another") as sandbox:  # noqa: S106 - made up
        with pytest.raises(errors.KantataUnauthorized, match="Invalid OAuth 2 Request") as caught:
            reader(sandbox.url).page(LIST, {})
        assert TOKEN not in str(caught.value)


def test_html_after_json_is_an_outage() -> None:
    """Once the API has answered, a page instead of JSON is an outage, not a wrong address."""
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        kantata = reader(sandbox.url)
        kantata.page(LIST, {})
        sandbox.misbehave(Fault("html"))
        with pytest.raises(errors.KantataUnavailable):
            kantata.page(LIST, {})


def test_retry_after_is_honoured() -> None:
    """After a 429 the reader waits as long as Retry-After says."""
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        sandbox.misbehave(Fault("throttle", retry_after=1, times=1))
        began = time.monotonic()
        assert len(reader(sandbox.url).page(LIST, {}).records) == 5
        assert time.monotonic() - began >= 1


def test_the_pace_finds_itself() -> None:
    """A throttled account is read to the end with a few refusals; before the first, at full speed.

    Each refusal costs a second here, so a hundred reads at full speed would have three or more.
    """
    limit = RateLimit(requests=30)
    with Sandbox(milestones=0, token=TOKEN) as sandbox:
        kantata = reader(sandbox.url)
        sandbox.limit_rate(limit)
        for _ in range(100):
            kantata.page("currencies", {"per_page": 1})
    assert (limit.accepted, 1 <= limit.refused <= 2) == (100, True)


def test_rate_limit_is_kept() -> None:
    """With 20 requests a second, eleven take half a second."""
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        kantata = KantataReader(sandbox.url, TOKEN, requests_per_second=20)
        began = time.monotonic()
        for _ in range(11):
            kantata.page(LIST, {})
        assert time.monotonic() - began >= 0.5


def test_refused_connection() -> None:
    """A refused connection is an outage; its message shows no object of a library."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api/v1"
        with pytest.raises(errors.KantataUnavailable, match="Connection refused") as raised:
            reader(url).page(LIST, {})
    assert "Connection(" not in str(raised.value)


def test_host_without_tls() -> None:
    """A host that does not speak TLS never receives the token."""
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        with pytest.raises(errors.KantataMisaddressed, match="no secure connection"):
            reader(sandbox.url.replace("http://", "https://")).page(LIST, {})
        assert not sandbox.requests


@pytest.mark.parametrize("url", ["http://example.com/api/v1", "ftp://x", "api.mavenlink.com", ""])
def test_invalid_addresses(url: str) -> None:
    """An address that is invalid or not encrypted is refused before any request."""
    with pytest.raises(errors.KantataMisaddressed):
        reader(url)


@pytest.mark.parametrize("token", ["", " ", "a b", "a\nb", "ü"])
def test_invalid_tokens(token: str) -> None:
    """A token that cannot be a header is refused; the message does not contain it."""
    with pytest.raises(errors.KantataMisconfigured) as caught:
        reader("https://api.mavenlink.com/api/v1", token)
    assert token.strip() == "" or token not in str(caught.value)


def test_netrc_does_not_replace_the_token(tmp_path: Path) -> None:
    """Credentials in .netrc for the host are not sent instead of the token."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        assert len(reader(sandbox.url).page(LIST, {}).records) == 5


def test_only_takes_a_hundred_ids_a_request_and_never_none() -> None:
    """Ids are requested in chunks. No ids is no request: an empty filter means everything."""
    with Sandbox(milestones=250, token=TOKEN) as sandbox:
        kantata, ids = reader(sandbox.url), list(sandbox.account.milestones)
        assert list(kantata.only(LIST, [])) == []
        found = [i for page in kantata.only(LIST, [*ids, "1"]) for i in page.records]
        assert sorted(found) == sorted(ids)
        assert len(sandbox.requests) == 3
