"""The account: what people do in Kantata's own screens, each action with the events it raises."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self

from .batch_rules import BatchRules
from .blank_records import Record, account_id, milestone_record, reference_record
from .clock import Clock, instant, moment_of, stamp
from .exchange_actions import ExchangeActions
from .invoice_actions import InvoiceActions
from .project_actions import ProjectActions
from .seed import DEFAULT_NOW, seed_store


class Account(ProjectActions, InvoiceActions, ExchangeActions):
    """Mutators that can be called from any thread, and over HTTP by their names.

    They refuse only what makes no sense (KeyError, ValueError). The API's rules, such as refusing
    to edit an invoiced milestone, are enforced by the endpoints.
    """

    @classmethod
    def seeded(cls, milestones: int, seed: int, now: datetime | None = None) -> Self:
        """Build the account of a services firm; the same arguments always give the same account."""
        start = None if now is None else moment_of(now)
        today = moment_of(DEFAULT_NOW) if start is None else start
        account = cls(Clock(start, not_before=today), account_id(seed))
        seed_store(account, milestones=milestones, seed=seed, today=today)
        return account

    def advance(self, seconds: float) -> None:
        """Move the clock of the account's server forward."""
        with self.change():
            self.clock.advance(seconds)

    def set_feed(
        self,
        enabled: bool = True,
        delay_seconds: int = 0,
        copies: int = 1,
        administrator: bool = True,
    ) -> None:
        """Turn the feed on or off, make new events late or double, or revoke the admin role."""
        with self.change():
            self.feed.enabled = enabled
            self.feed.delay_seconds = delay_seconds
            self.feed.copies = copies
            self.user["account_administrator"] = administrator

    def create_milestone(self, **fields: object) -> str:
        """Create a milestone in the account and return its id; fields not given are plausible."""
        with self.change() as now:
            moment = moment_of(fields.pop("created_at", now))  # type: ignore[arg-type]
            reference = fields.pop("external_reference", None)
            workspace = self.workspaces[
                str(fields.get("workspace_id", next(iter(self.workspaces))))
            ]
            id_ = self.new_id("milestone")
            record = milestone_record(id_, workspace, stamp(moment)) | fields
            record |= {"id": id_, "workspace_id": workspace["id"]}
            self.true_milestones[id_] = record
            self.creation_order.add(id_, moment)
            if self.list_lag:
                self.listed_at[id_] = now + self.list_lag
            self.feed.emit("BillingMilestone", "created", now, after=record)
            if isinstance(reference, Mapping):
                self.save_reference(id_, dict(reference))
            return id_

    def update_milestone(self, id: str, **fields: object) -> None:
        """Edit a milestone. Equal values change nothing: no event, the same updated_at."""
        with self.change() as now:
            reference = fields.pop("external_reference", None)
            record = self.true_milestones[id]
            before = dict(record)
            self._assign(record, fields)
            if record != before:
                record["updated_at"] = fields.get("updated_at", stamp(now))
                self.feed.emit(
                    "BillingMilestone", "updated", now, before=before, after=dict(record)
                )
            if isinstance(reference, Mapping):
                # Unknown; worst case: a reference alone does not change the milestone's updated_at.
                self.save_reference(id, dict(reference))

    def silently_update_milestone(self, id: str, **fields: object) -> None:
        """Change a milestone of the account without an event and without changing updated_at."""
        with self.change():
            self._assign(self.true_milestones[id], fields)

    def _assign(self, record: Record, fields: Mapping[str, object]) -> None:
        """Assign fields to a milestone of the account, and keep the order of creation right."""
        if "created_at" in fields:
            moment = moment_of(fields["created_at"])  # type: ignore[arg-type]
            self.creation_order.discard(record["id"], instant(record["created_at"]))
            self.creation_order.add(record["id"], moment)
            fields = {**fields, "created_at": stamp(moment)}
        record.update(fields)

    def delete_milestone(self, id: str) -> None:
        """Delete a milestone of the account, invoiced or not, with its references and links."""
        with self.change() as now:
            record = self._drop_milestone(id)
            self.feed.emit("BillingMilestone", "deleted", now, before=record)

    def restore_milestone(self, record: Record) -> None:
        """Restore a deleted milestone as it was, as a vendor's support might do.

        Whether that ever happens is unknown. Worst case: no event is raised.
        """
        with self.change():
            self.true_milestones[record["id"]] = dict(record)
            self.creation_order.add(record["id"], instant(record["created_at"]))

    def side_load(self, name: str, records: Mapping[str, Record]) -> None:
        """Side-load records of another type with every page of milestones, included or not."""
        with self.change():
            self.extra_maps[name] = dict(records)

    def unlist_milestones(self, *ids: str) -> None:
        """Leave milestones out of every list, and only these from now on, as a stale index might.

        Unknown. Worst case: the counts agree with what is left, and each can be read by its id.
        """
        with self.change():
            self.stale = set(ids)

    def set_list_lag(self, seconds: int) -> None:
        """Show milestones that are created from now on in lists only after some seconds.

        Unknown. Worst case: neither lists nor their references show what a POST has just created.
        """
        with self.change():
            self.list_lag = seconds

    def set_batch_rules(self, **rules: bool | int | None) -> None:
        """Treat batches of creates by these rules: the attributes of BatchRules, or the default."""
        with self.change():
            self.batch_rules = BatchRules(**rules)  # type: ignore[arg-type]

    def save_reference(self, milestone_id: str, fields: Mapping[str, object]) -> str:
        """Create or update a milestone's external reference, and return the reference's id.

        The match key is unknown (API.md#reference-endpoints). Here it is the subject and
        service_name, which is documented to be unique.
        """
        with self.change() as now:
            mine = self.references_of[self.true_milestones[milestone_id]["id"]]
            for id_ in mine:
                if self.external_references[id_]["service_name"] == fields["service_name"]:
                    changed = {"updated_at": stamp(now), "last_synced_at": stamp(now)}
                    self.external_references[id_].update(changed | dict(fields))
                    return id_
            id_ = self.new_id("reference")
            self.external_references[id_] = reference_record(id_, milestone_id, stamp(now)) | dict(
                fields
            )
            mine.append(id_)
            return id_

    def delete_reference(self, id: str) -> None:
        """Delete an external reference of the account."""
        with self.change():
            subject = str(self.external_references.pop(id)["subject_id"])
            self.references_of[subject].remove(id)
