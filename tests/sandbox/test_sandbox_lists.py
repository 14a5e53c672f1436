"""GET /billing_milestones: pages, order, `only`, `limit`, filters and includes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from sources.kantata_sandbox import Account
from tests.support.kantata import LIST, Kantata

FOUR = "workspace,story,invoices,external_references"
FIELDS = {
    "id", "title", "amount_in_cents", "currency", "billing_type", "date_to_invoice",
    "workspace_id", "story_id", "invoice_id", "created_at", "updated_at",
}  # fmt: skip
Record = dict[str, Any]


def every(kantata: Kantata, **query: object) -> list[str]:
    """The ids of all pages of the list."""
    pages = int(kantata.get(LIST, **query)["meta"]["page_count"])
    return [i for n in range(1, pages + 1) for i in kantata.ids(page=n, **query)]


def oldest_first(account: Account) -> list[str]:
    """The ids by creation, ties by id as a number."""
    records = account.milestones
    return sorted(records, key=lambda i: (Account.created(records[i]), int(i)))


@pytest.mark.parametrize(
    ("per_page", "size"),
    [(None, 20), (1, 1), (200, 200), (201, 200), (100_000, 200), (0, 20), (-5, 20), ("x", 20),
     ("7x", 7), ("", 20)],
)  # fmt: skip
def test_the_page_size_is_clamped(kantata: Kantata, per_page: object, size: int) -> None:
    """A page has 20 rows by default and at most 200; a size below 1 is 20."""
    query = {} if per_page is None else {"per_page": per_page}
    body = kantata.get(LIST, **query)
    assert len(body["results"]) == body["meta"]["page_size"] == size
    assert body["meta"]["page_count"] == -(-450 // size)
    assert body["count"] == body["meta"]["count"] == 450


@pytest.mark.parametrize("page", [0, -3, "x", ""])
def test_pages_begin_at_one(kantata: Kantata, page: object) -> None:
    """A page below 1 is page 1."""
    assert kantata.get(LIST, page=page) == kantata.get(LIST, page=1)


@pytest.mark.parametrize("page", [24, 10**9])
def test_past_the_end_is_empty(kantata: Kantata, page: int) -> None:
    """A page past the end is empty; its count is that of the list."""
    body = kantata.get(LIST, page=page)
    assert (body["results"], body[LIST], body["count"]) == ([], {}, 450)
    assert body["meta"]["page_count"] == 23


@pytest.mark.parametrize(
    ("order", "newest_first"),
    [(None, True), ("created_at:desc", True), ("created_at:asc", False), ("created_at", False),
     ("updated_at:asc", True), ("id:asc", True), ("title", True), ("", True)],
)  # fmt: skip
def test_order(kantata: Kantata, order: str | None, newest_first: bool) -> None:
    """Only created_at sorts; any other order is silently newest first. Ties are sorted by id."""
    records = kantata.account.milestones
    kantata.account.update_milestone(max(records, key=int), created_at=1_600_000_000)
    kantata.account.update_milestone(min(records, key=int), created_at=1_600_000_000)
    query = {} if order is None else {"order": order}
    sign = -1 if newest_first else 1
    expected = sorted(records, key=lambda i: (sign * Account.created(records[i]), int(i)))
    assert every(kantata, per_page=200, **query) == expected


def test_ids_do_not_sort_as_texts(kantata: Kantata) -> None:
    """Ids differ in length, so they sort differently as texts; some share a created_at."""
    ids = oldest_first(kantata.account)
    assert ids != sorted(ids)
    assert len({m["created_at"] for m in kantata.account.milestones.values()}) < 450


@pytest.mark.parametrize(
    "query",
    [
        {"updated_after": "2999-01-01"},
        {"created_after": "2999-01-01"},
        {"search": "nothing"},
        {"invoiced": "true"},
        {"billing_type": "none"},
        {"currency": "XXX"},
        {"only[]": "1"},
        {"optional_fields": "weight"},
        {"include": "nothing,tasks"},
        {"workspace_ids": ""},
        {"story_ids": ""},
        {"has_external_references": ""},
        {"date_between": "2026-01-01"},
        {"external_reference_service_model_ref": "not-a-number"},
    ],
)
def test_what_is_unknown_or_empty_is_ignored(kantata: Kantata, query: dict[str, str]) -> None:
    """A parameter that is unknown, empty or invalid neither restricts nor fails."""
    assert kantata.get(LIST, **query) == kantata.get(LIST)


def test_only_is_not_paged(kantata: Kantata) -> None:
    """`only` returns all its rows whatever the page is; page_count still counts pages."""
    wanted = oldest_first(kantata.account)[100:350]
    for page in (1, 3, 99):
        body = kantata.get(LIST, only=",".join(wanted), per_page=20, page=page)
        assert len(body["results"]) == body["count"] == 250
        assert (body["meta"]["page_count"], body["meta"]["page_number"]) == (13, page)


def test_only_ignores_invalid_ids(kantata: Kantata) -> None:
    """Missing, repeated and invalid ids are no error; an id next to a space is invalid."""
    one, two = oldest_first(kantata.account)[:2]
    assert kantata.ids(only=f"{one},{one},999999999,abc,-1,1e3, {two}") == [one]
    assert kantata.count(only="abc") == 0


@pytest.mark.parametrize("only", ["", " "])
def test_an_empty_only_is_everything(kantata: Kantata, only: str) -> None:
    """An empty `only` restricts nothing, and is paged."""
    assert kantata.get(LIST, only=only) == kantata.get(LIST)


def test_only_is_sorted_and_filtered(kantata: Kantata) -> None:
    """The order and the other filters apply with `only` too."""
    wanted = oldest_first(kantata.account)[::15]
    assert kantata.ids(only=",".join(wanted), order="created_at:asc") == wanted
    project = kantata.account.milestones[wanted[0]]["workspace_id"]
    rows = kantata.rows(LIST, only=",".join(wanted), workspace_ids=project)
    assert 0 < len(rows) < 30
    assert {row["workspace_id"] for row in rows} == {project}


def test_limit_and_offset(kantata: Kantata) -> None:
    """Both together replace the page, clamped to 200; meta still describes per_page."""
    ids = oldest_first(kantata.account)
    query = {"order": "created_at:asc", "page": 3, "per_page": 50}
    body = kantata.get(LIST, limit=7, offset=11, **query)
    assert [r["id"] for r in body["results"]] == ids[11:18]
    assert body["meta"] == {"count": 450, "page_count": 9, "page_number": 3, "page_size": 50}
    assert kantata.ids(limit=999, offset=0, order="created_at:asc") == ids[:200]
    assert kantata.ids(limit=7, order="created_at:asc") == ids[:20]
    assert kantata.ids(limit=7, offset="", order="created_at:asc") == ids[:20]


def _service(row: Record, account: Account, **wanted: str) -> bool:
    references = [account.external_references[i] for i in account.references_of.get(row["id"], [])]
    return any(all(r[k] == v for k, v in wanted.items()) for r in references)


Expected = Callable[[Record, Account], bool]
FILTERS: list[tuple[dict[str, str], Expected]] = [
    ({"date_between": "2026-01-01:2026-03-31"},
     lambda m, _: "2026-01-01" <= (m["date_to_invoice"] or "") <= "2026-03-31"),
    ({"workspace_ids": "1001,1003"}, lambda m, _: m["workspace_id"] in ("1001", "1003")),
    ({"story_ids": "1002,1005,1006"}, lambda m, _: m["story_id"] in ("1002", "1005", "1006")),
    ({"has_external_references": "true"}, lambda m, a: _service(m, a)),
    ({"has_external_references": "FALSE"}, lambda m, a: not _service(m, a)),
    ({"has_external_references": "False"}, lambda m, a: _service(m, a)),
    ({"external_reference_service_name": "netsuite"},
     lambda m, a: _service(m, a, service_name="netsuite")),
    ({"external_reference_service_model": "Line"},
     lambda m, a: _service(m, a, service_model="Line")),
    ({"external_reference_status": "fail"}, lambda m, a: _service(m, a, status="failed")),
    ({"external_reference_status": "pending"}, lambda m, a: _service(m, a, status="pending")),
    ({"external_reference_service_model_ref": "77"},
     lambda m, a: _service(m, a, service_model_ref="77")),
    ({"external_reference_service_model_refs": "77,key-2"},
     lambda m, a: any(_service(m, a, service_model_ref=ref) for ref in ("77", "key-2"))),
    ({"external_reference_external_message": "all well"},
     lambda m, a: _service(m, a, external_message="all well")),
    ({"external_reference_external_status": "done"},
     lambda m, a: _service(m, a, external_status="done")),
    ({"without_external_reference_service_name": "quickbooks"},
     lambda m, a: not _service(m, a, service_name="quickbooks")),
]  # fmt: skip


@pytest.mark.parametrize(("query", "expected"), FILTERS, ids=[str(q) for q, _ in FILTERS])
def test_filters(kantata: Kantata, query: dict[str, str], expected: Expected) -> None:
    """Each documented filter restricts to its rows. Python's `False` is a non-empty text: true."""
    account = kantata.account
    one, two, three = oldest_first(account)[:3]
    account.save_reference(one, {"service_name": "x", "service_model_ref": "77"})
    account.save_reference(
        two,
        {"service_name": "x", "service_model": "Line", "service_model_ref": "key-2",
         "external_message": "all well", "external_status": "done", "status": "pending"},
    )  # fmt: skip
    account.save_reference(three, {"service_name": "quickbooks", "status": "failed"})
    found = every(kantata, per_page=200, order="created_at:asc", **query)
    right = [i for i in oldest_first(account) if expected(account.milestones[i], account)]
    assert found == right
    assert 0 < len(found) < 450
    assert kantata.count(**query) == len(right)


