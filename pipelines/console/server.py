"""The console's server: where it listens, and only where that is safe."""

from __future__ import annotations

import gc
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

import uvicorn

from pipelines.config.console_settings import ConsoleSettings
from sources.kantata.errors import KantataMisconfigured

from .addresses import is_loopback_host
from .app import OnError, console_app
from .services import Console

DEFAULT_PORT = 8377
_PATIENCE_SECONDS = 10.0
_DRAIN_SECONDS = 3  # for requests in progress when the server ends
_PREPARED_EVERY = 1.0  # seconds, after which the published file may be another one
_NO_LOG = 100  # above every level: what is worth reporting goes to on_error


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the server listens.

    Args:
        host: The host name or address.
        port: The port; 0 for any free one.
        certificate: The file with its certificate; None without TLS.
        key: The file with the certificate's key.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    certificate: Path | None = None
    key: Path | None = None

    @property
    def has_tls(self) -> bool:
        """Whether the server encrypts its connections."""
        return self.certificate is not None

    def check(self, settings: ConsoleSettings) -> None:
        """Check that it is safe for the server to listen here.

        Raises:
            KantataMisconfigured: If passwords would cross a network in clear, or the certificate
                cannot be used.
        """
        if (self.certificate is None) != (self.key is None):
            raise KantataMisconfigured(
                "TLS needs both --tls-cert FILE and --tls-key FILE: add the missing one"
            )
        is_reachable = not is_loopback_host(self.host)
        if is_reachable and not self.has_tls and not settings.trusted_proxies:
            raise KantataMisconfigured(
                f"the console does not listen on {self.host} without encryption, since passwords "
                "would cross the network in clear: add --tls-cert FILE --tls-key FILE; or put a "
                "proxy with TLS before it, and set CONSOLE__TRUSTED_PROXIES to its address; or "
                "leave out --host for 127.0.0.1"
            )
        if self.certificate is not None and self.key is not None:
            _check_certificate(self.certificate, self.key)


def _check_certificate(certificate: Path, key: Path) -> None:
    """Check that the server can use its certificate."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:  # SSLError is an OSError
        why = getattr(error, "strerror", None) or error
        raise KantataMisconfigured(
            f"cannot use the certificate {certificate} with the key {key}: {why}. Give a PEM file "
            "with the certificate and its chain, and the key of that certificate without password"
        ) from None


class ConsoleServer:
    """The server of a console, in a thread. Use it in a ``with`` statement.

    Args:
        console: The console.
        address: Where it listens.
        on_error: Is given an unexpected error; returns where its details are.

    Raises:
        KantataMisconfigured: On entering, if it must not or cannot listen there.
    """

    def __init__(
        self, console: Console, address: Address, on_error: OnError = lambda _: ""
    ) -> None:
        self._console = console
        self._address = address
        self._app = console_app(console, on_error)
        self._port = address.port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._preparing = threading.Thread(target=self._prepare, name="figures", daemon=True)

    @property
    def url(self) -> str:
        """The address of the console for a browser, without a slash at the end."""
        scheme = "https" if self._address.has_tls else "http"
        host = self._address.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._port}"

    def __enter__(self) -> Self:
        address = self._address
        address.check(self._console.settings)
        listener = _listen(address)
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level=_NO_LOG,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # only headers of trusted proxies count
            timeout_graceful_shutdown=_DRAIN_SECONDS,
            ssl_certfile=address.certificate,
            ssl_keyfile=address.key,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="console", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise KantataMisconfigured(f"the console did not start to listen on {self.url}")
            time.sleep(0.01)
        self._preparing.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_PATIENCE_SECONDS)
        self._stopped.set()
        if self._preparing.is_alive():
            self._preparing.join(_PATIENCE_SECONDS)
        self._console.readers.close()

    def _prepare(self) -> None:
        """Keep the figures of the overview ready, until the server ends: they take long to read."""
        while self._console.prepare() and not self._stopped.wait(_PREPARED_EVERY):
            pass


def _listen(address: Address) -> socket.socket:
    """Return a socket that listens for the server."""
    listener: socket.socket | None = None
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, place = found[0][0], found[0][4]
        # Named by its protocol, so that asyncio knows it and sends an answer's parts without delay.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(512)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise KantataMisconfigured(
            f"cannot listen on {address.host}, port {address.port}: {error.strerror or error}. Use "
            "another --port, or end the program that uses it"
        ) from None
    return listener


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGINT or SIGTERM sets, to end the server."""
    stop = threading.Event()

    def set_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, set_stop) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def serve_console(
    console: Console, address: Address, on_ready: Callable[[str], object], on_error: OnError
) -> None:
    """Run the console's server until SIGINT or SIGTERM.

    Args:
        console: The console.
        address: Where it listens.
        on_ready: Is given its address for a browser once it listens.
        on_error: As of ``ConsoleServer``.

    Raises:
        KantataMisconfigured: If it must not or cannot listen there.
    """
    gc.enable()  # the command line has disabled it
    with _stop_signals() as stop, ConsoleServer(console, address, on_error) as server:
        on_ready(server.url)
        with suppress(KeyboardInterrupt):
            stop.wait()
