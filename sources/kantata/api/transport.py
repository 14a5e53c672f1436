"""What reading and writing share on the wire: the token, the pace, and what headers say."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from ..errors import KantataMisaddressed, KantataMisconfigured, KantataUnavailable

_OBJECT = re.compile(
    r"^<[^>]*>:? ?|^HTTPS?Connection\([^)]*\):? ?|.*Connection object at 0x[0-9a-f]+>:? ?"
)


@dataclass(frozen=True)
class RequestLog:
    """One request, and what became of it.

    Args:
        method: As GET.
        path: Below the API's address, without the query.
        status: HTTP's; 0 if no answer came.
        request_id: Kantata's name for it, which its support asks for; empty if no answer came.
        seconds: Until the answer was there.
    """

    method: str
    path: str
    status: int
    request_id: str
    seconds: float


OnRequest = Callable[[RequestLog], None]


class Bearer(AuthBase):
    """Sets the token; as an auth object it also keeps a .netrc from replacing it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the header in."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class RateLimiter:
    """Lets requests through one after another, never faster than allowed, all held by a 429.

    Args:
        requests_per_second: The limit; 0 is none.
    """

    def __init__(self, requests_per_second: float) -> None:
        self._gap = 1 / requests_per_second if requests_per_second > 0 else 0.0
        self._free_at = 0.0
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def wait(self) -> None:
        """Wait for this request's turn.

        Raises:
            KantataUnavailable: If reading was stopped meanwhile.
        """
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._free_at)
            self._free_at = turn + self._gap
        self.sleep(turn - now)

    def hold(self, seconds: float) -> None:
        """Let no request start for this many seconds."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless reading is stopped first."""
        if self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set():
            raise KantataUnavailable("reading was stopped")

    def stop(self) -> None:
        """Wake all sleepers and let no further request start."""
        self._stopped.set()


def request_log(
    method: str, path: str, response: requests.Response | None, seconds: float
) -> RequestLog:
    """What to tell of a request; without a response there was no answer."""
    if response is None:
        return RequestLog(method, path, 0, "", seconds)
    return RequestLog(
        method, path, response.status_code, response.headers.get("x-request-id", ""), seconds
    )


def check_url(url: str) -> str:
    """The address without its last slash.

    Raises:
        KantataMisaddressed: If it is not http(s), or http to another machine, which would
            send the token in clear.
    """
    wrong = KantataMisaddressed(
        f"kantata_api_url is {url!r}, not an address like https://api.mavenlink.com/api/v1"
    )
    try:
        parts = urlsplit(url.strip())
        parts.port  # noqa: B018 - it is checked when it is asked for
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise KantataMisaddressed(
            f"kantata_api_url is {url!r}: over http the token could be read on the way. Use https."
        )
    return url.strip().rstrip("/")


def check_token(token: str, name: str = "KANTATA_ACCESS_TOKEN") -> str:
    """The token without surrounding space.

    Raises:
        KantataMisconfigured: If it is empty or cannot be a header, without repeating it.
    """
    if not re.fullmatch(r"[\x21-\x7e]+", token.strip()):
        raise KantataMisconfigured(f"{name} is empty or holds characters no token has")
    return token.strip()


def error_reason(error: Exception) -> str:
    """The innermost reason, without the object that tells it."""
    inner: BaseException = error
    while True:
        deeper = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    return _OBJECT.sub("", str(inner))[:200]


def retry_after(response: requests.Response) -> float | None:
    """Seconds to wait by the Retry-After header, which may be seconds or a date."""
    value = response.headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return float(value)
    moment = parse_http_date(value)
    return None if moment is None else max(0.0, (moment - datetime.now(UTC)).total_seconds())


def parse_http_date(header: str) -> datetime | None:
    """The time in a header, UTC unless it says otherwise; None if it is unreadable."""
    try:
        moment = parsedate_to_datetime(header)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