def test_reference_filters_may_match_different_references(kantata: Kantata) -> None:
    """Two references may match one filter each, so a row that is found may lack the full key."""
    id_ = oldest_first(kantata.account)[0]
    kantata.account.save_reference(id_, {"service_name": "us", "service_model_ref": "other"})
    kantata.account.save_reference(id_, {"service_name": "them", "service_model_ref": "key"})
    query = {
        "external_reference_service_name": "us",
        "external_reference_service_model_refs": "key",
    }
    assert kantata.ids(**query) == [id_]


def test_no_more_than_200_references(kantata: Kantata) -> None:
    """Ids of references beyond the 200th are silently ignored."""
    id_ = oldest_first(kantata.account)[0]
    kantata.account.save_reference(id_, {"service_name": "us", "service_model_ref": "key"})
    fill = ",".join(f"no-{n}" for n in range(200))
    assert kantata.count(external_reference_service_model_refs=f"key,{fill}") == 1
    assert kantata.count(external_reference_service_model_refs=f"{fill},key") == 0


def test_without_include_there_are_no_arrays(kantata: Kantata) -> None:
    """Without include, a record has exactly the documented fields; nothing is side-loaded."""
    body = kantata.get(LIST, per_page=200)
    assert set(body) == {"count", "meta", "results", LIST}
    assert all(set(row) == FIELDS for row in body[LIST].values())


