"""A real S3 server, and a server in front of it that is slow, fails, or cuts the power."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

from tests.support.postgres import free_port

KEY, SECRET = "loader", "secret-of-the-lake"
BUCKET = "lake"
_START_SECONDS = 90
_FORWARDED = ("content-length", "transfer-encoding", "connection")


def options(endpoint: str) -> dict[str, str]:
    """The storage options for a server at this address."""
    return {
        "endpoint_url": endpoint,
        "allow_http": "true",
        "aws_region": "us-east-1",
        "aws_access_key_id": KEY,
        "aws_secret_access_key": SECRET,
    }


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """Start a server of S3 with a bucket, in a folder; gives its address."""
    identity = {"accessKey": KEY, "secretKey": SECRET}
    config = folder / "s3.json"
    config.write_text(
        json.dumps({"identities": [{"name": KEY, "credentials": [identity], "actions": ["Admin"]}]})
    )
    master, volume, filer, port = _ports(folder)
    weed = Path(sys.executable).parent / "weed"
    command = [
        str(weed), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}",
        "-s3", f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.config={config}", "-master.volumeSizeLimitMB=64", "-volume.max=50",
        "-master.telemetry=false",
    ]  # fmt: skip
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as process,
    ):
        try:
            _await(f"http://127.0.0.1:{port}/", process)
            shell = [str(weed), "shell", f"-master=127.0.0.1:{master}"]
            created = f"s3.bucket.create -name {BUCKET}\n"
            subprocess.run(shell, input=created.encode(), check=True, capture_output=True)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _ports(folder: Path) -> list[int]:
    """Free ports whose ports for gRPC, which are 10,000 higher, exist."""
    found: list[int] = []
    while len(found) < 4:
        port = free_port()
        if port < 55_000 and port not in found:
            found.append(port)
    return found


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers, even if it refuses."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "the S3 server ended"
        try:
            urlopen(url, timeout=5).close()  # noqa: S310 - on this machine
        except OSError as error:
            if hasattr(error, "code"):
                return
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the S3 server did not start")


@dataclass
class Front:
    """A server in front of the S3 server.

    Args:
        address: Its address.
        before: Called with the method and path of each request; returns a status to answer with
            instead, or None.
        after: Called after a request was carried out, before it is answered.
        requests: What was asked, in order.
    """

    address: str = ""
    before: Callable[[str, str], int | None] = lambda _method, _path: None
    after: Callable[[str, str], None] = lambda _method, _path: None
    requests: list[tuple[str, str]] = field(default_factory=list)

    def writes(self) -> list[str]:
        """The paths that were written."""
        return [path for method, path in self.requests if method == "PUT"]


@contextmanager
def front(origin: str) -> Iterator[Front]:
    """Run such a server."""
    state = Front()
    host = origin.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            state.requests.append((self.command, self.path))
            if (status := state.before(self.command, self.path)) is not None:
                self._answer(status, b"", {})
                return
            connection = http.client.HTTPConnection(host, timeout=120)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
            # Signed for the address of this server, which the S3 server must see as its own.
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            found = answer.read()
            state.after(self.command, self.path)
            self._answer(answer.status, found, dict(answer.getheaders()))
            connection.close()

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in _FORWARDED:
                        self.send_header(name, value)
                size = headers.get("Content-Length") if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(size))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
