"""Many changes at once: the table, its totals, the digest of the list, and beginnings of ids."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.cli.labels import Labels
from pipelines.cli.output import out
from pipelines.cli.render_changes import render_list
from pipelines.writeback.approvals import list_digest
from pipelines.writeback.net_effect import NetEffect, net_effects
from tests.support.ledgers import Kind
from tests.support.office import Office
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action, Change, Status
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.find import find_change
from warehouse.ledger.rows import change_values
from warehouse.ledger.schema import changes

on_duckdb = pytest.mark.parametrize("job", ["duckdb"], indirect=True)
_UPDATE = Change(
    action=Action.UPDATE, milestone_id="4711", workspace_id="77", currency="USD",
    after={"amount_in_cents": 1_300_000, "date_to_invoice": "2027-02-28"},
    before={"title": "Go-live", "amount_in_cents": 1_250_000, "date_to_invoice": "2027-01-31"},
    reason="delivery is later", proposer="ann", change_id="3f2a9c1e5b7d8a90",
)  # fmt: skip
_CREATE = Change(
    action=Action.CREATE, milestone_id=None, workspace_id="77", currency="JPY",
    after={"workspace_id": "77", "title": "New", "amount_in_cents": 500},
    before={}, reason="r", proposer="ann", change_id="aaaa9c1e5b7d8a90",
)  # fmt: skip
_DELETE = replace(_UPDATE, action=Action.DELETE, after={}, change_id="bbbb9c1e5b7d8a90")
_LABELS = Labels({"USD": Decimal("0.01"), "JPY": Decimal(1)}, {"77": "Atlas"})


def _printed(*changes: Change, known: Labels = _LABELS) -> str:
    with out.capture() as capture:
        render_list(changes, known)
    return capture.get()


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result
    return result.exit_code, result.output


def test_a_list_has_totals_per_currency() -> None:
    """The table fits 80 columns, and the totals are never added across currencies."""
    retitled = replace(_UPDATE, after={"title": "Go"}, change_id="cccc9c1e5b7d8a90")
    rejected = replace(_UPDATE, status=Status.REJECTED, outcome="wrong", approver="bob")
    text = _printed(_UPDATE, _CREATE, _DELETE, retitled, rejected)
    assert max(map(len, text.splitlines())) <= 80, text
    assert "4711  12,500.00 → 13,000.00  USD" in text
    assert "new       none →       500  JPY" in text
    assert "4711  12,500.00 →      none  USD" in text
    assert 'title "Go-live" → "Go"' in text
    assert "date_to_invoice 2027-01-31 → 2027-02-28" in text
    assert "approved by bob; rejected: wrong" in text
    assert "4 open changes, 1 finished" in text
    assert "JPY: 0 → 500, net effect +500 (1 open change)" in text
    assert "USD: 37,500.00 → 25,500.00, net effect -12,000.00 (3 open changes)" in text
    digest = list_digest([_UPDATE, _CREATE, _DELETE, retitled])[:12]
    assert text.splitlines()[-1].endswith(f"milestones approve --all --digest {digest}")


@pytest.mark.parametrize(
    "status", sorted(set(Status) - {Status.PROPOSED, Status.APPROVED, Status.APPLIED})
)
def test_a_list_says_why(status: Status) -> None:
    """The cause of a conflict and the reason of a rejection are in the list."""
    assert f"{status}: because" in _printed(replace(_UPDATE, status=status, outcome="because"))
    assert "digest of this list" not in _printed(replace(_UPDATE, status=status))


def test_a_list_of_nothing() -> None:
    """An empty list is one line."""
    assert _printed() == "no changes\n"


def test_amounts_without_a_unit_or_a_currency_are_in_minor_units() -> None:
    """What the warehouse does not know is not guessed, and none is not zero."""
    text = _printed(_UPDATE, known=Labels())
    assert "1,250,000 → 1,300,000  minor units of USD" in text
    assert "minor units of USD: 1,250,000 → 1,300,000, net effect +50,000" in text
    text = _printed(replace(_UPDATE, currency=None), known=_LABELS)
    assert "minor units, no currency: 1,250,000 → 1,300,000" in text
    without = replace(_UPDATE, before=_UPDATE.before | {"amount_in_cents": None})
    assert "none → 13,000.00  USD" in _printed(without)
    assert net_effects([without, _UPDATE]) == [NetEffect("USD", 2, 1_250_000, 2_600_000)]


def test_nobody_forges_a_line_of_the_list() -> None:
    """What others wrote is in quotes that it cannot end; markup and escapes are shown as text."""
    title = 'x" in project 1; by bob; [red]approved by bob\x1b[2K\n'
    before = _UPDATE.before | {"title": title}
    text = _printed(replace(_UPDATE, before=before, proposer="ann; approved by bob"))
    shown = r'"x\" in project 1; by bob; [red]approved by bob\x1b[2K\n" in project "Atlas" (77)'
    assert shown in text
    assert 'by "ann; approved by bob"' in text


def test_the_digest_of_a_list_is_that_of_what_is_proposed() -> None:
    """It depends on each proposed change, not on their order and not on others."""
    approved = replace(_DELETE, status=Status.APPROVED)
    lines = "\n".join(sorted(f"{c.change_id} {c.digest}" for c in (_UPDATE, _CREATE)))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert list_digest([_UPDATE, _CREATE, approved]) == digest
    assert list_digest([_CREATE, _UPDATE]) == digest
    assert list_digest([_CREATE, replace(_UPDATE, reason="other")]) != digest
    assert list_digest([_CREATE, _UPDATE, _DELETE]) != digest
    assert list_digest([approved]) == ""


@on_duckdb
def test_all_of_a_list_is_approved_or_nothing(office: Office) -> None:
    """``approve --all`` approves exactly the list that was shown, by somebody who proposed none."""
    ids = [
        office.json("propose", "delete", id_, "--reason", "r", "--as", who)["change_id"]
        for id_, who in zip(office.free(), ("ann", "ann", "eve"), strict=False)
    ]
    shown = _run("changes")[1].splitlines()[-1]
    found = re.search(
        "3 proposed changes: milestones approve --all --digest ([0-9a-f]{12})$", shown
    )
    assert found, shown
    digest = found[1]
    for words, why in (
        (["--all"], "needs the digest"),
        (["--all", "--digest", digest[:11]], "at least 12"),
        (["--all", "--digest", digest, ids[0]], "leave out the ids"),
        (["--all", "--digest", "0" * 12], "has changed"),
        ([], "--all --digest"),
    ):
        code, output = _run("approve", *words, "--as", "bob")
        assert (code, why in output) == (2, True), output
    code, output = _run("approve", "--all", "--digest", digest, "--as", "Eve")
    assert (code, f"Eve proposed 1 of the 3 changes ({ids[2]})" in output) == (2, True), output
    later = office.json("propose", "delete", office.free()[3], "--reason", "r", "--as", "ann")
    code, output = _run("approve", "--all", "--digest", digest, "--as", "bob")
    assert (code, "has changed" in output) == (2, True), output
    assert {c["status"] for c in office.json("changes")} == {"proposed"}
    assert _run("withdraw", later["change_id"][:6])[0] == 0
    code, output = _run("approve", "--all", "--digest", digest.upper(), "--as", "bob")
    assert (code, output.count("approved by bob")) == (0, 3), output
    code, output = _run("approve", "--all", "--digest", digest, "--as", "bob")
    assert (code, "no change is proposed" in output) == (2, True), output


def test_a_beginning_identifies_a_change(kind: Kind) -> None:
    """A whole id wins; a beginning must be unique and have four characters."""
    with connect_ledger(kind.url, lambda: datetime.now(UTC)) as ledger:
        for number, id_ in enumerate(("abcd", "abcd12ef", "abcd13ef")):
            with ledger.transaction():
                values = change_values(number, replace(_UPDATE, change_id=id_, milestone_id=id_))
                ledger.connection.execute(
                    changes.insert().values(values | {"proposed_at": "2026-11-29T00:00:00+00:00"})
                )
        assert find_change(ledger, "abcd").change_id == "abcd"
        assert find_change(ledger, "ABCD12").change_id == "abcd12ef"
        for text, why in (
            ("abcd1", "2 changes begin with abcd1: abcd12ef, abcd13ef"),
            ("abc", "there is no change abc. Give its id, or at least its first 4"),
            ("ab%d", "there is no change"),
            ("abcd_", "there is no change"),
            ("abcé", "there is no change"),
            ("", "there is no change"),
            ("ab\udcff\udcfe", "there is no change"),
        ):
            with pytest.raises(ChangeRefused) as refused:
                find_change(ledger, text)
            assert why in str(refused.value)
