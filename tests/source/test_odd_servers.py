"""Servers, gateways and proxies that misbehave: every wait ends, and no secret is passed on."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from requests.exceptions import RequestException

from sources.kantata import errors
from sources.kantata.api.reader import KantataReader
from sources.kantata.api.transport import Transport
from sources.kantata_sandbox import Fault, Sandbox
from tests.support.altered import altered

LIST = "billing_milestones"
TOKEN = "s3cret-token-8f1c"  # noqa: S105 - made up
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def reader(url: str, backoff: float = 0.001) -> KantataReader:
    """Return a reader that hardly waits between attempts."""
    return KantataReader(url, TOKEN, backoff_seconds=backoff)


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Run a server that answers each request with bytes; yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)


def drip_body(connection: socket.socket) -> None:
    """Send a byte of the body now and then."""
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        time.sleep(0.1)


def drip_head(connection: socket.socket) -> None:
    """Send a byte of a header now and then."""
    connection.sendall(HEAD + b"X-Long: ")
    for _ in range(100):
        connection.sendall(b"x")
        time.sleep(0.1)


@pytest.mark.parametrize("drip", [drip_body, drip_head])
def test_a_dripping_answer_ends(drip: Callable[[socket.socket], None]) -> None:
    """One request has a deadline as a whole, however often a byte comes."""
    with server(drip) as url:
        began = time.monotonic()
        with (
            closing(Transport(url, TOKEN, deadline=1.0)) as transport,
            pytest.raises(RequestException),
        ):
            transport.send("GET", LIST)
        assert time.monotonic() - began < 6


def test_a_bomb_is_not_unpacked() -> None:
    """An answer that unpacks to more than the limit is refused before it is unpacked whole."""
    body = gzip.compress(b" " * 5_000_000)

    def bomb(connection: socket.socket) -> None:
        length = f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        connection.sendall(HEAD + length + body)

    with (
        server(bomb) as url,
        closing(Transport(url, TOKEN, most_bytes=1_000_000)) as transport,
        pytest.raises(RequestException, match="larger than 1,000,000"),
    ):
        transport.send("GET", LIST)


@pytest.mark.parametrize(
    ("retry_after", "words"),
    [
        ("86400", "asks to wait until 20"),
        ("99999999999999", "asks to wait for years"),
        ("Fri, 31 Dec 9999 23:59:59 GMT", "asks to wait for years"),
    ],
)
def test_a_long_pause_ends_the_run(retry_after: str, words: str) -> None:
    """If Kantata asks to wait for long, the run ends at once, with 75, and says until when."""
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        sandbox.misbehave(Fault("throttle", retry_after=retry_after))
        with pytest.raises(errors.KantataThrottled, match=words) as ended:
            reader(sandbox.url).page(LIST, {})
        assert (ended.value.exit_code, len(sandbox.requests)) == (75, 1)


@pytest.mark.parametrize("retry_after", ["0", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_no_pause_still_backs_off(retry_after: str) -> None:
    """`Retry-After: 0` and a time in the past do not make five requests at once."""
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        sandbox.misbehave(Fault("throttle", retry_after=retry_after))
        began = time.monotonic()
        with pytest.raises(errors.KantataThrottled):
            reader(sandbox.url, backoff=0.03).page(LIST, {})
        assert (len(sandbox.requests), time.monotonic() - began > 0.4) == (5, True)


@pytest.mark.parametrize("status", [401, 403])
def test_a_gateways_page_is_not_kantatas_word(status: int) -> None:
    """A refusal without Kantata's own error body is repeated; if it stays, it ends with 75."""
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        sandbox.misbehave(Fault("error", status=status, html=True, times=1))
        assert len(reader(sandbox.url).page(LIST, {}).records) == 5
        sandbox.misbehave(Fault("error", status=status, html=True))
        with pytest.raises(errors.KantataUnavailable, match="gateway or proxy") as lasting:
            reader(sandbox.url).page(LIST, {})
        assert lasting.value.exit_code == 75


@pytest.mark.parametrize("status", [403, 422, 500])
def test_a_repeated_token_is_masked(status: int) -> None:
    """If an error message repeats the token, it is not passed on."""
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        kind = "refuse" if status < 500 else "error"
        sandbox.misbehave(Fault(kind, status=status, message=f"bad token {TOKEN}"))
        with pytest.raises(errors.KantataError) as refused:
            reader(sandbox.url).page(LIST, {})
        assert TOKEN not in str(refused.value)
        assert TOKEN not in repr(refused.value)


def test_a_list_ends_where_its_count_ends() -> None:
    """A list that claims a billion pages is read as far as it can reach."""

    def many_pages(_: str, body: dict[str, dict[str, int]]) -> object:
        body["meta"]["page_count"] = 1_000_000_000
        return body

    with Sandbox(milestones=5, token=TOKEN) as sandbox, altered(sandbox) as between:
        between.change = many_pages
        assert reader(between.url).page(LIST, {}).pages == 1


def test_no_proxy_sees_the_token_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is not used for an address of this machine."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Sandbox(milestones=5, token=TOKEN) as sandbox:
        assert len(reader(sandbox.url).page(LIST, {}).records) == 5


@pytest.mark.parametrize(
    "url", ["http://other-host\\@127.0.0.1/", "https://a:b@api.example.com/v1"]
)
def test_ambiguous_addresses(url: str) -> None:
    """An address whose host depends on who reads it is refused."""
    with pytest.raises(errors.KantataMisaddressed):
        reader(url)
