"""Faults on demand: what goes wrong, for which requests, and how often."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import Lock
from typing import Any

import orjson

from .account import Account
from .responses import ApiResponse, Problem, errors

HTML = b"<!DOCTYPE html><html><body><h1>We're sorry, but something went wrong.</h1></body></html>"


class FaultKind(StrEnum):
    """The kinds of faults."""

    REFUSE = "refuse"
    THROTTLE = "throttle"
    ERROR = "error"
    HTML = "html"
    DELAY = "delay"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    LOSE_ROWS = "lose_rows"
    GARBAGE = "garbage"
    REDIRECT = "redirect"
    CHANGE = "change"


@dataclass(frozen=True)
class Fault:
    """One kind of misbehaviour. Which of the lower fields count depends on `kind`.

    Attributes:
        kind: what goes wrong.
        path: a regular expression searched for in the path below /api/v1 without `.json`.
        method: such as "GET"; None for any.
        times: how often it strikes; None for ever.
        skip: how many matching requests it lets through first.
        query: parameters that the request must have with these values.
        status: of `refuse` (422) and `error` (503).
        message: the text in the error body of `refuse`, `throttle` and `error`.
        retry_after: the Retry-After header of `throttle` (or `error`): seconds, or any text.
        html: answer `error` with a page instead of JSON.
        executed: with `refuse`, `throttle`, `error`, `html` and `redirect`: the request is executed
            all the same and only its answer replaced, as when a gateway gives up too early.
        seconds: how long `delay` waits before the request is executed.
        rows: how many rows `lose_rows` takes from the front of a page; its count stays.
        location: where `redirect` points to.
        mutator: the method of Account that `change` calls, with `arguments`.
        action: instead of `mutator`, from Python: called with the account.

    """

    kind: FaultKind | str
    path: str = ""
    method: str | None = None
    times: int | None = None
    skip: int = 0
    query: Mapping[str, str] | None = None
    status: int | None = None
    message: str | None = None
    retry_after: float | str | None = None
    html: bool = False
    executed: bool = False
    seconds: float = 0.0
    rows: int = 1
    location: str = "http://127.0.0.1:9/elsewhere"
    mutator: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    action: Callable[[Account], object] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FaultKind(self.kind))
        re.compile(self.path)

    def matches(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        """Return whether the fault applies to this request."""
        if self.method is not None and self.method.upper() != method:
            return False
        wanted = self.query or {}
        return bool(re.search(self.path, path)) and all(
            query.get(name) == str(value) for name, value in wanted.items()
        )

    def change(self, account: Account) -> None:
        """Change the account as the fault demands, before the request is answered."""
        if self.action is not None:
            self.action(account)
        if self.mutator is not None:
            mutate(account, self.mutator, self.arguments)

    def replacement(self) -> ApiResponse | None:
        """Return the fault's response instead of the real one; None if this kind has none."""
        match self.kind:
            case FaultKind.REFUSE:
                return self._refusal(self.status or 422)
            case FaultKind.THROTTLE:
                problem = Problem(self.message or "Too many requests", type="system")
                return self._with_retry_after(errors(429, problem))
            case FaultKind.ERROR:
                return self._with_retry_after(self._failure(self.status or 503))
            case FaultKind.HTML:
                return ApiResponse(200, HTML, media_type="text/html; charset=utf-8")
            case FaultKind.REDIRECT:
                return ApiResponse(
                    302, HTML, {"location": self.location}, "text/html; charset=utf-8"
                )
        return None

    def _refusal(self, status: int) -> ApiResponse:
        """Return the response of a fault that refuses a request."""
        message = self.message or "Refused"
        if status == 422:
            return errors(status, Problem(message, "base"))
        return errors(status, Problem(message, type="oauth" if status == 401 else "system"))

    def _failure(self, status: int) -> ApiResponse:
        """Return the response of a fault that is a server error, as JSON or as a page."""
        if self.html:
            return ApiResponse(status, HTML, media_type="text/html; charset=utf-8")
        return errors(status, Problem(self.message or "Service unavailable", type="system"))

    def _with_retry_after(self, answer: ApiResponse) -> ApiResponse:
        """Return a fault's response with its Retry-After header, if it has one."""
        if self.retry_after is None:
            return answer
        wait = self.retry_after
        text = wait if isinstance(wait, str) else f"{wait:g}"
        return replace(answer, headers={"retry-after": text})

    def spoil(self, answer: ApiResponse) -> ApiResponse:
        """Return what the fault leaves of a good response."""
        if self.kind is FaultKind.GARBAGE:
            return replace(answer, status=200, body=answer.body[: len(answer.body) // 2] or b"{")
        if self.kind is FaultKind.LOSE_ROWS and answer.status == 200:
            return replace(answer, body=_without_rows(answer.body, self.rows))
        return answer


def _without_rows(body: bytes, rows: int) -> bytes:
    """Return a response's body from which a fault took the first rows."""
    value = orjson.loads(body)
    for lost in value.get("results", [])[:rows]:
        value.get(lost["key"], {}).pop(lost["id"], None)
    if "results" in value:
        value["results"] = value["results"][rows:]
    return orjson.dumps(value)


def mutate(account: Account, name: str, arguments: Mapping[str, Any]) -> object:
    """Call a mutator of the account by name, for a fault or a control.

    Raises:
        AttributeError: there is no such mutator.
    """
    if name.startswith("_") or name in ("change", "seeded"):
        raise AttributeError(name)
    with account.lock:
        return getattr(account, name)(**arguments)


class Faults:
    """The active faults with their counts. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._active: list[tuple[Fault, list[int]]] = []

    def add(self, *faults: Fault) -> None:
        """Add active faults."""
        with self._lock:
            self._active = [*self._active, *((fault, [0]) for fault in faults)]

    def clear(self) -> None:
        """End all faults."""
        with self._lock:
            self._active = []

    def strike(self, method: str, path: str, query: Mapping[str, str]) -> list[Fault]:
        """Return the faults for this request: delays and changes, then at most one other."""
        if not self._active:
            return []
        struck: list[Fault] = []
        with self._lock:
            for fault, seen in self._active:
                if not fault.matches(method, path, query):
                    continue
                seen[0] += 1
                if not _due(fault, seen[0]):
                    continue
                struck.append(fault)
                if fault.kind not in (FaultKind.DELAY, FaultKind.CHANGE):
                    break
        return struck


def _due(fault: Fault, nth: int) -> bool:
    """Return whether a fault applies to the nth request that matches it."""
    struck_before = nth - fault.skip - 1
    return struck_before >= 0 and (fault.times is None or struck_before < fault.times)
