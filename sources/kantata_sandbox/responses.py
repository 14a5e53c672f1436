"""The envelope of every response, and the documented error bodies (API.md#responses)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from .blank_records import Record
from .query import Window, read_window

Maps = dict[str, dict[str, Record]]


@dataclass(frozen=True)
class ApiResponse:
    """A finished response."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json; charset=utf-8"


def json_response(value: object, status: int = 200) -> ApiResponse:
    """Return any JSON value as a response."""
    return ApiResponse(status, orjson.dumps(value))


def envelope(
    key: str,
    own: Mapping[str, Record],
    *,
    count: int,
    window: Window,
    side_loads: Maps | None = None,
) -> ApiResponse:
    """Return a response with a page of rows and what they include; `count` is the query's."""
    side_loads = side_loads or {}
    results = [{"key": key, "id": id_} for id_ in own]
    maps: dict[str, object] = {"count": count, "meta": window.meta(count), "results": results}
    # Side-loaded rows of the list's own kind land in the same map (API.md#envelope).
    maps |= side_loads
    maps[key] = {**own, **{i: r for i, r in side_loads.get(key, {}).items() if i not in own}}
    return json_response(maps)


def envelope_of_one(key: str, record: Record) -> ApiResponse:
    """Return a response with one record, without includes."""
    return envelope(key, {record["id"]: record}, count=1, window=read_window({}))


@dataclass(frozen=True)
class Problem:
    """One entry of `errors` in a response."""

    message: str
    field: str | None = None
    type: str = "validation"
    index: int | None = None

    def record(self) -> Record:
        """Return an entry of a response's errors as JSON, `field` and `index` only if set."""
        entry = {"type": self.type, "message": self.message}
        extra = {"field": self.field, "index": self.index}
        return entry | {name: value for name, value in extra.items() if value is not None}


class ApiError(Exception):
    """Raised by an endpoint to respond with an error body."""

    def __init__(self, status: int, *problems: Problem) -> None:
        super().__init__(status, problems)
        self.status = status
        self.problems = problems

    def response(self) -> ApiResponse:
        """Return the response with the documented error body."""
        return errors(self.status, *self.problems)


def errors(status: int, *problems: Problem) -> ApiResponse:
    """Return a response with the documented error body."""
    return json_response({"errors": [problem.record() for problem in problems]}, status)


def not_found() -> ApiError:
    """Return a 404 response, as for a missing time entry in the recorded responses of 2013."""
    return ApiError(404, Problem("Not found", type="system"))


def unauthorized() -> ApiError:
    """Return a 401 response, documented."""
    return ApiError(401, Problem("Invalid OAuth 2 Request", type="oauth"))


def forbidden(message: str) -> ApiError:
    """Return a 403 response; its text is unknown."""
    return ApiError(403, Problem(message, type="system"))


def bad_request(message: str) -> ApiError:
    """Return a 400 response; its text is unknown."""
    return ApiError(400, Problem(message, type="system"))


def invalid(*problems: Problem) -> ApiError:
    """Return a 422 response, with a field for each problem."""
    return ApiError(422, *problems)
