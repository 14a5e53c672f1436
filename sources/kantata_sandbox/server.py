"""Runs the sandbox: in a thread for a test, or in the foreground for a demonstration."""

import asyncio
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .account import Account
from .app import App, Served
from .faults import Fault
from .rate_limit import RateLimit

HOST = "127.0.0.1"
_PATIENCE_SECONDS = 10.0
_NO_LOG = 100  # above every level: what the server has to say is in its answers


class _Protocol(H11Protocol):
    """Passes the server's connection to the application, so that it can be cut off."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Pass the new connection of the server to the application."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    """A server that signals when it is listening, and stops at once.

    Uvicorn checks only ten times a second whether it should stop, and waits for the requests it
    serves. Tests start hundreds of sandboxes, some with requests that are being delayed.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()
        self._left = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def leave(self) -> None:
        """Stop the server; may be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._left.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the server, and signal that it is listening."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.listening.set()

    async def main_loop(self) -> None:
        """Wait until the server is to stop."""
        await self._left.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the server at once: abort its connections and cancel its requests."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
        for server in self.servers:
            await server.wait_closed()


def _listen(port: int) -> socket.socket:
    """Return a socket that listens for the server at this port; 0 is any free one."""
    # Named by its protocol, so that asyncio knows it and sends an answer's parts without delay.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


class Sandbox:
    """A local server that behaves like the Kantata OX API, and misbehaves on demand.

    Use it in a `with` statement. Nothing is kept when it ends. If something failed inside of it,
    such as an `action` of a fault, leaving it raises that error.

    Args:
        milestones: the number of billing milestones, from 0 to a million.
        seed: chooses the account; the same seed gives the same one.
        latency_ms: added to each response; concurrent requests overlap.
        token: the bearer token that is accepted.
        port: 0 for any free one.
        now: the date of the account and the start of its clock. None: the account has a fixed
            date, and the clock is the real one (or that date, if the real one is behind it).
        account: serve this account instead of a seeded one.

    Raises:
        OSError: on entering, if the port is taken.
    """

    def __init__(
        self,
        milestones: int = 1000,
        seed: int = 1,
        latency_ms: float = 0,
        token: str = "sandbox-token",  # noqa: S107 - it opens nothing
        port: int = 0,
        now: datetime | None = None,
        account: Account | None = None,
    ) -> None:
        self.token = token
        self.account = Account.seeded(milestones, seed, now) if account is None else account
        self._port = port
        self._app = App(self.account, token, latency_ms / 1000)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address of the API on the sandbox's server, without a slash at the end."""
        return f"http://{HOST}:{self._port}/api/v1"

    @property
    def control_url(self) -> str:
        """The address of the sandbox's own controls, /faults and /account, which need no token."""
        return f"http://{HOST}:{self._port}/sandbox"

    @property
    def requests(self) -> deque[Served]:
        """The requests the sandbox's server handled so far, the last hundred thousand of them."""
        return self._app.requests

    def limit_rate(self, limit: RateLimit | None) -> None:
        """Limit the sandbox's requests, or no longer."""
        self._app.rate_limit = limit

    def misbehave(self, *faults: Fault) -> None:
        """Add faults to those that are active in the sandbox."""
        self._app.faults.add(*faults)

    def behave(self) -> None:
        """End all faults of the sandbox."""
        self._app.faults.clear()

    def __enter__(self) -> Self:
        listener = _listen(self._port)
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app.asgi,
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level=_NO_LOG,
            access_log=False,
            date_header=False,  # the account has a clock of its own
            server_header=False,
            timeout_keep_alive=75,
            backlog=1024,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="kantata-sandbox", daemon=True
        )
        self._thread.start()
        if not self._server.listening.wait(_PATIENCE_SECONDS):
            raise TimeoutError(f"the sandbox did not listen within {_PATIENCE_SECONDS:g} s")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.leave()
            self._thread.join(_PATIENCE_SECONDS)
        if error is None and self._app.failures:
            raise self._app.failures[0]  # a mistake in here must not pass for a fault


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGINT or SIGTERM sets; only the main thread can receive signals."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def serve(
    port: int = 0,
    milestones: int = 1000,
    seed: int = 1,
    latency_ms: float = 0,
    token: str = "sandbox-token",  # noqa: S107 - it opens nothing
    on_ready: Callable[[str], object] | None = None,
) -> None:
    """Run the sandbox's server in the foreground until SIGINT or SIGTERM.

    Args:
        port: 0 for any free one.
        milestones: the number of billing milestones.
        seed: chooses the account.
        latency_ms: added to each response.
        token: the bearer token that is accepted.
        on_ready: called with the API's URL once the server listens.

    Raises:
        OSError: if the port is taken.
    """
    with _stop_signals() as stop, Sandbox(milestones, seed, latency_ms, token, port) as sandbox:
        if on_ready is not None:
            on_ready(sandbox.url)
        stop.wait()