def test_includes(kantata: Kantata) -> None:
    """Each include adds a map and an array; every id in the array is a text and is in the map."""
    body = kantata.get(LIST, per_page=200, include=FOUR)
    for row in body[LIST].values():
        assert set(row) == FIELDS | {"invoice_ids", "external_reference_ids"}
        assert row["workspace_id"] in body["workspaces"]
        assert all(i in body["invoices"] for i in row["invoice_ids"])
        assert all(i in body["external_references"] for i in row["external_reference_ids"])
    for reference in body["external_references"].values():
        assert isinstance(reference["id"], str)
        assert isinstance(reference["subject_id"], int)


def test_a_deleted_task_is_not_side_loaded(kantata: Kantata) -> None:
    """A story_id may name a task that is not in the side-loaded map."""
    id_ = next(i for i, m in kantata.account.milestones.items() if m["story_id"])
    story = kantata.account.milestones[id_]["story_id"]
    kantata.account.update_story(story, deleted_at="2026-06-01T00:00:00-07:00")
    body = kantata.get(f"{LIST}/{id_}", include="story")
    assert (body[LIST][id_]["story_id"], body["stories"]) == (story, {})


def test_times_and_dates(kantata: Kantata) -> None:
    """Times have an offset, which varies, and no fractions; dates are plain dates."""
    rows = [row for n in (1, 2, 3) for row in kantata.rows(LIST, per_page=200, page=n)]
    form = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(-0[78]:00)")
    found = [form.fullmatch(row[name]) for row in rows for name in ("created_at", "updated_at")]
    assert {match[1] for match in found if match} == {"-07:00", "-08:00"}
    assert all(found)
    dates = [row["date_to_invoice"] for row in rows]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in dates if date is not None)
    assert None in dates
