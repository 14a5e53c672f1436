"""The one door to the API. What is here can only read.

Every request carries the token in a header that requests itself never prints, goes to one host
and follows no redirect, so the token goes nowhere else.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import orjson
import requests
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from ..errors import (
    KantataForbidden,
    KantataMisaddressed,
    KantataRefused,
    KantataThrottled,
    KantataUnauthorized,
    KantataUnavailable,
)
from ..settings import ATTEMPTS, CONNECT_TIMEOUT, ONLY_PER_REQUEST, PER_PAGE, READ_TIMEOUT
from .envelope import Page, error_messages, read_page
from .transport import (
    Bearer,
    OnRequest,
    RateLimiter,
    check_token,
    check_url,
    error_reason,
    parse_http_date,
    request_log,
    retry_after,
)

Parameters = Mapping[str, str | int]


class KantataReader:
    """Reads Kantata: GET, retried where it is safe, never anything else.

    Args:
        url: The API's address, as ``https://api.mavenlink.com/api/v1``.
        token: The bearer token.
        requests_per_second: The pace to keep to; 0 is none.
        backoff_seconds: The first wait after a refusal without Retry-After; doubles each time.
        attempts: How often one request is tried before the run ends.
        on_retry: Told in one line why a request is tried again, and when.
        on_request: Told of each request.
    """

    def __init__(
        self,
        url: str,
        token: str,
        requests_per_second: float = 0.0,
        backoff_seconds: float = 2.0,
        attempts: int = ATTEMPTS,
        on_retry: Callable[[str], None] | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        self._url = check_url(url)
        self._auth = Bearer(check_token(token))
        self._backoff = backoff_seconds
        self._attempts = attempts
        self._on_retry = on_retry
        self._on_request = on_request
        self._sessions = threading.local()
        self._lock = threading.Lock()
        self._understood = False
        self._ticks = _Ticks()
        self.pace = RateLimiter(requests_per_second)
        self.requests = 0
        self.server_time: datetime | None = None
        self._server_clock: tuple[datetime, float] | None = None
        self.request_id = ""

    @property
    def url(self) -> str:
        """The API's address."""
        return self._url

    @property
    def server_now(self) -> datetime | None:
        """Kantata's time now, by its latest answer, UTC; None if no answer told it."""
        with self._lock:
            if self._server_clock is None:
                return None
            told, at = self._server_clock
        return told + timedelta(seconds=time.monotonic() - at)

    def close(self) -> None:
        """Close this thread's connection."""
        if (session := getattr(self._sessions, "session", None)) is not None:
            session.close()

    def page(self, path: str, parameters: Parameters) -> Page:
        """Read one page of a list, or one record by its id.

        Args:
            path: Below the API's address, as ``billing_milestones``.
            parameters: The query; only what ``API.md`` lists, since the rest is ignored.

        Raises:
            KantataError: Named by what to do next.
        """
        body, observed_at = self.json(path, parameters)
        return read_page(body, path.partition("/")[0], observed_at)

    def only(self, path: str, ids: list[str], **parameters: str) -> Iterator[Page]:
        """Read records by their ids, a hundred at a time; those missing are left out.

        Args:
            path: The list, as ``billing_milestones``.
            ids: Which ones. None asks nothing, since an empty ``only`` means everything.
            parameters: Further parameters, as ``include``.
        """
        for start in range(0, len(ids), ONLY_PER_REQUEST):
            chunk = ids[start : start + ONLY_PER_REQUEST]
            query: Parameters = {"only": ",".join(chunk), "per_page": PER_PAGE, **parameters}
            yield self.page(path, query).restricted_to(frozenset(chunk))

    def now(self) -> datetime:
        """The time in UTC, later than that of every page read before."""
        return self._ticks.next()

    def json(self, path: str, parameters: Parameters) -> tuple[object, datetime]:
        """Read any path: the parsed JSON, and when it was observed.

        Raises:
            KantataError: Named by what to do next.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            retry=retry_if_exception_type(KantataUnavailable),
            wait=self._wait,
            before_sleep=self._before_sleep,
            sleep=self.pace.sleep,
            reraise=True,
        )
        return retrying(self._once, path, parameters)

    def _once(self, path: str, parameters: Parameters) -> tuple[object, datetime]:
        self.pace.wait()
        began, response = time.monotonic(), None
        try:
            response = self._send(path, parameters)
        finally:
            if self._on_request:
                self._on_request(request_log("GET", path, response, time.monotonic() - began))
        self._note(response)
        return self._body(path, response), self._ticks.next()

    def _send(self, path: str, parameters: Parameters) -> requests.Response:
        try:
            return self._session().get(
                f"{self._url}/{path}",
                params=dict(parameters),
                auth=self._auth,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            raise KantataMisaddressed(
                f"no safe connection to {self._url}: {error_reason(error)}. "
                "Is kantata_api_url right, and are this machine's certificates?"
            ) from None
        except requests.exceptions.RequestException as error:
            raise KantataUnavailable(
                f"no answer from {self._url}: {error_reason(error)}. "
                "Is the network up, and kantata_api_url right?"
            ) from None

    def _session(self) -> requests.Session:
        """One session a thread: requests does not promise that threads may share one."""
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = self._sessions.session = requests.Session()
            session.headers["Accept"] = "application/json"
        return session

    def _note(self, response: requests.Response) -> None:
        with self._lock:
            self.requests += 1
            self.request_id = response.headers.get("x-request-id", "")
            if told := parse_http_date(response.headers.get("Date", "")):
                self.server_time = self.server_time or told
                self._server_clock = told, time.monotonic()

    def _body(self, path: str, response: requests.Response) -> object:
        try:
            body: object = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            body = None
        if 200 <= response.status_code < 300 and body is not None:
            self._understood = True
            return body
        raise self._failure(path, response, body)

    def _failure(self, path: str, response: requests.Response, body: object) -> Exception:
        status, where = response.status_code, f"{self._url}/{path}"
        said = error_messages(body)
        if status == 401:
            return KantataUnauthorized(
                f"Kantata refused the token (401: {said}). "
                "Put a valid one into KANTATA_ACCESS_TOKEN; a revoked application kills its tokens."
            )
        if status == 403:
            return KantataForbidden(
                f"the token's user may not read {path} (403: {said}). "
                "Ask a Kantata administrator for the permission."
            )
        if status == 429:
            return KantataThrottled(f"Kantata is throttling {where} (429)", retry_after(response))
        if status >= 500:
            return KantataUnavailable(f"{where} answered {status}{_after_colon(said)}")
        if 300 <= status < 400:
            return KantataMisaddressed(
                f"{where} redirects to {_host(response)}: the token is not sent there. "
                "Mend kantata_api_url."
            )
        if body is None or "errors" not in _keys(body) or (status == 404 and "/" not in path):
            return self._not_the_api(where, response)
        return KantataRefused(f"{where} answered {status}{_after_colon(said)}", status)

    def _not_the_api(self, where: str, response: requests.Response) -> Exception:
        kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
        if kind.endswith("json") and response.status_code == 200:
            return KantataUnavailable(f"{where} answered broken JSON: cut off on the way?")
        if self._understood:
            return KantataUnavailable(
                f"{where} answered {kind} instead of JSON ({response.status_code})"
            )
        return KantataMisaddressed(
            f"{where} answered {response.status_code} with {kind}, not Kantata's list. "
            "Is kantata_api_url right? It ends in /api/v1."
        )

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return self._backoff * float(2 ** (failures - 1)) * random.uniform(1, 1.5)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        backoff = self.backoff(state.attempt_number)
        if isinstance(error, KantataThrottled):
            backoff = backoff if error.retry_after is None else error.retry_after
            self.pace.hold(backoff)
        return backoff

    def _before_sleep(self, state: RetryCallState) -> None:
        if self._on_retry and state.outcome and state.next_action:
            self._on_retry(
                f"{state.outcome.exception()}; trying again in {state.next_action.sleep:.0f} s "
                f"({state.attempt_number + 1} of {self._attempts})"
            )


class _Ticks:
    """Times of observation that always rise, whatever the machine's clock does."""

    def __init__(self) -> None:
        self._start, self._zero = time.time_ns() // 1000, time.monotonic_ns() // 1000
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> datetime:
        """The time now in UTC, later than every time given before."""
        with self._lock:
            now = self._start + time.monotonic_ns() // 1000 - self._zero
            self._last = max(now, self._last + 1)
            seconds, micros = divmod(self._last, 1_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def _host(response: requests.Response) -> str:
    return urlsplit(response.headers.get("Location", "")).netloc or "another path"


def _keys(body: object) -> frozenset[str]:
    return frozenset(body) if isinstance(body, dict) else frozenset()


def _after_colon(text: str) -> str:
    return f": {text}" if text else ""
