"""The sandbox has the traps of the API as far as they are known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from sources.kantata_sandbox import Account, Fault, Sandbox

LIST = "billing_milestones"


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """A sandbox that is only read."""
    with Sandbox(milestones=450) as sandbox:
        yield sandbox


def ask(
    sandbox: Sandbox, path: str, method: str = "GET", body: object = None, **query: object
) -> requests.Response:
    """One request with the token."""
    return requests.request(
        method,
        f"{sandbox.url}/{path}",
        params={name: str(value) for name, value in query.items()},
        json=body,
        headers={"Authorization": f"Bearer {sandbox.token}"},
        timeout=20,
    )


def ids(answer: requests.Response) -> list[str]:
    """The ids of ``results``, in their order."""
    return [row["id"] for row in answer.json()["results"]]


def test_token_is_needed(shared: Sandbox) -> None:
    """Without the token the answer is 401, in the documented shape."""
    answer = requests.get(f"{shared.url}/{LIST}", timeout=20)
    assert answer.status_code == 401
    assert answer.json()["errors"] == [{"type": "oauth", "message": "Invalid OAuth 2 Request"}]


@pytest.mark.parametrize(
    ("asked", "size"), [({}, 20), ({"per_page": 500}, 200), ({"per_page": 0}, 20)]
)
def test_page_size_is_clamped(shared: Sandbox, asked: dict[str, int], size: int) -> None:
    """A page has 20 rows unless asked otherwise, and never more than 200."""
    answer = ask(shared, LIST, **asked)
    assert len(ids(answer)) == answer.json()["meta"]["page_size"] == size


def test_newest_first_and_ties_by_id(shared: Sandbox) -> None:
    """The default order is newest first; the same second is sorted by id, as numbers."""
    newest, oldest = (
        [i for n in (1, 2, 3) for i in ids(ask(shared, LIST, per_page=200, page=n, **order))]
        for order in ({}, {"order": "created_at:asc"})
    )
    held = shared.account.milestones
    key = {i: Account.created(held[i]) for i in held}
    assert oldest == sorted(held, key=lambda i: (key[i], int(i)))
    assert newest == sorted(held, key=lambda i: (-key[i], int(i)))
    assert len(set(key.values())) < len(key)  # some do share a second


def test_unknown_parameters_are_ignored(shared: Sandbox) -> None:
    """Unknown filters, sorts and includes change nothing, and are not refused."""
    plain = ask(shared, LIST)
    odd = ask(shared, LIST, updated_after="2999-01-01", order="updated_at:asc", include="nothing")
    assert (odd.status_code, ids(odd)) == (200, ids(plain))


def test_only_is_not_paged_and_empty_means_everything(shared: Sandbox) -> None:
    """``only`` gives all its rows at once, and none of the missing; empty, it is no filter."""
    wanted = list(shared.account.milestones)[:30]
    answer = ask(shared, LIST, only=",".join([*wanted, "999999999", "x"]), per_page=2)
    assert sorted(ids(answer)) == sorted(wanted)
    assert answer.json()["meta"]["page_count"] == 15
    assert ask(shared, LIST, only="").json()["count"] == 450


def test_past_the_end(shared: Sandbox) -> None:
    """A page past the end is empty, with the count unchanged."""
    answer = ask(shared, LIST, page=99)
    assert (ids(answer), answer.json()["count"]) == ([], 450)


def test_includes(shared: Sandbox) -> None:
    """Id lists come only with their include; side-loaded maps too, also when empty."""
    bare = ask(shared, LIST).json()
    assert "invoice_ids" not in next(iter(bare[LIST].values()))
    assert "invoices" not in bare
    everything = "workspace,story,invoices,external_references"
    full = ask(shared, LIST, include=everything, per_page=1).json()
    assert {"workspaces", "stories", "invoices", "external_references"} <= full.keys()
    record = next(iter(full[LIST].values()))
    assert isinstance(record["id"], str)
    assert record["workspace_id"] in full["workspaces"]


def test_empty_account() -> None:
    """An empty list counts no pages, and is on page 0."""
    with Sandbox(milestones=0) as sandbox:
        body = ask(sandbox, f"{LIST}.json").json()
    assert body["meta"] == {"count": 0, "page_count": 0, "page_number": 0, "page_size": 20}
    assert (body["results"], body[LIST]) == ([], {})


def test_create_update_delete() -> None:
    """One milestone is created (200), changed and deleted for good (204, then 404)."""
    with Sandbox(milestones=5) as sandbox:
        project = next(iter(sandbox.account.workspaces))
        fields = {"title": "a", "amount_in_cents": -5, "workspace_id": int(project)}
        made = ask(sandbox, LIST, "POST", {"billing_milestone": fields})
        assert made.status_code == 200
        id_ = ids(made)[0]
        ask(sandbox, f"{LIST}/{id_}", "PUT", {"billing_milestone": {"title": "b"}})
        assert sandbox.account.milestones[id_]["title"] == "b"
        assert sandbox.account.milestones[id_]["amount_in_cents"] == -5
        deleted = ask(sandbox, f"{LIST}/{id_}", "DELETE")
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert ask(sandbox, f"{LIST}/{id_}").status_code == 404


def test_rails_form_body() -> None:
    """A form body with bracketed names is understood like JSON."""
    with Sandbox(milestones=5) as sandbox:
        answer = requests.post(
            f"{sandbox.url}/{LIST}.json",
            data={
                "billing_milestone[title]": "form",
                "billing_milestone[amount_in_cents]": "7",
                "billing_milestone[workspace_id]": next(iter(sandbox.account.workspaces)),
            },
            headers={"Authorization": f"Bearer {sandbox.token}"},
            timeout=20,
        )
        assert sandbox.account.milestones[ids(answer)[0]]["amount_in_cents"] == 7


def test_batch_answer_is_paged_newest_first() -> None:
    """A batch of 30 is created whole, and answered with 20 of them, newest first."""
    with Sandbox(milestones=5) as sandbox:
        project = next(iter(sandbox.account.workspaces))
        rows = [{"title": str(n), "amount_in_cents": n, "workspace_id": project} for n in range(30)]
        answer = ask(sandbox, LIST, "POST", {"billing_milestones": rows})
        assert (answer.json()["count"], len(ids(answer))) == (30, 20)
        titles = [answer.json()[LIST][id_]["title"] for id_ in ids(answer)]
        assert titles == [str(n) for n in range(29, 9, -1)]
        assert len(sandbox.account.milestones) == 35


def test_validation_errors_have_fields() -> None:
    """What cannot be created is 422, with a field and a message each, and nothing is created."""
    with Sandbox(milestones=5) as sandbox:
        answer = ask(sandbox, LIST, "POST", {"billing_milestone": {"title": ""}})
        assert answer.status_code == 422
        assert {"type", "message", "field"} <= answer.json()["errors"][0].keys()
        assert len(sandbox.account.milestones) == 5


def test_invoiced_milestones_are_refused_silently_invoiced() -> None:
    """Invoicing moves no updated_at; an invoiced milestone can be neither changed nor deleted."""
    with Sandbox(milestones=20) as sandbox:
        account = sandbox.account
        id_ = next(i for i, m in account.milestones.items() if m["invoice_id"] is None)
        before = account.milestones[id_]["updated_at"]
        invoice = account.invoice_milestone(id_)
        assert account.milestones[id_]["updated_at"] == before
        change = {"billing_milestone": {"title": "x"}}
        assert ask(sandbox, f"{LIST}/{id_}", "PUT", change).status_code == 422
        assert ask(sandbox, f"{LIST}/{id_}", "DELETE").status_code == 422
        account.cancel_invoice(invoice)
        assert ask(sandbox, f"{LIST}/{id_}", "PUT", change).status_code == 200


def test_feed_is_for_administrators() -> None:
    """Events tell of creations, changes and deletions, to administrators only."""
    with Sandbox(milestones=5) as sandbox:
        id_ = sandbox.account.create_milestone()
        sandbox.account.delete_milestone(id_)
        types = "billing_milestone:created,billing_milestone:deleted"
        events = ask(sandbox, "subscribed_events", event_types=types).json()["subscribed_events"]
        mine = [event for event in events.values() if event["subject_id"] == int(id_)]
        assert {event["event_type"] for event in mine} == set(types.split(","))
        assert all(event["subject_ref"] is None for event in mine)
        sandbox.account.set_feed(administrator=False)
        assert ask(sandbox, "subscribed_events").status_code == 403


def test_references_are_found_by_their_key() -> None:
    """create_or_update makes one reference, then changes it; its subject_id is a number."""
    with Sandbox(milestones=5) as sandbox:
        id_ = next(iter(sandbox.account.milestones))
        body = {"external_reference": {
            "subject_type": "BillingMilestone", "subject_id": int(id_), "service_name": "us",
            "service_model": "m", "service_model_ref": "key-1"}}  # fmt: skip
        for _ in range(2):
            made = ask(sandbox, "external_references/create_or_update", "POST", body)
            assert made.status_code == 200
        query = {"subject_type": "BillingMilestone", "service_model_ref": "key-1"}
        found = ask(sandbox, "external_references", **query).json()["external_references"]
        assert [row["subject_id"] for row in found.values()] == [int(id_)]


@pytest.mark.parametrize(
    ("kind", "kept"), [("drop_before", False), ("drop_after", True), ("error", False)]
)
def test_lost_answers(kind: str, kept: bool) -> None:
    """A connection cut before or after the commit looks alike, and is not."""
    with Sandbox(milestones=5) as sandbox:
        sandbox.misbehave(Fault(kind, method="POST", times=1))
        project = next(iter(sandbox.account.workspaces))
        body = {"billing_milestone": {"title": "a", "amount_in_cents": 1, "workspace_id": project}}
        if kind == "error":
            assert ask(sandbox, LIST, "POST", body).status_code == 503
        else:
            with pytest.raises(requests.ConnectionError):
                ask(sandbox, LIST, "POST", body)
        assert (len(sandbox.account.milestones) == 6) is kept


def test_misbehaviour_is_asked_for_over_http() -> None:
    """Faults and changes can be asked for without Python."""
    with Sandbox(milestones=5) as sandbox:
        fault = [{"kind": "throttle", "retry_after": 3, "times": 1, "path": LIST}]
        requests.post(f"{sandbox.control_url}/faults", json=fault, timeout=20)
        throttled = ask(sandbox, LIST)
        assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "3")
        assert ask(sandbox, LIST).status_code == 200
        url = f"{sandbox.control_url}/account/create_milestone"
        requests.post(url, json={"title": "over http"}, timeout=20)
        assert "over http" in {m["title"] for m in sandbox.account.milestones.values()}


def test_same_seed_same_account() -> None:
    """A seed always makes the same firm: all currencies, negatives, drafts, cancelled, undated."""
    one, same, other = (Account.seeded(2_000, seed) for seed in (1, 1, 2))
    for name in ("milestones", "workspaces", "stories", "invoices", "external_references"):
        assert getattr(one, name) == getattr(same, name)
    assert one.milestones != other.milestones
    held = one.milestones.values()
    assert {m["currency"] for m in held} == {"USD", "EUR", "JPY", "KWD"}
    assert any(m["amount_in_cents"] < 0 for m in held)
    assert any(m["date_to_invoice"] is None for m in held)
    assert any(invoice["draft"] for invoice in one.invoices.values())
    assert any(invoice["status"] == "cancelled" for invoice in one.invoices.values())
