"""The records of an account that its token can see."""

from __future__ import annotations

from typing import Any

from sources.kantata_sandbox import Account


def account_tables(account: Account) -> dict[str, dict[str, dict[str, Any]]]:
    """The expected content of each raw table: by table, then key, then field."""
    visible = filter(account.sees_milestone, account.milestones)
    milestones = {id_: account.milestone(id_) for id_ in visible}
    named = [account.true_milestones[id_] for id_ in milestones]
    linked = {i for id_ in milestones for i in account.invoices_of.get(id_, ())}
    references = {i for id_ in milestones for i in account.references_of.get(id_, ())}
    projects = {m["workspace_id"] for m in named}
    return {
        "billing_milestones": milestones,
        "workspaces": {i: account.workspaces[i] for i in projects},
        "project_details": {i: project_details(account, i) for i in projects},
        "stories": {  # a deleted task is not side-loaded
            i: account.stories[i]
            for i in {m["story_id"] for m in named} - {None}
            if account.stories[i]["deleted_at"] is None
        },
        "invoices": {i: account.invoices[i] for i in linked},
        "external_references": {i: account.external_references[i] for i in references},
        "currencies": {c["iso_code"]: c for c in account.currencies.values()},
    }


def project_details(account: Account, project: str) -> dict[str, Any]:
    """What the warehouse must hold of a project's client, leads and stage."""
    fields = account.optional_fields[project]
    group = account.workspace_groups.get(fields["primary_workspace_group_id"], {})
    shown = {
        "client_id": ("primary_workspace_group_id", fields["primary_workspace_group_id"]),
        "client": ("primary_workspace_group_id", group.get("name")),
        "project_lead_id": ("primary_maven_id", fields["primary_maven_id"]),
        "project_lead": ("provider_lead_name", fields["provider_lead_name"]),
        "client_lead": ("client_lead_name", fields["client_lead_name"]),
        "stage": ("stage", fields["stage"]),
    }
    if "provider_lead_name" in account.hidden_fields:  # the name of the user is left
        lead = account.leads[fields["primary_maven_id"]]["full_name"]
        shown["project_lead"] = ("primary_maven_id", lead)
    details = {n: v for n, (field, v) in shown.items() if field not in account.hidden_fields}
    labels = {"client": "client", "project_lead": "project_lead", "client_lead": "client_lead"}
    labels["stage"] = "project_stage"
    hidden = ", ".join(label for name, label in labels.items() if name not in details)
    return {"id": project, **details, "hidden": hidden or None}
