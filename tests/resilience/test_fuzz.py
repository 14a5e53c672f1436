"""Whatever comes from outside ends as a value or as one of our own errors, never as another one.

MILESTONES_FUZZ sets the number of inputs of each kind; `make torture` tries 30,000 of each.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import parse_duration
from pipelines.config.time_zones import check_time_zone
from pipelines.runtime.text import visible
from pipelines.writeback.fields import FOR_CREATE, parse_field
from pipelines.writeback.requests import requests_from_csv
from sources.kantata.api.envelope import read_page
from sources.kantata.api.responses import ReadResponse, response_date, retry_after, write_result
from sources.kantata.api.transport import HttpResponse
from sources.kantata.errors import KantataError
from sources.kantata.transform.conversion import Misfit, convert, kind_of
from warehouse.errors import ChangeRefused, WarehouseError
from warehouse.postgres_url import postgres_parameters, postgres_uri

INPUTS = int(os.environ.get("MILESTONES_FUZZ", "60"))
NOW = datetime(2027, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(codec=None), max_size=40)


def json_of(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Any JSON with these texts."""
    return st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


VALUES = json_of(TEXT)
IDS = st.text("0123456789", min_size=1, max_size=4) | TEXT
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "count": VALUES,
        "meta": st.dictionaries(st.sampled_from(["count", "page_count", "page_number"]), VALUES),
        "results": st.lists(
            st.fixed_dictionaries({}, optional={"key": TEXT, "id": IDS}) | VALUES, max_size=3
        ),
        "billing_milestones": st.dictionaries(
            IDS, st.dictionaries(st.sampled_from(["id", "title", "currency"]), VALUES) | VALUES
        ),
        "workspaces": VALUES,
        "errors": VALUES,
    },
)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "Retry-After", "Date", "Location", "X-Request-Id"]),
    st.sampled_from(
        [
            "application/json",
            "text/html",
            "0",
            "-1",
            "1e9",
            "9" * 40,
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ]
    )
    | TEXT,
)
fuzzed = settings(
    max_examples=INPUTS,
    deadline=None,
    database=None,
    derandomize=INPUTS < 1_000,  # in `make test` always the same ones
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True, scope="module")
def _count(record_testsuite_property: Callable[[str, object], None]) -> None:
    """Print how many inputs of each kind are tried."""
    print(f"{INPUTS:,} inputs of each kind")
    record_testsuite_property("inputs of each kind", INPUTS)


@contextmanager
def refused(*kinds: type[Exception], lines: int = 1) -> Iterator[None]:
    """Allow errors of these kinds, if they have a message of so many lines at most."""
    message = "none"
    try:
        yield
    except kinds as error:
        message = str(error)
    assert message
    assert message.count("\n") < lines


def _as_sent(value: object) -> bytes:
    """Encode a value as a server might, invalid JSON and UTF-8 included."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


BODIES = st.one_of(
    st.binary(max_size=200),
    ENVELOPES.map(_as_sent),
    VALUES.map(_as_sent),
    st.builds(lambda body, cut: _as_sent(body)[:cut], ENVELOPES, st.integers(0, 200)),
    st.builds(
        lambda body, at, byte: _as_sent(body)[:at] + byte + _as_sent(body)[at:],
        ENVELOPES, st.integers(0, 60), st.binary(min_size=1, max_size=3),
    ),
)  # fmt: skip


@fuzzed
@given(status=st.integers(100, 599), headers=HEADERS, content=BODIES, is_api=st.booleans())
def test_responses(status: int, headers: dict[str, str], content: bytes, is_api: bool) -> None:
    """A response is read, or is an error of Kantata."""
    response = HttpResponse(status=status, headers=headers, content=content)
    read = ReadResponse(
        response=response, url="https://k/api/v1", path="billing_milestones", is_api=is_api
    )
    with refused(KantataError, lines=99):  # its text is escaped where it is shown
        page = read_page(read.body(), "billing_milestones", NOW)
        assert all(isinstance(id_, str) for id_ in page.records)
    with refused(KantataError, lines=99):  # its text is escaped where it is shown
        write_result("PUT billing_milestones/1", response)


@fuzzed
@given(headers=HEADERS)
def test_headers(headers: dict[str, str]) -> None:
    """A time to wait is a number of seconds that is not negative, and a date has a zone."""
    response = HttpResponse(status=429, headers=headers, content=b"")
    wait, date = retry_after(response), response_date(response)
    assert wait is None or wait >= 0
    assert date is None or date.tzinfo is not None


@fuzzed
@given(value=json_of(st.text(max_size=40)))  # a record with half a character is rejected before
def test_values(value: object) -> None:
    """A value has a kind, and fits it or is a misfit."""
    with refused(Misfit):
        convert(kind_of(value), value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for files."""
    return tmp_path_factory.mktemp("fuzz")


CELLS = (
    st.sampled_from(["7", "007", "2027-01-31", "1.5", "=1+1", "create", "", " ", "a;b", '"']) | TEXT
)
COLUMNS = (
    st.sampled_from(["id", "milestone_id", "action", "currency", "reason", "", *FOR_CREATE]) | TEXT
)
LINES = st.lists(st.lists(CELLS, max_size=6), max_size=5)


@fuzzed
@given(
    header=st.lists(COLUMNS, max_size=6), lines=LINES, sign=st.sampled_from([",", ";", "\t"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)  # fmt: skip
def test_files(
    folder: Path, header: list[str], lines: list[list[str]], sign: str, encoding: str
) -> None:
    """A file of changes is read, or refused as a whole."""
    text = "\n".join(sign.join(cells) for cells in (header, *lines))
    file = folder / "changes.csv"
    file.write_bytes(text.encode(encoding, "surrogatepass" if "utf" in encoding else "replace"))
    with refused(ChangeRefused, lines=50):
        requests = requests_from_csv(file, "because")
        assert requests
        for request in requests:
            for name, value in request.fields.items():
                parse_field(name, value)


@fuzzed
@given(name=st.sampled_from(FOR_CREATE), text=CELLS)
def test_fields(name: str, text: str) -> None:
    """A field has a value, or is refused."""
    with refused(ChangeRefused):
        parse_field(name, text)


SETTINGS: dict[str, Callable[[str], Any]] = {
    "a duration": lambda text: parse_duration(text, "SCAN_EVERY"),
    "a time zone": check_time_zone,
    "a database": lambda text: postgres_uri(postgres_parameters(text, "LEDGER__URL")),
}
TEXTS = st.sampled_from(
    ["24h", "0s", "-1d", "9" * 30 + "h", "UTC", "CET", "Europe/Berlin", "../etc/passwd",
     "postgresql://u:p@h/d", "postgresql://u:p@h:0/d", "host=h password='a b'", "postgres://"]
) | TEXT  # fmt: skip


@fuzzed
@given(kind=st.sampled_from(sorted(SETTINGS)), text=TEXTS)
def test_settings(kind: str, text: str) -> None:
    """A setting has a value, or is refused in one line."""
    with refused(WarehouseError, KantataError):
        SETTINGS[kind](text)


@fuzzed
@given(text=st.text(st.characters(codec=None), max_size=200))
def test_foreign_text(text: str) -> None:
    """Foreign text is masked and shown without a character that a terminal obeys."""
    shown = visible(mask_secrets(text))
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs")]
    assert not [c for c in shown if unicodedata.bidirectional(c) in ("RLO", "LRO", "RLI", "LRI")]
