"""Writes milestones to the API, each request once. No code that reads can import this."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
from requests.exceptions import RequestException

from ..errors import KantataError
from ..settings import MILESTONES_PATH, PER_PAGE, REFERENCE_MODEL, REFERENCE_SERVICE
from .batch_answer import BatchAnswer, batch_answer
from .rate_limiter import RateLimiter
from .responses import created_id, write_result, write_without_response
from .transport import HttpResponse, OnRequest, Parameters, Transport

_NUMBERS = ("workspace_id", "story_id")  # declared int32 in requests, text in answers


class KantataWriter:
    """Writes to Kantata, each request once.

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
        body = {"billing_milestone": _new_milestone(change_id, fields)}
        return created_id(self._send("POST", MILESTONES_PATH, body), MILESTONES_PATH)

    def create_batch(self, creates: Mapping[str, Mapping[str, str | int | None]]) -> BatchAnswer:
        """Write new milestones with one request; each carries the id of its change.

        Args:
            creates: The fields of each milestone, by the change's id.

        Raises:
            KantataError: As ``_send``, but not if the batch was refused.
        """
        body = {"billing_milestones": [_new_milestone(*create) for create in creates.items()]}
        # Without these, the answer has 20 rows (API.md#batch-create) and no references.
        query: Parameters = {"per_page": PER_PAGE, "include": "external_references"}
        response = self._respond("POST", MILESTONES_PATH, body, query)
        try:
            return batch_answer(response, list(creates))
        except KantataError as error:
            raise self._transport.masked(error) from None

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
        response = self._respond(method, path, body)
        try:
            return write_result(method, response)
        except KantataError as error:
            raise self._transport.masked(error) from None

    def _respond(
        self, method: str, path: str, body: object, query: Parameters | None = None
    ) -> HttpResponse:
        """Send one write to Kantata, and return the response.

        Raises:
            KantataNeverArrived: No server has seen it.
            KantataOutcomeUnknown: No response came: it may have been done.
        """
        self.request_id = ""
        content = None if body is None else orjson.dumps(body)
        sent_at = time.monotonic()
        try:
            response = self._transport.send(method, path, parameters=query, body=content)
        except RequestException as error:
            raise self._transport.masked(write_without_response(error)) from None
        self._pace.record(response.status, sent_at)
        self.request_id = response.request_id
        return response


def _new_milestone(change_id: str, fields: Mapping[str, str | int | None]) -> dict[str, object]:
    """Return a new milestone as a write sends it, with a reference to its change."""
    reference = {
        "service_name": REFERENCE_SERVICE,
        "service_model": REFERENCE_MODEL,
        "service_model_ref": change_id,
    }
    return _wire_fields(fields) | {"external_reference": reference}


def _wire_fields(fields: Mapping[str, str | int | None]) -> dict[str, object]:
    """Return a milestone's fields as a write sends them, numbers as JSON numbers."""
    return {
        name: int(value) if name in _NUMBERS and value is not None else value
        for name, value in fields.items()
    }
