"""POST, PUT and DELETE of milestones: what is stored, what is refused, and with which errors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.kantata import LIST, Kantata


def create(kantata: Kantata, **fields: object) -> dict[str, Any]:
    """Create one milestone; return its record from the answer."""
    answer = kantata.ask("POST", LIST, kantata.new_body(**fields))
    assert answer.status_code == 200, answer.text
    (record,) = answer.json()[LIST].values()
    return dict(record)


def batch(kantata: Kantata, number: int, **query: object) -> dict[str, Any]:
    """Create this many milestones in one request, titled by number; return the answer's body."""
    rows = [kantata.new_body(title=str(n))["billing_milestone"] for n in range(number)]
    answer = kantata.ask("POST", LIST, {"billing_milestones": rows}, **query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_create(kantata: Kantata) -> None:
    """A create stores the given values, takes the project's currency and returns the record."""
    project = next(i for i, w in kantata.account.workspaces.items() if w["currency"] == "KWD")
    record = create(kantata, workspace_id=int(project), amount_in_cents=-1500, currency="USD")
    assert record == kantata.account.milestones[record["id"]]
    assert (record["currency"], record["amount_in_cents"]) == ("KWD", -1500)
    assert (record["billing_type"], record["date_to_invoice"]) == ("fixed_date", None)
    assert kantata.ids()[0] == record["id"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"amount_in_cents": "12"}, {"amount_in_cents": 12}),
        ({"amount_in_cents": 0}, {"amount_in_cents": 0}),
        ({"amount_in_cents": -(2**31 - 1)}, {"amount_in_cents": -(2**31 - 1)}),
        ({"date_to_invoice": "2026-08-01T23:00:00-07:00"}, {"date_to_invoice": "2026-08-01"}),
        ({"date_to_invoice": "08/01/2026"}, {"date_to_invoice": None}),
        ({"invoice_id": "1001", "id": "7"}, {"invoice_id": None}),
        ({"weight": 3, "status": "done"}, {}),
    ],
)
def test_how_values_are_read(
    kantata: Kantata, given: dict[str, object], kept: dict[str, object]
) -> None:
    """Digits become numbers, an invalid date becomes null, and read-only fields are ignored."""
    record = create(kantata, **given)
    assert {name: record[name] for name in kept} == kept
    assert record["id"] != "7"
    assert {"weight", "status"}.isdisjoint(record)


INVALID: list[tuple[str, dict[str, object]]] = [
    ("title", {"title": ...}),
    ("title", {"title": " "}),
    ("title", {"title": None}),
    ("title", {"title": "x" * 256}),
    ("amount_in_cents", {"amount_in_cents": ...}),
    ("amount_in_cents", {"amount_in_cents": None}),
    ("amount_in_cents", {"amount_in_cents": 1.5}),
    ("amount_in_cents", {"amount_in_cents": "12.50"}),
    ("amount_in_cents", {"amount_in_cents": True}),
    ("amount_in_cents", {"amount_in_cents": 2**31}),
    ("workspace_id", {"workspace_id": ...}),
    ("workspace_id", {"workspace_id": 999_999}),
    ("workspace_id", {"workspace_id": "x"}),
    ("billing_type", {"billing_type": "monthly"}),
    ("story_id", {"billing_type": "upon_completion"}),
    ("story_id", {"billing_type": "upon_completion", "story_id": 999_999}),
    ("story_id", {"story_id": 1010}),
    ("external_reference", {"external_reference": {"service_name": "us"}}),
]


@pytest.mark.parametrize(("field", "given"), INVALID)
def test_invalid_create(kantata: Kantata, field: str, given: dict[str, object]) -> None:
    """A refusal is 422 and names the field, without an index; nothing is created."""
    status, errors = kantata.errors("POST", LIST, kantata.new_body(**given))
    assert status == 422
    assert {(e["type"], e["field"]) for e in errors} == {("validation", field)}
    assert all(e["message"] and "index" not in e for e in errors)
    assert kantata.count() == 450


def test_a_hidden_project_takes_no_milestone(kantata: Kantata) -> None:
    """Creating in a project that the user cannot read is refused."""
    kantata.account.hide_workspace(next(iter(kantata.account.workspaces)))
    assert kantata.errors("POST", LIST, kantata.new_body())[0] == 422


