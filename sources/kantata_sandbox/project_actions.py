"""What people do in Kantata's screens with projects, tasks, clients and currencies."""

from .clock import stamp
from .store import Store


class ProjectActions(Store):
    """Mutators of the account's projects and of what belongs to them."""

    def update_story(self, id: str, **fields: object) -> None:
        """Change a task, for example `state="completed"`. Its milestones do not change."""
        with self.change() as now:
            story = self.stories[id]
            before = dict(story)
            story.update({"updated_at": stamp(now)} | fields)
            self.feed.emit("Story", "updated", now, before=before, after=dict(story))

    def rename_workspace(self, id: str, title: str) -> None:
        """Change the title of a project of the account."""
        self.update_workspace(id, title=title)

    def archive_workspace(self, id: str, archived: bool = True) -> None:
        """Archive a project of the account; its milestones stay in the list."""
        self.update_workspace(id, archived=archived)

    def update_workspace(self, id: str, **fields: object) -> None:
        """Change a project, for example its `currency`. Its milestones do not change."""
        with self.change() as now:
            workspace = self.workspaces[id]
            before = dict(workspace)
            if "currency" in fields:
                workspace["currency_base_unit"] = self._minor_units(str(fields["currency"]))
            workspace.update({"updated_at": stamp(now)} | fields)
            self.feed.emit("Workspace", "updated", now, before=before, after=dict(workspace))

    def update_optional_fields(self, id: str, **fields: object) -> None:
        """Change what the list of projects shows only on request, such as `client_lead_name`.

        Unknown. Worst case: the project's updated_at stays, and no event reports it.
        """
        with self.change():
            self.optional_fields[self.workspaces[id]["id"]].update(fields)

    def rename_client(self, id: str, name: str) -> None:
        """Rename a workspace group of the account. Its projects do not change."""
        with self.change():
            self.workspace_groups[id]["name"] = name

    def hide_fields(self, *names: str) -> None:
        """Hide optional fields of projects from the token's user, and only these from now on."""
        with self.change():
            self.hidden_fields = set(names)

    def update_currency(self, iso_code: str, subunit_to_unit: int) -> None:
        """Change how many minor units a currency has, also in projects and invoices.

        Milestones do not change, and no event reports it.
        """
        with self.change():
            for currency in self.currencies.values():
                if currency["iso_code"] == iso_code:
                    currency["subunit_to_unit"] = subunit_to_unit
            for record in (*self.workspaces.values(), *self.invoices.values()):
                if record["currency"] == iso_code:
                    record["currency_base_unit"] = subunit_to_unit

    def hide_workspace(self, id: str) -> None:
        """Remove the token's user from a project: it and its rows disappear without an error."""
        with self.change():
            self.hidden.add(self.workspaces[id]["id"])

    def show_workspace(self, id: str) -> None:
        """Let the token's user see a project again."""
        with self.change():
            self.hidden.discard(id)

    def delete_workspace(self, id: str) -> None:
        """Delete a project of the account with its milestones and tasks.

        Unknown (API.md#subscribed-events). Worst case: the milestones raise no events.
        """
        with self.change() as now:
            workspace = self.workspaces.pop(id)
            for milestone in [m for m in self.true_milestones.values() if m["workspace_id"] == id]:
                self._drop_milestone(milestone["id"])
            self.stories = {i: s for i, s in self.stories.items() if s["workspace_id"] != id}
            self.feed.emit("Workspace", "deleted", now, before=workspace)
