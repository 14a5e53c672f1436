"""The envelope of every answer, and the documented error bodies (API.md#responses)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from .blank_records import Record
from .query import Window

Maps = dict[str, dict[str, Record]]


@dataclass(frozen=True)
class Answer:
    """A finished answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json; charset=utf-8"


def json_answer(value: object, status: int = 200) -> Answer:
    """Any JSON value as an answer."""
    return Answer(status, orjson.dumps(value))


def envelope(
    key: str, own: Mapping[str, Record], count: int, window: Window, side_loads: Maps
) -> Answer:
    """Rows of one page by id, as shown, and what they include; `count` is that of the query."""
    results = [{"key": key, "id": id_} for id_ in own]
    maps: dict[str, object] = {"count": count, "meta": window.meta(count), "results": results}
    # Side-loaded rows of the list's own kind land in the same map (API.md#envelope).
    maps |= side_loads
    maps[key] = {**own, **{i: r for i, r in side_loads.get(key, {}).items() if i not in own}}
    return json_answer(maps)


@dataclass(frozen=True)
class Problem:
    """One entry of `errors`."""

    message: str
    field: str | None = None
    type: str = "validation"
    index: int | None = None

    def record(self) -> Record:
        """Give the entry as JSON, `field` and `index` only where there is one."""
        entry = {"type": self.type, "message": self.message}
        extra = {"field": self.field, "index": self.index}
        return entry | {name: value for name, value in extra.items() if value is not None}


class Refused(Exception):
    """Raised by an endpoint to answer with an error body."""

    def __init__(self, status: int, *problems: Problem) -> None:
        super().__init__(status, problems)
        self.status = status
        self.problems = problems

    def answer(self) -> Answer:
        """Give the documented error body."""
        return errors(self.status, *self.problems)


def errors(status: int, *problems: Problem) -> Answer:
    """Give an answer with the documented error body."""
    return json_answer({"errors": [problem.record() for problem in problems]}, status)


def not_found() -> Refused:
    """404, as for a missing time entry in the recorded answers of 2013."""
    return Refused(404, Problem("Not found", type="system"))


def unauthorized() -> Refused:
    """401, documented."""
    return Refused(401, Problem("Invalid OAuth 2 Request", type="oauth"))


def forbidden(message: str) -> Refused:
    """403; its text is unknown."""
    return Refused(403, Problem(message, type="system"))


def bad_request(message: str) -> Refused:
    """400; its text is unknown."""
    return Refused(400, Problem(message, type="system"))


def invalid(*problems: Problem) -> Refused:
    """422, with a field for each problem."""
    return Refused(422, *problems)
