"""Milestones that tests pick from an account, and their versions in the warehouse."""

from __future__ import annotations

from sources.kantata_sandbox import Account
from tests.support.job import Job


def open_ids(account: Account) -> list[str]:
    """Milestones that were never on an invoice."""
    milestones = account.milestones
    return [
        i for i in milestones if not milestones[i]["invoice_id"] and not account.invoices_of.get(i)
    ]


def smallest_project(account: Account) -> tuple[str, set[str]]:
    """The project with the fewest milestones, and their ids."""
    projects = [m["workspace_id"] for m in account.milestones.values()]
    project = min(set(projects), key=projects.count)
    return project, {i for i, m in account.milestones.items() if m["workspace_id"] == project}


def versions(job: Job, id_: str) -> list[str]:
    """The change types of a milestone's versions, in order."""
    rows = job.rows(
        "select change_type, version from kantata.billing_milestone_versions "
        f"where id = '{id_}' order by version"
    )
    assert [number for _, number in rows] == list(range(1, len(rows) + 1))
    return [change_type for change_type, _ in rows]
