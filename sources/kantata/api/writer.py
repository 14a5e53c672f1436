"""Writes milestones to the API, each request once. No code that reads can import this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from requests.exceptions import RequestException

from ..errors import KantataError
from ..settings import MILESTONES_PATH, REFERENCE_MODEL, REFERENCE_SERVICE
from .responses import created_id, write_result, write_without_response
from .transport import OnRequest, RateLimiter, Transport

_NUMBERS = ("workspace_id", "story_id")  # declared int32 in requests, text in answers


class KantataWriter:
    """Writes to Kantata: one milestone at a time, each request once.

    Args:
        url: The API's address.
        token: The bearer token.
        pace: The rate limiter, shared with the reader.
        on_request: Called after each request.
    """

    def __init__(
        self, url: str, token: str, pace: RateLimiter, on_request: OnRequest | None = None
    ) -> None:
        self._transport = Transport(url, token, on_request)
        self._pace = pace
        self.request_id = ""

    def wait_turn(self) -> None:
        """Wait until the rate limiter allows a request; the next write is then sent at once.

        It is separate from sending, so that what a write depends on can be checked after the wait.

        Raises:
            KantataUnavailable: If reading is stopped meanwhile.
        """
        self._pace.wait()

    def create(self, change_id: str, fields: Mapping[str, str | int | None]) -> str:
        """Write a new milestone that carries the change's id, and return the milestone's id.

        Raises:
            KantataError: As ``_send``; also ``KantataOutcomeUnknown`` for an answer without an id.
        """
        reference = {
            "service_name": REFERENCE_SERVICE,
            "service_model": REFERENCE_MODEL,
            "service_model_ref": change_id,
        }
        body = _wire_fields(fields) | {"external_reference": reference}
        answer = self._send("POST", MILESTONES_PATH, {"billing_milestone": body})
        return created_id(answer, MILESTONES_PATH)

    def update(self, milestone_id: str, fields: Mapping[str, str | int | None]) -> None:
        """Write these fields of a milestone, and no others.

        Raises:
            KantataError: As ``_send``.
        """
        self._send(
            "PUT", f"{MILESTONES_PATH}/{milestone_id}", {"billing_milestone": _wire_fields(fields)}
        )

    def delete(self, milestone_id: str) -> None:
        """Write the deletion of a milestone to Kantata.

        Raises:
            KantataError: As ``_send``.
        """
        self._send("DELETE", f"{MILESTONES_PATH}/{milestone_id}", None)

    def close(self) -> None:
        """Close the writer's connection."""
        self._transport.close()

    def _send(self, method: str, path: str, body: object) -> dict[str, Any]:
        """Send one write to Kantata, and return the JSON of its result.

        Raises:
            KantataUnauthorized: The token is invalid; nothing was done.
            KantataThrottled: Too many requests; nothing was done.
            KantataRefused: Kantata refused the write, with a reason.
            KantataNeverArrived: No server has seen it.
            KantataOutcomeUnknown: Anything else: it may have been done.
        """
        self.request_id = ""
        try:
            response = self._transport.send(
                method, path, body=None if body is None else orjson.dumps(body)
            )
        except RequestException as error:
            raise self._transport.masked(write_without_response(error)) from None
        self.request_id = response.request_id
        try:
            return write_result(method, response)
        except KantataError as error:
            raise self._transport.masked(error) from None


def _wire_fields(fields: Mapping[str, str | int | None]) -> dict[str, object]:
    """Return a milestone's fields as a write sends them, numbers as JSON numbers."""
    return {
        name: int(value) if name in _NUMBERS and value is not None else value
        for name, value in fields.items()
    }
