"""A webhook that keeps the messages it received."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Webhook:
    """A webhook that answers as Slack's does.

    Args:
        url: Its URL.
        texts: The messages it accepted, in order.
        status: The status it answers; only 200 accepts a message.
        drips: The part of its answer that never ends: ``head`` or ``body``; empty for none.
    """

    url: str = ""
    texts: list[str] = field(default_factory=list)
    status: int = 200
    drips: str = ""


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook on a free port of 127.0.0.1."""
    hook, over = Webhook(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if hook.status == 200:
                assert self.headers["Content-Type"] == "application/json"
                hook.texts.append(json.loads(body)["text"])
            with suppress(OSError):  # the client may have closed the connection
                self._answer()

        def _answer(self) -> None:
            if hook.drips == "head":
                self._drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            self.send_response(hook.status)
            self.end_headers()
            if hook.drips == "body":
                self._drip(b"")
            self.wfile.write(b"ok")

        def _drip(self, first: bytes) -> None:
            self.wfile.write(first)
            while not over.wait(0.1):
                self.wfile.write(b".")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_port}/services/T0/B0/secret-part"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hook
    over.set()
    server.shutdown()
    server.server_close()
    thread.join()
