"""Projects, tasks, invoices, external references, currencies and the user."""

from __future__ import annotations

from typing import Any

import pytest

from sources.kantata_sandbox.clock import instant
from tests.support.kantata import LIST, Kantata

LISTS = ("workspaces", "stories", "invoices")
REFERENCES = "external_references"
Record = dict[str, Any]


def references(kantata: Kantata, **query: object) -> list[Record]:
    """The references of milestones."""
    return kantata.rows(REFERENCES, subject_type="BillingMilestone", **query)


@pytest.mark.parametrize("path", [*LISTS, "currencies"])
def test_every_list_is_paged_alike(kantata: Kantata, path: str) -> None:
    """Lists have pages of 20 by default, return `only` at once and ignore unknown parameters."""
    body = kantata.get(path)
    shown = [row["id"] for row in body["results"]]
    assert body["meta"]["page_size"] == 20
    assert len(shown) == min(20, body["count"])
    assert kantata.ids(path, per_page=1, page=2) == shown[1:2]
    assert sorted(kantata.ids(path, only=f"{shown[0]},{shown[1]},x", per_page=1)) == sorted(
        shown[:2]
    )
    assert kantata.get(path, nonsense=1, order="nonsense", include="nonsense") == body
    assert kantata.ids(path, page=99) == []


