"""Reads from the API: pages and records, paced and retried. Nothing here can write."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from requests.exceptions import RequestException
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from ..errors import KantataError, KantataThrottled, KantataUnavailable
from ..settings import ATTEMPTS, LONGEST_READ, LONGEST_WAIT, ONLY_PER_REQUEST, PER_PAGE
from .clock import ObservationClock, ServerClock
from .envelope import Page, read_page
from .rate_limiter import RateLimiter
from .responses import ReadResponse, read_without_response, response_date
from .transport import HttpResponse, OnRequest, Parameters, Transport


@dataclass(frozen=True)
class ObservedJson:
    """The parsed JSON that one read returned, with its time.

    Args:
        body: Any JSON.
        observed_at: When it was read, UTC; later than that of everything read before.
    """

    body: object
    observed_at: datetime


class KantataReader:
    """Reads Kantata: sends GET only, and retries where that is safe.

    Args:
        url: The API's address, such as ``https://api.mavenlink.com/api/v1``.
        token: The bearer token.
        requests_per_second: The greatest rate; 0 is no limit.
        backoff_seconds: The first wait after a failure without Retry-After; doubles each time.
        attempts: How often one request is tried before its error is raised.
        on_retry: Called with one line of text before each retry: why, and when.
        on_request: Called after each request.
    """

    def __init__(
        self,
        url: str,
        token: str,
        requests_per_second: float = 0.0,
        backoff_seconds: float = 2.0,
        *,
        attempts: int = ATTEMPTS,
        on_retry: Callable[[str], None] | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        self._transport = Transport(url, token, on_request)
        self._backoff = backoff_seconds
        self._attempts = attempts
        self._on_retry = on_retry
        self._lock = threading.Lock()
        self._is_api = False
        self._began = time.monotonic()
        self._observations = ObservationClock()
        self._server_clock = ServerClock()
        self.pace = RateLimiter(requests_per_second)
        self.requests = 0
        self.request_id = ""

    def expect_api(self) -> None:
        """Take the reader's address for that of the API, since it has answered like it before.

        Then a page of a gateway is a failure that may pass, and not a wrong address.
        """
        self._is_api = True

    @property
    def url(self) -> str:
        """The address of the API that is read."""
        return self._transport.url

    @property
    def server_time(self) -> datetime | None:
        """Kantata's time before the first answer to a read, UTC; None if no answer stated it."""
        return self._server_clock.first

    @property
    def machine_is_ahead(self) -> timedelta | None:
        """By how much this machine's clock is ahead of Kantata's; None if no answer stated it."""
        return self._server_clock.machine_is_ahead

    @property
    def server_now(self) -> datetime | None:
        """Kantata's time now, by the latest answer to a read, UTC; None if none stated it."""
        return self._server_clock.now()

    def close(self) -> None:
        """Close the connection on which this thread reads."""
        self._transport.close()

    def page(self, path: str, parameters: Parameters) -> Page:
        """Read one page of a list, or one record by its id.

        Args:
            path: Below the API's address, such as ``billing_milestones``.
            parameters: The query; only what ``API.md`` lists, since Kantata ignores the rest.

        Raises:
            KantataError: Its class says what to do next.
        """
        answer = self.json(path, parameters)
        try:
            return read_page(answer.body, path.partition("/")[0], answer.observed_at)
        except KantataError as error:
            raise self._transport.masked(error) from None

    def only(self, path: str, ids: list[str], **parameters: str) -> Iterator[Page]:
        """Read records by their ids, a hundred at a time; ids without a record are left out.

        Args:
            path: The list, such as ``billing_milestones``.
            ids: The records. With none, nothing is requested: an empty ``only`` means all records.
            parameters: Further parameters, such as ``include``.
        """
        for start in range(0, len(ids), ONLY_PER_REQUEST):
            chunk = ids[start : start + ONLY_PER_REQUEST]
            query: Parameters = {"only": ",".join(chunk), "per_page": PER_PAGE, **parameters}
            yield self.page(path, query).restricted_to(frozenset(chunk))

    def now(self) -> datetime:
        """Return the time in UTC, later than that of every page read before."""
        return self._observations.next()

    def json(self, path: str, parameters: Parameters) -> ObservedJson:
        """Read the JSON of any path, and retry while Kantata is unavailable.

        Raises:
            KantataError: Its class says what to do next.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            retry=retry_if_exception(_may_pass_soon),
            wait=self._seconds_to_wait,
            before_sleep=self._report_retry,
            sleep=self.pace.sleep,
            reraise=True,
        )
        return retrying(self._read_once, path, parameters)

    def _read_once(self, path: str, parameters: Parameters) -> ObservedJson:
        """Read the JSON of a path with one request, when the rate limiter allows it."""
        self.pace.wait()
        if time.monotonic() - self._began > LONGEST_READ:
            raise KantataUnavailable(
                f"reading took more than {LONGEST_READ / 3600:.0f} hours, so the run ended"
            )
        sent_at = time.monotonic()
        try:
            response = self._transport.send("GET", path, parameters=parameters)
        except RequestException as error:
            raise self._transport.masked(read_without_response(error, self.url)) from None
        self.pace.record(response.status, sent_at)
        self._count(response)
        read = ReadResponse(response=response, url=self.url, path=path, is_api=self._is_api)
        try:
            body = read.body()
        except KantataError as error:
            raise self._transport.masked(error) from None
        self._is_api = True
        return ObservedJson(body, self._observations.next())

    def _count(self, response: HttpResponse) -> None:
        """Count one response to a read, and record its date and its request id."""
        date = response_date(response)
        self._server_clock.set(date)
        self._observations.correct(date)
        with self._lock:
            self.requests += 1
            self.request_id = response.request_id

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait before a retry, after so many failures in a row."""
        return self._backoff * float(2 ** (failures - 1)) * random.uniform(1, 1.5)

    def _seconds_to_wait(self, state: RetryCallState) -> float:
        """Return the seconds to wait before a read is retried; a 429 delays all reads."""
        error = state.outcome.exception() if state.outcome else None
        backoff = self.backoff(state.attempt_number)
        if isinstance(error, KantataThrottled):
            backoff = error.retry_after or backoff  # not at once, whatever Kantata says
            self.pace.hold(backoff)
        return backoff

    def _report_retry(self, state: RetryCallState) -> None:
        """Report why and when a failed read is tried again."""
        if self._on_retry and state.outcome and state.next_action:
            reason = str(state.outcome.exception()).rstrip(".")
            self._on_retry(
                f"{reason}; trying again in {state.next_action.sleep:.0f} s "
                f"({state.attempt_number + 1} of {self._attempts})"
            )


def is_long_wait(error: BaseException) -> bool:
    """Return whether Kantata asks to wait longer than any reader or writer should."""
    return isinstance(error, KantataThrottled) and (error.retry_after or 0) > LONGEST_WAIT


def _may_pass_soon(error: BaseException) -> bool:
    """Return whether a read is repeated: Kantata is unavailable, and asks for no long wait."""
    return isinstance(error, KantataUnavailable) and not is_long_wait(error)
