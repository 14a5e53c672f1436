"""The meaning of a response: for a read, and for a write that may have been applied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected

import pytest
import requests
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import (
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from sources.kantata import errors
from sources.kantata.api.responses import (
    ReadResponse,
    created_id,
    read_without_response,
    response_date,
    retry_after,
    write_result,
    write_without_response,
)
from sources.kantata.api.transport import HttpResponse

URL, LIST = "https://api.example/api/v1", "billing_milestones"
JSON, HTML = "application/json; charset=utf-8", "text/html"
REASON = b'{"errors": [{"message": "No"}]}'


def http(status: int, content: bytes = b"{}", kind: str = JSON, **headers: str) -> HttpResponse:
    """A response."""
    return HttpResponse(status=status, headers={"Content-Type": kind, **headers}, content=content)


def read(response: HttpResponse, path: str = LIST, is_api: bool = False) -> ReadResponse:
    """The response to a read."""
    return ReadResponse(response=response, url=URL, path=path, is_api=is_api)


READS = {
    "401": (read(http(401, REASON)), errors.KantataUnauthorized),
    "403": (read(http(403, REASON)), errors.KantataForbidden),
    "429": (read(http(429, REASON)), errors.KantataThrottled),
    "422": (read(http(422, REASON)), errors.KantataRefused),
    "404 of a record": (read(http(404, REASON), f"{LIST}/7"), errors.KantataRefused),
    "404 of a list": (read(http(404, REASON)), errors.KantataMisaddressed),
    "404 without errors": (read(http(404), f"{LIST}/7"), errors.KantataMisaddressed),
    "500": (read(http(500, REASON)), errors.KantataUnavailable),
    "502 in HTML": (read(http(502, b"<html>", HTML)), errors.KantataUnavailable),
    "a redirect": (read(http(302, b"<html>", HTML)), errors.KantataMisaddressed),
    "HTML": (read(http(200, b"<html>", HTML)), errors.KantataMisaddressed),
    "HTML after JSON": (read(http(200, b"<html>", HTML), is_api=True), errors.KantataUnavailable),
    "half an answer": (read(http(200, b'{"count": ')), errors.KantataUnavailable),
    "null": (read(http(200, b"null")), errors.KantataUnavailable),
    "nothing": (read(http(204, b"")), errors.KantataMisaddressed),
}


@pytest.mark.parametrize(("response", "error"), READS.values(), ids=READS)
def test_reads_that_failed(response: ReadResponse, error: type[errors.KantataError]) -> None:
    """Each failure has its error; the message names the record or the path."""
    with pytest.raises(error) as caught:
        response.body()
    assert type(caught.value) is error
    assert URL in str(caught.value) or LIST in str(caught.value) or "No" in str(caught.value)


def test_read_that_succeeded() -> None:
    """The JSON of the response is returned unchanged."""
    assert read(http(200, b'{"count": 0}')).body() == {"count": 0}


WRITES = {
    "401": ("PUT", http(401, REASON), errors.KantataUnauthorized),
    "401 without errors": ("PUT", http(401), errors.KantataOutcomeUnknown),
    "429": ("PUT", http(429, b""), errors.KantataThrottled),
    "422": ("POST", http(422, REASON), errors.KantataRefused),
    "404": ("DELETE", http(404, REASON), errors.KantataRefused),
    "408": ("PUT", http(408, REASON), errors.KantataOutcomeUnknown),
    "422 in HTML": ("PUT", http(422, b"<html>", HTML), errors.KantataOutcomeUnknown),
    "503": ("PUT", http(503, REASON), errors.KantataOutcomeUnknown),
    "a redirect": ("PUT", http(302, b"", HTML), errors.KantataOutcomeUnknown),
    "200 with errors": ("PUT", http(200, REASON), errors.KantataOutcomeUnknown),
    "200 in HTML": ("PUT", http(200, b"<html>", HTML), errors.KantataOutcomeUnknown),
    "half an answer": ("PUT", http(200, b'{"count": '), errors.KantataOutcomeUnknown),
    "nothing for an update": ("PUT", http(204, b""), errors.KantataOutcomeUnknown),
}


@pytest.mark.parametrize(("method", "response", "error"), WRITES.values(), ids=WRITES)
def test_writes_that_failed(
    method: str, response: HttpResponse, error: type[errors.KantataError]
) -> None:
    """Only a clear refusal by Kantata means that nothing was written."""
    with pytest.raises(error) as caught:
        write_result(method, response)
    assert type(caught.value) is error


def test_writes_that_succeeded() -> None:
    """An update returns its JSON, a deletion nothing."""
    assert write_result("PUT", http(200, b'{"count": 1}')) == {"count": 1}
    assert write_result("DELETE", http(204, b"")) == {}


CREATED = {"key": LIST, "id": "7"}
NOT_CREATED = {
    "no results": {},
    "no row": {"results": []},
    "two rows": {"results": [CREATED, CREATED]},
    "another type": {"results": [{"key": "workspaces", "id": "7"}]},
    "a number": {"results": [{"key": LIST, "id": 7}]},
}


def test_created_id() -> None:
    """The only row of the answer gives the id of the new milestone."""
    assert created_id({"results": [CREATED]}, LIST) == "7"


@pytest.mark.parametrize("body", NOT_CREATED.values(), ids=NOT_CREATED)
def test_created_id_that_is_not_clear(body: dict[str, object]) -> None:
    """Without exactly one row the new id is unknown."""
    with pytest.raises(errors.KantataOutcomeUnknown):
        created_id(body, LIST)


POOL, CONNECTION = None, None
UNANSWERED = {
    "no connection": (
        requests.ConnectionError(
            MaxRetryError(POOL, "/", NewConnectionError(CONNECTION, "refused"))  # type: ignore[arg-type]
        ),
        errors.KantataNeverArrived,
    ),
    "no connection in time": (requests.ConnectTimeout("slow"), errors.KantataNeverArrived),
    "no answer in time": (
        requests.ReadTimeout(ReadTimeoutError(POOL, "/", "slow")),  # type: ignore[arg-type]
        errors.KantataOutcomeUnknown,
    ),
    "cut off": (
        requests.ConnectionError(ConnectionResetError(104, "reset")),
        errors.KantataOutcomeUnknown,
    ),
}


@pytest.mark.parametrize(("error", "kind"), UNANSWERED.values(), ids=UNANSWERED)
def test_writes_without_an_answer(
    error: requests.RequestException, kind: type[errors.KantataError]
) -> None:
    """Only without a connection it is certain that nothing was sent."""
    assert type(write_without_response(error)) is kind


ABORTED, BROKEN = "Connection aborted.", "Connection broken: IncompleteRead(3 bytes read)"
CAUSES = {
    "closed": (ProtocolError(ABORTED, RemoteDisconnected("closed")), "Connection aborted: closed"),
    "reset": (
        ProtocolError(ABORTED, ConnectionResetError(104, "reset by peer")),
        "Connection aborted: reset by peer",
    ),
    "garbage": (ProtocolError(ABORTED, BadStatusLine("x\r\n")), "Connection aborted: x"),
    "cut": (ProtocolError(BROKEN, IncompleteRead(b"abc")), "Connection broken: 3 bytes read"),
    "slow": (ReadTimeoutError(HTTPConnectionPool("h"), "/", "late"), "late"),
}


@pytest.mark.parametrize(("cause", "words"), CAUSES.values(), ids=CAUSES)
def test_why_no_answer_came(cause: Exception, words: str) -> None:
    """It is said in words, not as Python shows its errors."""
    error = requests.ConnectionError(cause)
    assert str(write_without_response(error)) == f"it was sent, but no answer came: {words}"
    assert f"no answer from {URL}: {words}. Check" in str(read_without_response(error, URL))


def test_headers() -> None:
    """Retry-After is seconds or a date; a Date without a zone is UTC; invalid values are None."""
    soon = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert retry_after(http(429, **{"Retry-After": "2.5"})) == 2.5
    assert 0 < (retry_after(http(429, **{"Retry-After": soon})) or 0) <= 3_600
    assert retry_after(http(429, **{"Retry-After": "Sun, 01 Nov 1998 00:00:00 GMT"})) == 0
    assert retry_after(http(429, **{"Retry-After": "later"})) is None
    assert retry_after(http(429)) is None
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert response_date(http(200, Date="Sun, 01 Nov 2026 12:00:00 GMT")) == noon
    assert response_date(http(200, Date="yesterday")) is None