def test_create_with_reference_and_includes(kantata: Kantata) -> None:
    """A nested reference is saved with the milestone, and the answer can include it."""
    reference = {"service_name": "us", "service_model": "m", "service_model_ref": "key-1"}
    body = kantata.new_body(external_reference=reference)
    answer = kantata.ask("POST", LIST, body, include="external_references").json()
    (saved,) = answer["external_references"].values()
    (record,) = answer[LIST].values()
    assert record["external_reference_ids"] == [saved["id"]]
    assert {name: saved[name] for name in reference} == reference
    assert kantata.ids(external_reference_service_model_refs="key-1") == [record["id"]]


def test_the_same_key_does_not_prevent_a_second_one(kantata: Kantata) -> None:
    """A create that is sent twice makes two milestones with the same reference."""
    reference = {"service_name": "us", "service_model": "m", "service_model_ref": "key-1"}
    ids = {create(kantata, external_reference=reference)["id"] for _ in range(2)}
    assert set(kantata.ids(external_reference_service_model_refs="key-1")) == ids
    assert len(ids) == 2


def test_a_batch_is_answered_by_its_newest_20(kantata: Kantata) -> None:
    """The answer to 100 creates has the newest 20, unless per_page says otherwise."""
    body = batch(kantata, 100)
    assert body["count"] == 100
    assert body["meta"] == {"count": 100, "page_count": 5, "page_number": 1, "page_size": 20}
    titles = [body[LIST][row["id"]]["title"] for row in body["results"]]
    assert titles == [str(n) for n in range(99, 79, -1)]
    assert len(batch(kantata, 100, per_page=200)["results"]) == 100
    assert kantata.count() == 650


def test_a_batch_can_be_answered_oldest_first(kantata: Kantata) -> None:
    """The answer to a batch follows the order of the query."""
    body = batch(kantata, 3, order="created_at:asc")
    assert [body[LIST][row["id"]]["title"] for row in body["results"]] == ["0", "1", "2"]


def test_a_batch_with_an_error_creates_nothing(kantata: Kantata) -> None:
    """Each error of a batch has the index of its object; no object is created."""
    rows = [kantata.new_body(title=t)["billing_milestone"] for t in ("a", "", "c", "")]
    status, errors = kantata.errors("POST", LIST, {"billing_milestones": rows})
    assert (status, [(e["field"], e["index"]) for e in errors]) == (
        422,
        [("title", 1), ("title", 3)],
    )
    assert kantata.count() == 450


@pytest.mark.parametrize(
    ("rules", "status", "indexes", "rows"),
    [
        ({"atomic": False}, 422, [1, 3], 0),
        ({"atomic": False, "indexes": False}, 422, [None, None], 0),
        ({"atomic": False, "accepts_part": True}, 200, [1, 3], 2),
        ({"atomic": False, "accepts_part": True, "most_rows": 1}, 200, [1, 3], 1),
    ],
)
def test_a_batch_with_an_error_creates_the_others(
    kantata: Kantata, rules: dict[str, Any], status: int, indexes: list[int | None], rows: int
) -> None:
    """If a batch is not atomic, valid objects are created, whatever the answer shows."""
    kantata.account.set_batch_rules(**rules)
    items = [kantata.new_body(title=t)["billing_milestone"] for t in ("a", "", "c", "")]
    answer = kantata.ask("POST", LIST, {"billing_milestones": items}, per_page=200)
    body = answer.json()
    assert (answer.status_code, [e.get("index") for e in body["errors"]]) == (status, indexes)
    assert len(body.get("results", [])) == rows
    assert kantata.count() == 452


def test_a_batch_without_references(kantata: Kantata) -> None:
    """The answer to a batch has references if the query includes them, and the rules allow it."""
    reference = {"service_name": "us", "service_model": "m", "service_model_ref": "key-1"}
    item = kantata.new_body(external_reference=reference)["billing_milestone"]
    for shown in (True, False):
        kantata.account.set_batch_rules(shows_references=shown)
        answer = kantata.ask(
            "POST", LIST, {"billing_milestones": [item]}, include="external_references"
        )
        assert ("external_references" in answer.json()) is shown


def test_a_batch_has_at_most_100(kantata: Kantata) -> None:
    """A batch of 101 objects is refused as a whole."""
    rows = [kantata.new_body()["billing_milestone"]] * 101
    status, errors = kantata.errors("POST", LIST, {"billing_milestones": rows})
    assert (status, errors[0]["field"]) == (422, "base")
    assert kantata.count() == 450


