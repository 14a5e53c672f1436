"""Turns a response, or none, into a result, or into an error whose class says what to do next.

Reads and writes share how a response is parsed. They differ in what a failure means: a read may be
repeated, while a write without a clear answer may have been done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from requests.exceptions import (
    ConnectTimeout,
    InvalidProxyURL,
    InvalidSchema,
    InvalidURL,
    RequestException,
    SSLError,
)
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from ..errors import (
    KantataError,
    KantataForbidden,
    KantataMisaddressed,
    KantataMisconfigured,
    KantataNeverArrived,
    KantataOutcomeUnknown,
    KantataRefused,
    KantataThrottled,
    KantataUnauthorized,
    KantataUnavailable,
)
from ..settings import LONGEST_WAIT
from .envelope import error_messages
from .lenient_json import parse_leniently
from .transport import HttpResponse

_AMBIGUOUS = (408,)  # the server stopped waiting, perhaps after doing it
# How urllib3 shows an error within another one, and an object.
_CALL = re.compile(r"\b(?:IncompleteRead|InvalidChunkLength)\((.*)\)")
_OBJECT = re.compile(
    r"^HTTPS?ConnectionPool\([^)]*\):? ?|^<[^>]*>:? ?|"
    r"^\w*Connection\([^)]*\):? ?|.*Connection object at 0x[0-9a-f]+>:? ?"
)


@dataclass(frozen=True, kw_only=True)
class ReadResponse:
    """The response to a read.

    Args:
        response: The response as it came.
        url: The API's address.
        path: What was read, below the address.
        is_api: Whether this address has answered like the API before.
    """

    response: HttpResponse
    url: str
    path: str
    is_api: bool

    def body(self) -> object:
        """Return the parsed JSON of the response to a read.

        Raises:
            KantataError: If the read failed. Its class says what to do next.
        """
        body = parse_json(self.response)
        if is_success(self.response) and body is not None:
            return body
        raise self._error(body)

    @property
    def _where(self) -> str:
        """The address the response came from, for messages."""
        return f"{self.url}/{self.path}"

    def _error(self, body: object) -> KantataError:
        """Return the error that a failed response to a read means, by its status."""
        status, reason = self.response.status, error_messages(body)
        if status in (401, 403) and not _has_errors(body):
            return KantataUnavailable(
                f"{self._where} answered {status} with {_content_type(self.response)} that is not "
                "Kantata's: a gateway or proxy on the way refuses"
            )
        if status == 401:
            return KantataUnauthorized(
                f"Kantata refused the token (401: {reason}). "
                "Set a valid one in KANTATA_ACCESS_TOKEN. Revoking an application revokes its "
                "tokens."
            )
        if status == 403:
            return KantataForbidden(
                f"the token's user may not read {self.path} (403: {reason}). "
                "Ask a Kantata administrator for the permission."
            )
        if status == 429:
            wait = retry_after(self.response)
            return KantataThrottled(f"Kantata is throttling {self._where} (429){until(wait)}", wait)
        if status >= 500:
            return KantataUnavailable(f"{self._where} answered {status}{_after_colon(reason)}")
        if 300 <= status < 400:
            return KantataMisaddressed(
                f"{self._where} redirects to {_redirect_host(self.response)}: no redirect is "
                "followed, so that nobody else gets the token. Correct kantata_api_url."
            )
        if not _has_errors(body) or (status == 404 and "/" not in self.path):
            return self._not_the_api()
        return KantataRefused(f"{self._where} answered {status}{_after_colon(reason)}", status)

    def _not_the_api(self) -> KantataError:
        """Return the error for a response that does not look like the Kantata API's."""
        status, kind = self.response.status, _content_type(self.response)
        if kind.endswith("json") and status == 200:
            return KantataUnavailable(
                f"{self._where} answered incomplete JSON: was the connection cut?"
            )
        if self.is_api:
            return KantataUnavailable(
                f"{self._where} answered {kind} instead of JSON ({status}): maintenance, or a "
                "proxy on the way"
            )
        return KantataMisaddressed(
            f"{self._where} answered {status} with {kind}, not Kantata's list. "
            "Check kantata_api_url: it ends in /api/v1."
        )


def read_without_response(error: RequestException, url: str) -> KantataError:
    """Return the error for a read that got no response from this address."""
    if isinstance(error, SSLError):
        return KantataMisaddressed(
            f"no secure connection to {url}: {innermost_reason(error)}. "
            "Check kantata_api_url and this machine's certificates."
        )
    if isinstance(error, (InvalidSchema, InvalidURL, InvalidProxyURL)):
        return KantataMisconfigured(
            f"no request to {url} is possible: {error}. Check kantata_api_url and the proxy in the "
            "environment."
        )
    return KantataUnavailable(
        f"no answer from {url}: {innermost_reason(error)}. Check the network and kantata_api_url."
    )


