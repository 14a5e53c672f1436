"""A warehouse and a ledger of an earlier release can be opened, synced and pushed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.surface import stored, story
from tests.surface.life import Life, begun
from tests.surface.tables import contents

pytestmark = pytest.mark.xdist_group("surface")
_VERSIONS = "kantata.billing_milestone_versions"
_HISTORY = "kantata_marts.billing_milestone_history"
# Relations that depend on the time, or on the run that built them.
_OF_A_RUN = ("kantata_marts.data_freshness",)


@dataclass(frozen=True)
class Before:
    """Files of an earlier release, restored.

    Args:
        life: The restored warehouse and ledger, with an account equal to the original.
        output: The output of the earlier release's commands.
    """

    life: Life
    output: dict[str, Any]

    def rows(self, *relations: str) -> dict[str, list[str]]:
        """The present rows of relations, in the columns they had."""
        names = self.output["columns"]
        with stored.warehouse(self.life) as query:
            return contents(query, {name: names[name] for name in relations or names})

    def new_rows(self, relation: str) -> list[str]:
        """The additional rows of a relation; assert that all earlier rows remain."""
        then, now = self.output["rows"][relation], self.rows(relation)[relation]
        assert not set(then) - set(now)
        return sorted(set(now) - set(then))


@pytest.fixture(params=["duckdb", "postgres"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Before]:
    """The files of an earlier release, once for each kind of warehouse."""
    destination = request.param
    url = request.getfixturevalue("postgres_url") if destination == "postgres" else ""
    output = stored.restore(destination, tmp_path, url)
    with begun(destination, tmp_path, stored.account_of(output), url) as life:
        yield Before(life, output)


def test_output_and_rows_are_unchanged(before: Before) -> None:
    """Status, changes, their events and every row are unchanged."""
    now = stored.output_of(before.life)
    for name in ("changes", "events"):
        assert _as_far_as(before.output[name], now[name]) == before.output[name]
    for name in ("runs", "months", "proven_at"):
        then = before.output["status"][name]
        assert _as_far_as(then, now["status"][name]) == then
    assert before.rows() == before.output["rows"]


def test_marts_are_built_alike(before: Before) -> None:
    """Marts that this release builds from those rows are equal to the earlier ones."""
    before.life.json("models")
    marts = [n for n in before.output["rows"] if n.startswith("kantata_marts.")]
    built = before.rows(*marts)
    for mart in (mart for mart in marts if mart not in _OF_A_RUN):
        assert built[mart] == before.output["rows"][mart]


def test_it_syncs_and_pushes(before: Before) -> None:
    """One more edit is read and nothing else, the approved change is written, alerts continue."""
    life, account = before.life, before.life.account
    edited = story.next_edit(account)
    ids = {name: _milestone(before, name) for name in ("unknown", "approved")}
    ran = life.json("run", "--only", "sync", code=3)["sync"]  # one record is still rejected
    assert (ran["mode"], ran["added"], ran["changed"], ran["deleted"]) == ("feed", 0, 1, 0)
    assert life.hook.texts == []  # it was reported before
    assert [_id(row) for row in before.new_rows(_VERSIONS)] == [edited]
    then, now = before.output["rows"][_HISTORY], before.rows(_HISTORY)[_HISTORY]
    assert {_id(row) for row in set(then) ^ set(now)} == {edited}  # its last version has ended
    assert len(now) == len(then) + 1
    assert len(before.new_rows("kantata.sync_runs")) == 1

    pushed = life.json("push")
    assert {c["change_id"]: c["status"] for c in pushed["changes"]} == {
        before.output["ids"][name]: "applied" for name in ids
    }
    assert account.milestone(ids["approved"])["amount_in_cents"] == 1
    assert {_id(row) for row in before.new_rows(_VERSIONS)} == {edited, ids["approved"]}
    titles = [record["title"] for record in account.milestones.values()]
    assert titles.count("made é") == 1


def test_an_equal_create_is_refused(before: Before) -> None:
    """A create equal to one that was applied is refused."""
    (made,) = [c for c in before.output["changes"] if c["action"] == "create"]
    sets = [word for name, value in made["after"].items() for word in ("--set", f"{name}={value}")]
    before.life.account.delete_milestone(made["milestone_id"])
    refused = before.life.json("propose create", *sets, "--reason", "again", code=2)
    assert made["change_id"] in refused["error"]


def _as_far_as(then: Any, now: Any) -> Any:  # noqa: ANN401 - any JSON
    """The present output, without keys that the earlier release did not have."""
    if isinstance(then, dict):
        return {name: _as_far_as(value, now.get(name)) for name, value in then.items()}
    if isinstance(then, list) and len(then) == len(now):
        return [_as_far_as(*pair) for pair in zip(then, now, strict=True)]
    return now


def _milestone(before: Before, name: str) -> str:
    (found,) = [c for c in before.output["changes"] if c["change_id"] == before.output["ids"][name]]
    return str(found["milestone_id"])


def _id(row: str) -> str:
    """The id of a version, which is its first column."""
    return row.split("'")[1]