def test_update_changes_what_was_given(kantata: Kantata) -> None:
    """A PUT changes only the given fields, moves updated_at and returns the record."""
    id_ = kantata.open_milestone()
    before = dict(kantata.account.milestones[id_])
    answer = kantata.ask("PUT", f"{LIST}/{id_}", {"billing_milestone": {"amount_in_cents": 77}})
    after = answer.json()[LIST][id_]
    assert answer.status_code == 200
    assert after == before | {"amount_in_cents": 77, "updated_at": after["updated_at"]}
    assert after["updated_at"] != before["updated_at"]


def test_update_to_the_same_moves_nothing(kantata: Kantata) -> None:
    """A PUT of equal values does not move updated_at and raises no event."""
    id_ = kantata.open_milestone()
    before, events = dict(kantata.account.milestones[id_]), len(kantata.account.events)
    kantata.ask("PUT", f"{LIST}/{id_}", {"billing_milestone": {"title": before["title"]}})
    assert kantata.account.milestones[id_] == before
    assert len(kantata.account.events) == events


def test_update_cannot_move_or_convert(kantata: Kantata) -> None:
    """A PUT ignores project, currency, invoice and id."""
    id_ = kantata.open_milestone()
    before = dict(kantata.account.milestones[id_])
    change = {"workspace_id": 1002, "currency": "XXX", "invoice_id": 1001, "id": 5, "nonsense": 1}
    assert kantata.ask("PUT", f"{LIST}/{id_}", {"billing_milestone": change}).ok
    assert kantata.account.milestones[id_] == before


@pytest.mark.parametrize(
    ("field", "given"),
    [("title", {"title": ""}), ("amount_in_cents", {"amount_in_cents": None}),
     ("story_id", {"billing_type": "upon_completion", "story_id": None})],
)  # fmt: skip
def test_invalid_update(kantata: Kantata, field: str, given: dict[str, object]) -> None:
    """An invalid PUT is 422, names the field and changes nothing."""
    id_ = kantata.open_milestone()
    before = dict(kantata.account.milestones[id_])
    change = {"billing_milestone": given | {"date_to_invoice": "2030-01-01"}}
    status, errors = kantata.errors("PUT", f"{LIST}/{id_}", change)
    assert (status, errors[0]["field"]) == (422, field)
    assert kantata.account.milestones[id_] == before


def test_a_reference_in_a_put(kantata: Kantata) -> None:
    """A PUT with a nested reference saves it, and does not move the milestone's updated_at."""
    id_ = kantata.open_milestone()
    before = dict(kantata.account.milestones[id_])
    reference = {"service_name": "us", "service_model": "m", "service_model_ref": "key-1"}
    body = {"billing_milestone": {"external_reference": reference}}
    answer = kantata.ask("PUT", f"{LIST}/{id_}", body, include="external_references").json()
    assert "key-1" in {r["service_model_ref"] for r in answer["external_references"].values()}
    assert kantata.account.milestones[id_] == before


def test_delete_is_permanent(kantata: Kantata) -> None:
    """A deleted milestone leaves every list, with its references. A second delete is 404."""
    id_ = create(kantata)["id"]
    reference = kantata.account.save_reference(id_, {"service_name": "us"})
    assert kantata.ask("DELETE", f"{LIST}/{id_}").status_code == 204
    assert kantata.ask("DELETE", f"{LIST}/{id_}").status_code == 404
    assert kantata.ask("GET", f"{LIST}/{id_}").status_code == 404
    assert (kantata.count(), kantata.count(only=id_)) == (450, 0)
    assert reference not in kantata.account.external_references


@pytest.mark.parametrize("draft", [False, True])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_invoiced_milestone_is_locked(kantata: Kantata, draft: bool, method: str) -> None:
    """A milestone on an invoice or draft cannot be changed or deleted until that is cancelled."""
    id_ = kantata.open_milestone()
    invoice = kantata.account.invoice_milestone(id_, draft=draft)
    before = dict(kantata.account.milestones[id_])
    body = {"billing_milestone": {"title": "x"}} if method == "PUT" else None
    status, errors = kantata.errors(method, f"{LIST}/{id_}", body)
    assert (status, errors[0]["field"]) == (422, "base")
    assert kantata.account.milestones[id_] == before
    kantata.account.cancel_invoice(invoice)
    assert kantata.ask(method, f"{LIST}/{id_}", body).ok
