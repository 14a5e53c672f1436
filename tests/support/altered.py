"""A server between the connector and the sandbox that alters answers as the sandbox cannot."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from sources.kantata_sandbox import Sandbox

Change = Callable[[str, Any], Any]
"""Gets the path with its query and the parsed answer; gives the answer to send."""


@dataclass
class Altered:
    """Where to sync from instead of the sandbox.

    Args:
        url: The base URL of the API.
        token: The sandbox's token.
        change: How answers are altered.
        date: The Date header; None leaves it out, empty keeps the sandbox's.
        bytes_instead: What to send instead of some bytes of a body.
    """

    url: str
    token: str
    change: Change = lambda _, body: body
    date: str | None = ""
    bytes_instead: Mapping[bytes, bytes] = field(default_factory=dict)


@contextmanager
def altered(sandbox: Sandbox) -> Iterator[Altered]:
    """Run such a server in front of a sandbox."""
    origin = sandbox.url.partition("/api/v1")[0]
    between = Altered("", sandbox.token)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            bearer = {"Authorization": self.headers["Authorization"]}
            answer = requests.get(origin + self.path, headers=bearer, timeout=120)
            body = json.dumps(between.change(self.path, answer.json())).encode()
            for old, new in between.bytes_instead.items():
                body = body.replace(old, new)
            self.send_response_only(answer.status_code)
            date = answer.headers["Date"] if between.date == "" else between.date
            if date is not None:
                self.send_header("Date", date)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    between.url = f"http://127.0.0.1:{server.server_port}/api/v1"
    try:
        yield between
    finally:
        server.shutdown()
        server.server_close()