def write_result(method: str, response: HttpResponse) -> dict[str, Any]:
    """Return the parsed JSON of the response to a write; empty for a deletion.

    Raises:
        KantataUnauthorized: The token is invalid; nothing was done.
        KantataThrottled: Too many requests; nothing was done.
        KantataRefused: Kantata refused the write, with a reason.
        KantataOutcomeUnknown: Anything else: it may have been done.
    """
    status, body = response.status, parse_json(response)
    if status == 204 and method == "DELETE":
        return {}
    has_errors = _has_errors(body) or (isinstance(body, dict) and "error_message" in body)
    if is_success(response) and isinstance(body, dict) and not has_errors:
        return body
    if status == 429:
        wait = retry_after(response)
        raise KantataThrottled(f"Kantata is throttling (429){until(wait)}", wait)
    reason = error_messages(body) or "no reason given"
    if has_errors and status == 401:
        raise KantataUnauthorized(
            f"Kantata refused the token for writing (401: {reason}). Set a valid one in "
            "KANTATA_ACCESS_TOKEN, or KANTATA_WRITE_TOKEN if that is set."
        )
    if has_errors and 400 <= status < 500 and status not in _AMBIGUOUS:
        raise KantataRefused(f"Kantata refused it ({status}: {reason})", status)
    raise KantataOutcomeUnknown(
        f"it was sent, and answered {status} with {_content_type(response)}"
    )


def write_without_response(error: RequestException) -> KantataError:
    """Return the error for a write that got no response: it never arrived, or may have been done.

    The exception's class is the same for both; only the reasons within it differ.
    """
    if any(
        isinstance(reason, (ConnectTimeout, NewConnectionError, ConnectTimeoutError))
        for reason in _reasons(error)
    ):
        return KantataNeverArrived(f"no connection: {innermost_reason(error)}")
    return KantataOutcomeUnknown(f"it was sent, but no answer came: {innermost_reason(error)}")


def created_id(body: dict[str, Any], path: str) -> str:
    """Return the id of the one record that was created, by the response to the write.

    Raises:
        KantataOutcomeUnknown: If the body does not name exactly one.
    """
    try:
        (result,) = body["results"]
        if result["key"] == path and isinstance(result["id"], str):
            return str(result["id"])
    except (KeyError, TypeError, ValueError):
        pass
    raise KantataOutcomeUnknown("the answer does not say what was created")


def retry_after(response: HttpResponse) -> float | None:
    """Return the seconds to wait by the response's Retry-After header, seconds or a date."""
    value = response.headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return float(value)
    moment = _parse_http_date(value)
    return None if moment is None else max(0.0, (moment - datetime.now(UTC)).total_seconds())


def until(wait: float | None) -> str:
    """Return until when a response asks to wait, if that is long; else nothing."""
    if wait is None or wait <= LONGEST_WAIT:
        return ""
    if wait > timedelta(days=3650).total_seconds():
        return ", and asks to wait for years"
    return (
        f", and asks to wait until {datetime.now(UTC) + timedelta(seconds=wait):%Y-%m-%d %H:%M} UTC"
    )


def response_date(response: HttpResponse) -> datetime | None:
    """Return the server's time by the response's Date header, UTC; None if it is unreadable."""
    return _parse_http_date(response.headers.get("Date", ""))


def _parse_http_date(header: str) -> datetime | None:
    """Parse the date in a response's header to UTC; None if it is unreadable."""
    try:
        moment = parsedate_to_datetime(header)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def innermost_reason(error: BaseException) -> str:
    """Return the innermost reason why no response came, in plain text, without Python's objects."""
    *_, innermost = _reasons(error)
    text = str(innermost)
    if len(innermost.args) > 1 and isinstance(innermost.args[1], BaseException):  # of urllib3
        what, inner = str(innermost.args[0]).rstrip("."), innermost.args[1]
        why = getattr(inner, "strerror", None) or str(inner)
        text = what if why in what else f"{what}: {why}"
    plain = _CALL.sub(r"\1", _OBJECT.sub("", text))
    return " ".join(plain.split())[:200]


def _reasons(error: BaseException) -> Iterator[BaseException]:
    """Yield the error of a request without response, and the reasons within it, outermost first."""
    inner: object = error
    while isinstance(inner, BaseException):
        yield inner
        inner = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)


def parse_json(response: HttpResponse) -> object:
    """Return the JSON of a response's body, if need be leniently; None if it is not JSON."""
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        pass
    try:
        return parse_leniently(response.content)
    except ValueError:
        return None


def is_success(response: HttpResponse) -> bool:
    """Return whether the response has a status of success."""
    return 200 <= response.status < 300


def _has_errors(body: object) -> bool:
    """Return whether the body of a response is an object with errors, as Kantata sends them."""
    return isinstance(body, dict) and ("errors" in body or "error_message" in body)


def _content_type(response: HttpResponse) -> str:
    """Return the content type of a response, without its parameters."""
    return response.headers.get("Content-Type", "no content type").partition(";")[0]


def _redirect_host(response: HttpResponse) -> str:
    """Return the host to which a response redirects."""
    return urlsplit(response.headers.get("Location", "")).netloc or "another path"


def _after_colon(text: str) -> str:
    """Return the reason in a response after a colon; empty if there is none."""
    return f": {text}" if text else ""
