"""End a request that takes too long as a whole, or whose answer is too large.

The timeouts of requests begin again with every byte, so a server that sends one now and then could
hold a request for hours. And a small compressed body can unpack to gigabytes.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ReadTimeout, RequestException
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.poolmanager import PoolManager

_CHUNK = 65_536  # bytes


class BodyTooLarge(RequestException):
    """A response's body is larger than any that Kantata sends."""


def read_body(response: requests.Response, *, until: float, most_bytes: int) -> bytes:
    """Read the body of a streamed response until a deadline, and up to a size.

    Args:
        response: The response; it is closed.
        until: The deadline, by ``time.monotonic``.
        most_bytes: The most bytes after decompression.

    Raises:
        RequestException: If the body is incomplete, too late or too large.
    """
    body = bytearray()
    try:
        with response:
            while chunk := response.raw.read1(_CHUNK, decode_content=True):
                body += chunk
                if len(body) > most_bytes:
                    raise BodyTooLarge(f"the answer is larger than {most_bytes:,} bytes")
                if time.monotonic() > until:
                    raise ReadTimeout("the answer took too long")
    except HTTPError as error:
        raise ChunkedEncodingError(error) from None
    return bytes(body)


class DeadlineAdapter(HTTPAdapter):
    """An adapter whose connections wait only so long for the head of a response.

    Args:
        seconds: The longest time from the request to the end of the response's headers.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as in requests
        """Create the pools of connections, with the deadline."""
        super().init_poolmanager(*arguments, **options)
        self._use_deadline(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as in requests
        """Create the pools of connections to a proxy, with the deadline."""
        manager = super().proxy_manager_for(*arguments, **options)
        self._use_deadline(manager)
        return manager

    def _use_deadline(self, manager: PoolManager) -> None:
        """Let a pool manager create connections with the deadline."""
        seconds = self._seconds

        class _Connection(_Deadline, HTTPConnection):
            deadline = seconds

        class _SecureConnection(_Deadline, HTTPSConnection):
            deadline = seconds

        class _Pool(HTTPConnectionPool):
            ConnectionCls = _Connection

        class _SecurePool(HTTPSConnectionPool):
            ConnectionCls = _SecureConnection

        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class _Deadline:
    """Part of a connection: it is shut down if the head of a response is not there in time."""

    deadline: float
    is_late = False
    sock: socket.socket | None

    def getresponse(self) -> Any:  # noqa: ANN401 - as in urllib3
        """Wait for the head of a response until the deadline."""
        timer = threading.Timer(self.deadline, self._shut_down)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()  # type: ignore[misc] # the connection's
        finally:
            timer.cancel()
        if self.is_late:
            response.close()
            raise TimeoutError("the answer took too long")
        return response

    def _shut_down(self) -> None:
        """Shut the connection down, so that the thread that waits for it wakes."""
        self.is_late = True
        with suppress(OSError):
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)
