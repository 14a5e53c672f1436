"""Clients and leads of projects: read once a day, hidden or unreachable without harm."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from sources.kantata.api.reader import KantataReader
from sources.kantata.extract.context import ExtractContext
from sources.kantata.extract.project_details import ProjectDetailsRead
from sources.kantata.extract.tables import ExtractTables
from sources.kantata.report import Report
from sources.kantata.request import ExtractRequest
from sources.kantata.transform.milestone_index import MilestoneIndex
from sources.kantata.transform.rejects import Rejects
from sources.kantata.warehouse_state import EmptyState
from sources.kantata_sandbox import Account, Fault, Sandbox
from tests.support.job import Job
from tests.support.visible import project_details

DAY = 86_400
SHOWN = (
    "select distinct workspace_id, client, project_lead, hidden_fields "
    "from kantata_marts.billing_milestones"
)
ASKS_FOR_DETAILS = {"include": "primary_workspace_group,primary_maven"}


def shown(job: Job) -> dict[str, tuple[Any, ...]]:
    """The client, lead and hidden fields that the marts show, by project."""
    return {row[0]: row[1:] for row in job.rows(SHOWN)}


@pytest.mark.long
def test_read_once_a_day(job: Job) -> None:
    """An unchanged account is asked once a day; a change of a client shows on the next day."""
    asked: Counter[str] = Counter()

    def count(_: Account) -> None:
        asked["details"] += 1

    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        late = next(iter(account.workspaces))
        account.hide_workspace(late)
        job.synced(sandbox)
        before = shown(job)
        assert late not in before
        project, (client, lead, _) = next((p, row) for p, row in before.items() if row[0])
        sandbox.misbehave(Fault("change", path="workspaces$", query=ASKS_FOR_DETAILS, action=count))
        account.rename_client(
            account.optional_fields[project]["primary_workspace_group_id"], "renamed"
        )
        assert job.sync(sandbox).exit_code == 0
        assert shown(job) == before
        assert not asked
        account.show_workspace(late)
        job.sync(sandbox)
        found = shown(job)
        assert found.pop(late)[1] == account.optional_fields[late]["provider_lead_name"]
        assert found == before  # only what is new was read
        assert asked == {"details": 1}
        account.advance(DAY)
        assert job.sync(sandbox, full=False).run.side_rows["project_details"]
        assert shown(job)[project] == ("renamed", lead, None)
        assert asked == {"details": 2}
        history = "select distinct client from kantata_marts.billing_milestone_history"
        assert (client,) not in job.rows(f"{history} where workspace_id = '{project}'")


@pytest.mark.long
def test_unreachable_or_forbidden(job: Job) -> None:
    """A list that fails leaves the last values; one that is forbidden counts as hidden."""
    everything = "client, project_lead, client_lead, project_stage"
    fails = Fault("error", path="workspaces$", query=ASKS_FOR_DETAILS, retry_after=0)
    with Sandbox(milestones=30) as sandbox:
        sandbox.misbehave(fails)
        result = job.sync(sandbox)
        assert result.exit_code == 3
        assert "clients and leads of projects cannot be read now" in result.needs[0]
        assert {row[2] for row in shown(job).values()} == {everything}
        sandbox.behave()
        assert job.sync(sandbox, full=False).exit_code == 0
        before = shown(job)
        assert {row[2] for row in before.values()} == {None}
        sandbox.misbehave(fails)
        sandbox.account.advance(2 * DAY)
        assert job.sync(sandbox).exit_code == 0
        sandbox.behave()
        sandbox.misbehave(Fault("refuse", path="workspaces$", query=ASKS_FOR_DETAILS, status=403))
        assert job.sync(sandbox).exit_code == 0
        assert shown(job) == before


@pytest.mark.long_on("duckdb")
def test_odd_status(job: Job) -> None:
    """A status with a NUL, of another type or absent is shown as far as it is text."""
    odd = [{"message": "a\0b"}, "On Hold", {"message": {"x": 1}}, None]
    with Sandbox(milestones=30) as sandbox:
        workspaces = sandbox.account.workspaces
        job.synced(sandbox)
        for project, status in zip(workspaces, odd, strict=True):
            sandbox.account.update_workspace(project, status=status)
        assert job.sync(sandbox).exit_code == 0
        found = dict(
            job.rows(
                "select workspace_id, project_status from kantata_marts.billing_milestones "
                "group by 1, 2"
            )
        )
    assert [found[project] for project in workspaces] == ["a�b", None, '{"x":1}', None]


def test_many_projects_take_few_requests() -> None:
    """More than 100 projects are read as a list, if that has fewer pages than their ids."""
    with Sandbox(milestones=5_000) as sandbox:
        account = sandbox.account
        reader = KantataReader(sandbox.url, sandbox.token)
        context = ExtractContext(
            reader=reader, state=EmptyState(), request=ExtractRequest(), report=Report()
        )
        tables = ExtractTables(context, MilestoneIndex([]), Rejects([]))
        list(tables.sides["workspaces"].compare(account.workspaces, datetime.now(UTC)))
        account.hide_fields("provider_lead_name")
        list(ProjectDetailsRead(context, tables).rows())
        (_, rows), *_ = tables.sides["project_details"].flush()
    assert reader.requests == 1
    found = {row["id"]: row for row in rows.to_pylist()}
    assert found.keys() == account.workspaces.keys()
    for project, row in found.items():
        expected = project_details(account, project)
        assert {name: row[name] for name in expected} == expected


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize("first", ["read back", pytest.param("failed", marks=pytest.mark.long)])
def test_a_project_whose_details_were_missed(job: Job, first: str) -> None:
    """The next run reads them, if a push showed the project first, or the list gave no answer."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        id_, milestone = next(iter(account.milestones.items()))
        project = milestone["workspace_id"]
        account.hide_workspace(project)
        job.synced(sandbox)
        account.show_workspace(project)
        if first == "failed":
            sandbox.misbehave(Fault("error", path="workspaces$", times=5))
        touched = frozenset({id_}) if first == "read back" else None
        job.sync(sandbox, full=False, **({"touched": touched} if touched else {}))
        assert shown(job)[project][1] is None
        job.sync(sandbox, full=False)
        assert shown(job)[project][1] == account.optional_fields[project]["provider_lead_name"]


@pytest.mark.long_on("postgres")
def test_a_reject_stays_until_it_is_read_again(job: Job) -> None:
    """A scan that does not read the details of all projects resolves no reject of theirs."""
    with Sandbox(milestones=30) as sandbox:
        sandbox.account.update_optional_fields(next(iter(sandbox.account.workspaces)), stage=7)
        assert job.sync(sandbox).exit_code == 3
        assert job.sync(sandbox).exit_code == 3
