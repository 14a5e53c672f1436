"""A warehouse and a ledger that the release before wrote open, sync and push."""

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
# What time, or the run that built them, decides.
_OF_A_RUN = ("kantata_marts.data_freshness",)


@dataclass(frozen=True)
class Before:
    """What was written before.

    Args:
        life: It, beside an account equal to the one it was read from.
        said: What the release that wrote it said of it.
    """

    life: Life
    said: dict[str, Any]

    def rows(self, *relations: str) -> dict[str, list[str]]:
        """What relations hold now, of the columns they had."""
        names = self.said["columns"]
        with stored.warehouse(self.life) as ask:
            return contents(ask, {name: names[name] for name in relations or names})

    def new_rows(self, relation: str) -> list[str]:
        """What a relation holds now besides; all it held must be there."""
        then, now = self.said["rows"][relation], self.rows(relation)[relation]
        assert not set(then) - set(now)
        return sorted(set(now) - set(then))


@pytest.fixture(params=["duckdb", "postgres"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Before]:
    """What was written before, once for each kind of warehouse."""
    destination = request.param
    url = request.getfixturevalue("postgres_url") if destination == "postgres" else ""
    said = stored.restore(destination, tmp_path, url)
    with begun(destination, tmp_path, stored.account_of(said), url) as life:
        yield Before(life, said)


def test_it_says_the_same(before: Before) -> None:
    """Status, changes, their events and every row are what they were."""
    now = stored.said(before.life)
    for name in ("changes", "events"):
        assert _as_far_as(before.said[name], now[name]) == before.said[name]
    for name in ("runs", "months", "proven_at"):
        then = before.said["status"][name]
        assert _as_far_as(then, now["status"][name]) == then
    assert before.rows() == before.said["rows"]


def test_marts_are_built_alike(before: Before) -> None:
    """Marts that this release builds from those rows hold what they held."""
    before.life.json("models")
    marts = [n for n in before.said["rows"] if n.startswith("kantata_marts.")]
    built = before.rows(*marts)
    for mart in (mart for mart in marts if mart not in _OF_A_RUN):
        assert built[mart] == before.said["rows"][mart]


def test_it_syncs_and_pushes(before: Before) -> None:
    """One more edit is read, nothing else; what was approved is written; alerts go on."""
    life, account = before.life, before.life.account
    edited = story.next_edit(account)
    ids = {name: _milestone(before, name) for name in ("unknown", "approved")}
    ran = life.json("run", "--only", "sync", code=3)["sync"]  # one record is rejected still
    assert (ran["mode"], ran["added"], ran["changed"], ran["deleted"]) == ("feed", 0, 1, 0)
    assert life.hook.texts == []  # it was said before
    assert [_id(row) for row in before.new_rows(_VERSIONS)] == [edited]
    then, now = before.said["rows"][_HISTORY], before.rows(_HISTORY)[_HISTORY]
    assert {_id(row) for row in set(then) ^ set(now)} == {edited}  # its last version has ended
    assert len(now) == len(then) + 1
    assert len(before.new_rows("kantata.sync_runs")) == 1

    pushed = life.json("push")
    assert {c["change_id"]: c["status"] for c in pushed["changes"]} == {
        before.said["ids"][name]: "applied" for name in ids
    }
    assert account.milestone(ids["approved"])["amount_in_cents"] == 1
    assert {_id(row) for row in before.new_rows(_VERSIONS)} == {edited, ids["approved"]}
    titles = [record["title"] for record in account.milestones.values()]
    assert titles.count("made é") == 1


def test_an_equal_create_is_refused(before: Before) -> None:
    """A create that was applied is known as the same one."""
    (made,) = [c for c in before.said["changes"] if c["action"] == "create"]
    sets = [word for name, value in made["after"].items() for word in ("--set", f"{name}={value}")]
    before.life.account.delete_milestone(made["milestone_id"])
    refused = before.life.json("propose create", *sets, "--reason", "again", code=2)
    assert made["change_id"] in refused["error"]


def _as_far_as(then: Any, now: Any) -> Any:  # noqa: ANN401 - any JSON
    """What is said now, without keys that nobody said then."""
    if isinstance(then, dict):
        return {name: _as_far_as(value, now.get(name)) for name, value in then.items()}
    if isinstance(then, list) and len(then) == len(now):
        return [_as_far_as(*pair) for pair in zip(then, now, strict=True)]
    return now


def _milestone(before: Before, name: str) -> str:
    (found,) = [c for c in before.said["changes"] if c["change_id"] == before.said["ids"][name]]
    return str(found["milestone_id"])


def _id(row: str) -> str:
    """The id of a version, which is its first column."""
    return row.split("'")[1]
