"""What reads and writes share on the wire: session, token, request log.

Every request carries the token in a header that requests itself never prints, goes to one host
and follows no redirect, so the token goes nowhere else.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from ..errors import (
    KantataError,
    KantataMisaddressed,
    KantataMisconfigured,
)
from ..settings import CONNECT_TIMEOUT, MOST_BYTES, READ_TIMEOUT, REQUEST_DEADLINE
from .deadline import DeadlineAdapter, read_body
from .masking import mask

Parameters = Mapping[str, str | int]
_REQUEST_ID = "x-request-id"


@dataclass(frozen=True, kw_only=True)
class RequestLog:
    """The log of one request on the wire, and how it ended.

    Args:
        method: The HTTP method, such as GET.
        path: Below the API's address, without the query.
        status: The HTTP status; 0 if no answer came.
        request_id: Kantata's id of the request, for its support; empty if no answer came.
        seconds: Time until the answer came.
    """

    method: str
    path: str
    status: int
    request_id: str
    seconds: float


OnRequest = Callable[[RequestLog], None]


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """The HTTP response to one request, as it came on the wire.

    Args:
        status: The HTTP status.
        headers: The headers by name.
        content: The body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def request_id(self) -> str:
        """Kantata's id of the HTTP request; empty if the response has none."""
        return self.headers.get(_REQUEST_ID, "")


class BearerAuth(AuthBase):
    """Sets the bearer token of each request; as an auth object, it also overrides a .netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the Authorization header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Transport:
    """Sends requests to one address with one token, each of them once.

    Args:
        url: The API's address.
        token: The bearer token.
        on_request: Called after each request.
        deadline: Seconds that one request may take as a whole.
        most_bytes: The most bytes of one response, decompressed.
    """

    def __init__(
        self,
        url: str,
        token: str,
        on_request: OnRequest | None = None,
        deadline: float = REQUEST_DEADLINE,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.url = check_url(url)
        self._token = check_token(token)
        self._auth = BearerAuth(self._token)
        self._on_request = on_request
        self._deadline = deadline
        self._most_bytes = most_bytes
        self._sessions = threading.local()

    def masked(self, error: KantataError) -> KantataError:
        """Return an error without the token, which a server or proxy may repeat in its message."""
        error.args = (mask(str(error), self._token), *error.args[1:])
        return error

    def send(
        self,
        method: str,
        path: str,
        *,
        parameters: Parameters | None = None,
        body: bytes | None = None,
    ) -> HttpResponse:
        """Send one HTTP request with the token, and log it however it ends.

        Raises:
            requests.exceptions.RequestException: If no response came.
        """
        began, response = time.monotonic(), None
        try:
            answer = self._session().request(
                method,
                f"{self.url}/{path}",
                params=dict(parameters or {}),
                data=body,
                headers={} if method == "GET" else {"Content-Type": "application/json"},
                auth=self._auth,
                timeout=(CONNECT_TIMEOUT, min(READ_TIMEOUT, self._deadline)),
                allow_redirects=False,
                stream=True,
            )
            content = read_body(answer, until=began + self._deadline, most_bytes=self._most_bytes)
            response = self._without_token(answer, content)
        finally:
            if self._on_request:
                self._on_request(_request_log(method, path, response, time.monotonic() - began))
        return response

    def _without_token(self, answer: requests.Response, content: bytes) -> HttpResponse:
        """Return an HTTP response without the token in its request id, or in the body of an error.

        A good body stays as it is: it is data.
        """
        headers = answer.headers
        if _REQUEST_ID in headers:
            headers[_REQUEST_ID] = mask(headers[_REQUEST_ID], self._token)
        if answer.status_code >= 300:  # now, since a long message is cut, perhaps within the token
            text = mask(content.decode(errors="surrogateescape"), self._token)
            content = text.encode(errors="surrogateescape")
        return HttpResponse(status=answer.status_code, headers=headers, content=content)

    def _session(self) -> requests.Session:
        """Return this thread's HTTP session, since threads may not be able to share one."""
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = self._sessions.session = requests.Session()
            session.headers["Accept"] = "application/json"
            if is_loopback(str(urlsplit(self.url).hostname)):
                session.trust_env = False  # no proxy of the environment may see the token
            for scheme in ("http://", "https://"):
                session.mount(scheme, DeadlineAdapter(self._deadline))
        return session

    def close(self) -> None:
        """Close this thread's HTTP session and its connection."""
        if (session := getattr(self._sessions, "session", None)) is not None:
            session.close()


def _request_log(
    method: str, path: str, response: HttpResponse | None, seconds: float
) -> RequestLog:
    """Describe an HTTP request that ended, for the request log; status 0 if no response came."""
    return RequestLog(
        method=method,
        path=path,
        status=response.status if response else 0,
        request_id=response.request_id if response else "",
        seconds=seconds,
    )


def check_url(url: str) -> str:
    """Check the address that requests are sent to, and return it without its last slash.

    Raises:
        KantataMisaddressed: If it is not http(s), or http to another machine, which would send the
            token unencrypted.
    """
    # Libraries disagree about which host a backslash or a user name means; and a password or a
    # query could hold a secret, so the message does not repeat them.
    if any(character in url for character in "\\@?#"):
        raise KantataMisaddressed(
            "kantata_api_url contains \\, @, ? or #: write only the address, such as "
            "https://api.mavenlink.com/api/v1"
        )
    wrong = KantataMisaddressed(
        f"kantata_api_url is {url!r}, not an address like https://api.mavenlink.com/api/v1"
    )
    try:
        parts = urlsplit(url.strip())
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise KantataMisaddressed(
            f"kantata_api_url is {url!r}: over http the token would be sent unencrypted. Use https."
        )
    return url.strip().rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether an address' host is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_token(token: str, name: str = "KANTATA_ACCESS_TOKEN") -> str:
    """Check the token that requests are sent with, and return it without surrounding space.

    Raises:
        KantataMisconfigured: If it is empty or cannot be a header. The message does not repeat it.
    """
    if not re.fullmatch(r"[\x21-\x7e]+", token.strip()):
        raise KantataMisconfigured(f"{name} is empty, or contains characters that no token has")
    return token.strip()
