"""The web application: the API below /api/v1, and the sandbox's own controls below /sandbox."""

import asyncio
import uuid
from collections import Counter, deque
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .account import Account
from .faults import Fault, FaultKind, Faults, mutate
from .query import parse_query
from .rate_limit import RateLimit
from .responses import ApiResponse, Problem, errors
from .routes import Api

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True)
class Served:
    """A request that the application served. `path` is below /api/v1, without `.json`.

    Attributes:
        status: 0 if the connection was dropped instead of an answer.
        at: when it came in, on the account's clock, in seconds since 1970.
        body: what it carried; empty for a read.

    """

    method: str
    path: str
    query: dict[str, str]
    status: int
    request_id: str
    at: int
    body: bytes = b""


class App:
    """The web application outside of the account: routes, faults, latency, list of requests."""

    def __init__(self, account: Account, token: str, latency: float, keep: int = 100_000) -> None:
        self.account = account
        self.faults = Faults()
        self.latency = latency
        self.rate_limit: RateLimit | None = None
        self.requests: deque[Served] = deque(maxlen=keep)
        self.failures: list[Exception] = []
        """Mistakes in the sandbox itself, or in the action of a fault."""
        self._api = Api(account, token)
        self.asgi = Starlette(
            routes=[
                Route("/api/v1/{path:path}", self.serve, methods=_METHODS),
                Route("/sandbox/faults", self.control_faults, methods=["POST", "DELETE"]),
                Route("/sandbox/requests", self.count_requests, methods=["GET"]),
                Route("/sandbox/account", self.show_account, methods=["GET"]),
                Route("/sandbox/account/{mutator}", self.call_mutator, methods=["POST"]),
            ]
        )

    async def serve(self, request: Request) -> Response:
        """Answer a request to the application's API, or misbehave."""
        path = "/" + request.path_params["path"].removesuffix("/").removesuffix(".json")
        query = parse_query(request.scope["query_string"].decode("latin-1"))
        request_id, at = str(uuid.uuid4()), self.account.clock.now()
        body = await request.body()
        try:
            answer = await self._answer(request, path, query, body)
        except Exception as error:
            self.failures.append(error)
            answer = errors(500, Problem(repr(error), type="system"))
        status = answer.status if answer else 0
        self.requests.append(Served(request.method, path, query, status, request_id, at, body))
        if answer is None:
            return await _drop(request)
        return self._response(answer, request_id)

    async def _answer(
        self, request: Request, path: str, query: dict[str, str], body: bytes
    ) -> ApiResponse | None:
        """Return the application's response; None if the connection is to be dropped."""
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.rate_limit is not None and (refusal := self.rate_limit.refusal()):
            return refusal
        faults = self.faults.strike(request.method, path, query)
        for fault in faults:
            if fault.kind is FaultKind.DELAY:
                # The request is executed after the wait, also for a client that has given up.
                await asyncio.sleep(fault.seconds)
            elif fault.kind is FaultKind.CHANGE:
                fault.change(self.account)
        last = faults[-1] if faults else None
        if last is not None and last.kind is FaultKind.DROP_BEFORE:
            return None
        instead = last.replacement() if last is not None else None
        if last is not None and instead is not None and not last.executed:
            return instead
        content_type = request.headers.get("content-type", "")
        api_request = self._api.request(
            request.method, path, query=query, body=body, content_type=content_type
        )
        answer = self._api.answer(api_request, request.headers.get("authorization", ""))
        if last is None or instead is not None:
            return instead or answer
        return None if last.kind is FaultKind.DROP_AFTER else last.spoil(answer)

    def _response(self, answer: ApiResponse, request_id: str) -> Response:
        """Return the application's HTTP response, with a date and a request id."""
        headers = {
            **answer.headers,
            "date": formatdate(self.account.clock.now(), usegmt=True),
            "x-request-id": request_id,
        }
        media_type = None if answer.status == 204 else answer.media_type
        return Response(answer.body, answer.status, headers, media_type)

    async def control_faults(self, request: Request) -> Response:
        """Serve POST /sandbox/faults, with one fault or a list, and DELETE, ending all faults."""
        if request.method == "DELETE":
            self.faults.clear()
            return _json({"result": None})
        try:
            value = orjson.loads(await request.body())
            self.faults.add(*[Fault(**one) for one in _many(value)])
        except (ValueError, TypeError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"result": None})

    async def count_requests(self, _request: Request) -> Response:
        """Serve GET /sandbox/requests: the number of requests so far, by method."""
        return _json(Counter(served.method for served in self.requests))

    async def show_account(self, request: Request) -> Response:
        """Serve GET /sandbox/account: the number of records of each type."""
        account = self.account
        with account.lock:
            counts = {
                "milestones": len(account.true_milestones),
                "workspaces": len(account.workspaces),
                "stories": len(account.stories),
                "invoices": len(account.invoices),
                "external_references": len(account.external_references),
                "currencies": len(account.currencies),
                "events": len(account.events),
                "version": account.version,
            }
        return _json(counts)

    async def call_mutator(self, request: Request) -> Response:
        """Serve POST /sandbox/account/{mutator} with an object of arguments."""
        name = request.path_params["mutator"]
        try:
            arguments = orjson.loads(await request.body() or b"{}")
            return _json({"result": mutate(self.account, name, arguments)})
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)


def _many(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any JSON
    """Return the faults posted to the application as a list, also a single one."""
    return value if isinstance(value, list) else [value]


def _json(value: object, status: int = 200) -> Response:
    """Return any JSON value as the HTTP response of one of the application's controls."""
    return Response(orjson.dumps(value), status, media_type="application/json")


async def _drop(request: Request) -> Response:
    """Close the application's connection at once; the response returned is never sent."""
    request.state.transport.abort()
    await asyncio.sleep(0)  # lets the server notice, so that it does not complain
    return Response(status_code=500)
