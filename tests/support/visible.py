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
    return {
        "billing_milestones": milestones,
        "workspaces": {i: account.workspaces[i] for i in {m["workspace_id"] for m in named}},
        "stories": {  # a deleted task is not side-loaded
            i: account.stories[i]
            for i in {m["story_id"] for m in named} - {None}
            if account.stories[i]["deleted_at"] is None
        },
        "invoices": {i: account.invoices[i] for i in linked},
        "external_references": {i: account.external_references[i] for i in references},
        "currencies": {c["iso_code"]: c for c in account.currencies.values()},
    }