@pytest.mark.parametrize("path", LISTS)
def test_sorted_by_update_and_changed_since(kantata: Kantata, path: str) -> None:
    """These lists sort by updated_at; updated_after excludes the second it names and older rows."""
    rows = kantata.rows(path, order="updated_at:asc", per_page=200)
    moments = [(instant(row["updated_at"]), int(row["id"])) for row in rows]
    assert moments == sorted(moments)
    if path == "stories":  # not among its documented filters
        return
    middle = moments[len(moments) // 2][0]
    since = kantata.rows(path, updated_after=rows[len(rows) // 2]["updated_at"], per_page=200)
    assert {r["id"] for r in since} == {str(i) for m, i in moments if m > middle}
    before = kantata.rows(path, updated_before=rows[len(rows) // 2]["updated_at"], per_page=200)
    assert {r["id"] for r in before} == {str(i) for m, i in moments if m < middle}
    assert kantata.count(path, updated_after="nonsense") == len(rows)


@pytest.mark.parametrize("path", ["workspaces", "stories", "invoices"])
def test_single_rows(kantata: Kantata, path: str) -> None:
    """GET by id returns the envelope with one row."""
    id_ = kantata.ids(path)[0]
    body = kantata.get(f"{path}/{id_}")
    assert (body["count"], [r["id"] for r in body["results"]]) == (1, [id_])


def test_archived_projects_are_hidden(kantata: Kantata) -> None:
    """An archived project is in no list and 404 by default; its milestones stay."""
    id_ = kantata.account.milestones[kantata.ids()[0]]["workspace_id"]
    kantata.account.archive_workspace(id_)
    assert id_ not in kantata.ids("workspaces", per_page=200)
    assert kantata.ask("GET", f"workspaces/{id_}").status_code == 404
    assert id_ in kantata.ids("workspaces", per_page=200, include_archived="true")
    assert kantata.ids(f"workspaces/{id_}", include_archived="true") == [id_]
    assert kantata.count(workspace_ids=id_) > 0


def test_what_projects_show_on_request(kantata: Kantata) -> None:
    """Clients and leads come only with their include or optional field, and may be hidden."""
    query = {
        "include": "primary_workspace_group,primary_maven",
        "optional_fields": "provider_lead_name,client_lead_name,stage,unknown",
        "include_archived": "true",
        "per_page": 200,
    }
    names = ("primary_workspace_group_id", "primary_maven_id", "provider_lead_name", "stage")
    assert not {*names} & kantata.rows("workspaces")[0].keys()
    body = kantata.get("workspaces", **query)
    projects = body["workspaces"].values()
    assert all({*names, "client_lead_name"} <= project.keys() for project in projects)
    groups = {project["primary_workspace_group_id"] for project in projects}
    assert groups - {None} == body["workspace_groups"].keys()
    assert {p["primary_maven_id"] for p in projects} == body["users"].keys()
    assert all(
        body["users"][p["primary_maven_id"]]["full_name"] == p["provider_lead_name"]
        for p in projects
    )
    kantata.account.hide_fields("primary_workspace_group_id", "stage")
    body = kantata.get("workspaces", **query)
    assert not body["workspace_groups"]
    assert not any(
        {"primary_workspace_group_id", "stage"} & p.keys() for p in body["workspaces"].values()
    )


def test_default_filters_of_tasks(kantata: Kantata) -> None:
    """Tasks that are archived, deleted or of archived projects are returned only on request."""
    one, two, three = kantata.ids("stories")[:3]
    kantata.account.update_story(one, archived=True)
    kantata.account.update_story(two, deleted_at="2026-06-01T00:00:00-07:00")
    kantata.account.archive_workspace(kantata.account.stories[three]["workspace_id"])
    wanted = f"{one},{two},{three}"
    assert kantata.ids("stories", only=wanted) == []
    everything = {"show_archived": "true", "show_deleted": "true"}
    shown = kantata.ids("stories", only=wanted, show_from_archived_workspaces="true", **everything)
    assert set(shown) == {one, two, three}
    assert three not in kantata.ids("stories", only=wanted, **everything)
    assert kantata.ask("GET", f"stories/{one}").status_code == 404


@pytest.mark.parametrize(("path", "field"), [("workspaces", "workspace_id"), ("invoices", None)])
def test_milestones_are_included(kantata: Kantata, path: str, field: str | None) -> None:
    """Projects and invoices side-load their milestones; without any, the map is empty."""
    body = kantata.get(path, include=LIST, per_page=200)
    records = kantata.account.milestones
    for id_, row in body[path].items():
        expected = (
            {i for i, m in records.items() if m[field] == id_}
            if field
            else {i for i in records if id_ in kantata.account.invoices_of.get(i, [])}
        )
        assert set(row["billing_milestone_ids"]) == expected <= set(body[LIST])
    assert f"{LIST[:-1]}_ids" not in next(iter(kantata.get(path)[path].values()))
    assert kantata.get(path, include=LIST, page=99)[LIST] == {}


def test_cancelling_over_the_api(kantata: Kantata) -> None:
    """Cancelling an invoice frees its milestone, whose invoice_ids still name the invoice."""
    id_ = kantata.open_milestone()
    invoice = kantata.account.invoice_milestone(id_)
    answer = kantata.ask("PUT", f"invoices/{invoice}/cancel")
    assert (answer.status_code, answer.json()["invoices"][invoice]["status"]) == (200, "cancelled")
    record = kantata.account.milestone(id_)
    assert (record["invoice_id"], record["invoice_ids"]) == (None, [invoice])
    second = kantata.account.invoice_milestone(id_)
    record = kantata.account.milestone(id_)
    assert (record["invoice_id"], record["invoice_ids"]) == (second, [invoice, second])


def test_only_drafts_are_deleted(kantata: Kantata) -> None:
    """A draft is deleted with its links; deleting a sent invoice is refused."""
    id_ = kantata.open_milestone()
    draft = kantata.account.invoice_milestone(id_, draft=True)
    assert kantata.ask("DELETE", f"invoices/{draft}").status_code == 204
    record = kantata.account.milestone(id_)
    assert (record["invoice_id"], record["invoice_ids"]) == (None, [])
    sent = kantata.account.invoice_milestone(id_)
    status, errors = kantata.errors("DELETE", f"invoices/{sent}")
    assert (status, errors[0]["type"]) == (422, "validation")
    assert sent in kantata.account.invoices


def _reference(kantata: Kantata, **fields: object) -> dict[str, Any]:
    given = {
        "subject_type": "BillingMilestone",
        "subject_id": int(kantata.open_milestone()),
        "service_name": "us",
        "service_model": "m",
        "service_model_ref": "key-1",
    } | fields
    return {"external_reference": {k: v for k, v in given.items() if v is not ...}}


def test_a_reference_is_created_then_updated(kantata: Kantata) -> None:
    """One subject and service have one reference; another service has another."""
    path = f"{REFERENCES}/create_or_update"
    ids = [
        next(iter(kantata.ask("POST", path, _reference(kantata, **fields)).json()[REFERENCES]))
        for fields in ({}, {"service_model_ref": "key-2"}, {"service_name": "them"})
    ]
    assert ids[0] == ids[1] != ids[2]
    assert kantata.account.external_references[ids[0]]["service_model_ref"] == "key-2"
    assert references(kantata, service_model_ref="key-1", service_name="us") == []


@pytest.mark.parametrize(
    ("field", "given"),
    [("subject_type", {"subject_type": "Nothing"}), ("subject_id", {"subject_id": 999_999}),
     ("service_name", {"service_name": ...}), ("service_model", {"service_model": ""}),
     ("service_model_ref", {"service_model_ref": None}), ("status", {"status": "fail"})],
)  # fmt: skip
def test_invalid_reference(kantata: Kantata, field: str, given: dict[str, object]) -> None:
    """An invalid reference is 422, names the field and is not saved."""
    before = len(kantata.account.external_references)
    body = _reference(kantata, **given)
    status, errors = kantata.errors("POST", f"{REFERENCES}/create_or_update", body)
    assert (status, [e["field"] for e in errors]) == (422, [field])
    assert len(kantata.account.external_references) == before


def test_references_need_a_subject_type(kantata: Kantata) -> None:
    """Without subject_type the list is refused; for another type it is empty."""
    assert kantata.errors("GET", REFERENCES)[0] == 422
    assert kantata.count(REFERENCES, subject_type="Invoice") == 0


def test_references_are_filtered(kantata: Kantata) -> None:
    """Each filter restricts the list; subject_id is a number in the record."""
    id_ = kantata.open_milestone()
    saved = kantata.account.save_reference(
        id_,
        {"service_name": "us", "service_model": "m", "service_model_ref": "key-1",
         "status": "failed", "external_status": "lost", "external_message": "no"},
    )  # fmt: skip
    total = kantata.count(REFERENCES, subject_type="BillingMilestone")
    for query in (
        {"service_name": "us"}, {"service_model": "m"}, {"service_model_ref": "key-1"},
        {"external_status": "lost"}, {"external_message": "no"}, {"only": saved},
        {"subject_id": id_, "status": "failed"}, {"last_synced_after": "2026-07-01T11:59:59Z"},
    ):  # fmt: skip
        (row,) = references(kantata, **query)
        assert (row["id"], row["subject_id"]) == (saved, int(id_)), query
    assert references(kantata)[0]["id"] == saved  # by last_synced_at, newest first
    assert total > 1


def test_a_reference_includes_its_subject(kantata: Kantata) -> None:
    """`include=subject` side-loads the milestones; without any, the map is empty."""
    query = {"subject_type": "BillingMilestone", "include": "subject"}
    body = kantata.get(REFERENCES, **query)
    subjects = {str(row["subject_id"]) for row in body[REFERENCES].values()}
    assert subjects == set(body[LIST])
    assert kantata.get(REFERENCES, service_name="none", **query)[LIST] == {}


def test_a_reference_is_deleted(kantata: Kantata) -> None:
    """A delete is 204, a second one 404, and the milestone loses the reference."""
    id_ = kantata.open_milestone()
    saved = kantata.account.save_reference(id_, {"service_name": "us"})
    assert kantata.ask("DELETE", f"{REFERENCES}/{saved}").status_code == 204
    assert kantata.ask("DELETE", f"{REFERENCES}/{saved}").status_code == 404
    assert saved not in kantata.account.milestone(id_)["external_reference_ids"]


def test_currencies(kantata: Kantata) -> None:
    """Minor units are not always hundredths; a default page lacks some currencies."""
    units = {
        row["iso_code"]: row["subunit_to_unit"] for row in kantata.rows("currencies", per_page=200)
    }
    assert {"USD": 100, "EUR": 100, "JPY": 1, "KWD": 1000, "MGA": 5}.items() <= units.items()
    assert "USD" not in {row["iso_code"] for row in kantata.rows("currencies")}
    for workspace in kantata.account.workspaces.values():
        assert workspace["currency_base_unit"] == units[workspace["currency"]]


def test_the_user(kantata: Kantata) -> None:
    """/users/me is one row: an administrator until the right is removed."""
    (user,) = kantata.rows("users/me")
    assert user["account_administrator"] is True
    kantata.account.set_feed(administrator=False)
    assert kantata.rows("users/me")[0]["account_administrator"] is False


def test_a_hidden_project_hides_everything_in_it(kantata: Kantata) -> None:
    """A hidden project and its milestones leave every list without an error, and can come back."""
    id_ = next(i for i, w in kantata.account.workspaces.items() if not w["archived"])
    mine = kantata.ids(workspace_ids=id_, per_page=200)
    counts = {path: kantata.count(path) for path in (LIST, *LISTS)}
    kantata.account.hide_workspace(id_)
    assert kantata.count() == counts[LIST] - len(mine)
    assert kantata.count(only=",".join(mine)) == 0
    assert {kantata.ask("GET", f"{LIST}/{i}").status_code for i in mine} == {404}
    assert kantata.ask("GET", f"workspaces/{id_}").status_code == 404
    assert not {r["subject_id"] for r in references(kantata, per_page=200)} & set(map(int, mine))
    assert all(kantata.count(path) < counts[path] for path in LISTS)
    kantata.account.show_workspace(id_)
    assert {path: kantata.count(path) for path in counts} == counts
