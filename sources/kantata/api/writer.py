"""The one door through which anything is written to Kantata, apart from the one for reading.

A write is sent once. What certainly never arrived is told apart from what may have been done: with
requests both look alike, and only the reason within tells.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
import requests
from requests.exceptions import ConnectTimeout, RequestException
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from ..errors import (
    KantataNeverArrived,
    KantataOutcomeUnknown,
    KantataRefused,
    KantataThrottled,
    KantataUnauthorized,
)
from ..settings import CONNECT_TIMEOUT, MILESTONES_PATH, READ_TIMEOUT
from .envelope import error_messages
from .transport import (
    Bearer,
    OnRequest,
    RateLimiter,
    check_token,
    check_url,
    error_reason,
    request_log,
    retry_after,
)

# How what we create is found again: by an external reference that names the change.
SERVICE = "milestones"
MODEL = "change"
_NUMBERS = ("workspace_id", "story_id")  # declared int32 in requests, text in answers
_AMBIGUOUS = (408,)  # the server gave up on it, perhaps half-way


class KantataWriter:
    """Writes to Kantata: one milestone at a time, each request once.

    Args:
        url: The API's address.
        token: The bearer token.
        pace: Shared with the reader, so that both keep to the same limit.
        on_request: Told of each request.
    """

    def __init__(
        self, url: str, token: str, pace: RateLimiter, on_request: OnRequest | None = None
    ) -> None:
        self._url = check_url(url)
        self._auth = Bearer(check_token(token))
        self._pace = pace
        self._on_request = on_request
        self._session = requests.Session()  # of its own: it never sends anything again
        self._session.headers["Accept"] = "application/json"
        self.request_id = ""

    def wait_turn(self) -> None:
        """Wait until the pace allows a request; what is sent next is sent at once.

        Apart from sending, so that what a write rests on can be looked at after the wait.

        Raises:
            KantataUnavailable: If reading was stopped meanwhile.
        """
        self._pace.wait()

    def create(self, change_id: str, fields: Mapping[str, str | int | None]) -> str:
        """Create a milestone that carries the change's id; gives the milestone's id.

        Raises:
            KantataError: As ``_send``; also ``KantataOutcomeUnknown`` for an answer without an id.
        """
        reference = {
            "service_name": SERVICE,
            "service_model": MODEL,
            "service_model_ref": change_id,
        }
        body = _wire_value(fields) | {"external_reference": reference}
        answer = self._send("POST", MILESTONES_PATH, {"billing_milestone": body})
        try:
            (result,) = answer["results"]
            if result["key"] == MILESTONES_PATH and isinstance(result["id"], str):
                return str(result["id"])
        except (KeyError, TypeError, ValueError):
            pass
        raise KantataOutcomeUnknown("the answer does not say what was created")

    def update(self, milestone_id: str, fields: Mapping[str, str | int | None]) -> None:
        """Change these fields of a milestone, and no others.

        Raises:
            KantataError: As ``_send``.
        """
        self._send(
            "PUT", f"{MILESTONES_PATH}/{milestone_id}", {"billing_milestone": _wire_value(fields)}
        )

    def delete(self, milestone_id: str) -> None:
        """Delete a milestone.

        Raises:
            KantataError: As ``_send``.
        """
        self._send("DELETE", f"{MILESTONES_PATH}/{milestone_id}", None)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _send(self, method: str, path: str, body: object) -> dict[str, Any]:
        """Send one request.

        Raises:
            KantataUnauthorized: The token is bad; nothing was done.
            KantataThrottled: Too many requests; it was refused.
            KantataRefused: Kantata says no, in its own words.
            KantataNeverArrived: No server has seen it.
            KantataOutcomeUnknown: Everything else.
        """
        self.request_id = ""
        began, response = time.monotonic(), None
        try:
            response = self._session.request(
                method,
                f"{self._url}/{path}",
                data=None if body is None else orjson.dumps(body),
                headers={"Content-Type": "application/json"},
                auth=self._auth,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                allow_redirects=False,
            )
        except RequestException as error:
            if _never_arrived(error):
                raise KantataNeverArrived(f"no connection: {error_reason(error)}") from None
            raise KantataOutcomeUnknown(
                f"sent, and no answer came: {error_reason(error)}"
            ) from None
        finally:
            if self._on_request:
                self._on_request(request_log(method, path, response, time.monotonic() - began))
        self.request_id = response.headers.get("x-request-id", "")
        return _parse_success(method, path, response)


def _parse_success(method: str, path: str, response: requests.Response) -> dict[str, Any]:
    status = response.status_code
    try:
        body: object = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    told = isinstance(body, dict) and ("errors" in body or "error_message" in body)
    said = error_messages(body) or "no reason given"
    if status == 204 and method == "DELETE":
        return {}
    if 200 <= status < 300 and isinstance(body, dict) and not told:
        return body
    if status == 429:
        raise KantataThrottled("Kantata is throttling (429)", retry_after(response))
    if told and status == 401:
        raise KantataUnauthorized(
            f"Kantata refused the token for writing (401: {said}). Put a valid one into "
            "KANTATA_ACCESS_TOKEN, or KANTATA_WRITE_TOKEN if that is set."
        )
    if told and 400 <= status < 500 and status not in _AMBIGUOUS:
        raise KantataRefused(f"Kantata refused it ({status}: {said})", status)
    kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
    raise KantataOutcomeUnknown(f"sent, and answered {status} with {kind}")


def _never_arrived(error: BaseException) -> bool:
    """Whether no connection was made, so that nothing can have been sent."""
    seen: object = error
    while isinstance(seen, BaseException):
        if isinstance(seen, (ConnectTimeout, NewConnectionError, ConnectTimeoutError)):
            return True
        seen = getattr(seen, "reason", None) or (seen.args[0] if seen.args else None)
    return False


def _wire_value(fields: Mapping[str, str | int | None]) -> dict[str, object]:
    return {n: int(v) if n in _NUMBERS and v is not None else v for n, v in fields.items()}
