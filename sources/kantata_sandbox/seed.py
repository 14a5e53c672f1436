"""Seeds the account of a services firm, always the same for the same number, seed and time.

Only `Random.random` is used: its numbers are the same in every Python version. The garbage
collector is off meanwhile: it would walk through a million new records again and again.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple, TypeVar

from .blank_records import (
    BY_CODE,
    CURRENCIES,
    STATUS,
    Currency,
    Record,
    invoice_record,
    optional_record,
    reference_record,
    story_record,
    workspace_record,
)
from .clock import day_text, instant, stamp
from .creation_order import CreationOrder
from .exchange_actions import seed_rates
from .store import Store

DEFAULT_NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
"""The date of a seeded account, unless another one is given."""

_DAY = 86400
_YEARS = 6
_CLIENTS = ("Northwind", "Ålesund Shipping", "Contoso", "Müller & Söhne", "日本物産", "Initech",
            "Kuwait Gas", "O'Hara Foods", "Globex", "Vandelay", "Acme, Inc.", "Tyrell")  # fmt: skip
_WORK = ("ERP rollout", "Website", "Data platform", "Support retainer", "Migration", "Training",
         "Audit", "Mobile app", "Integration", "Strategy")  # fmt: skip
_PHASES = ("Kick-off", "Discovery", "Design", "Build", "Test", "Go-live", "Hypercare", "Close-out",
           'Sign-off "A"', "Rückbehalt", "Change request", "Expenses; travel")  # fmt: skip
_TITLES = tuple(f"{phase} {n}" for phase in _PHASES for n in range(1, 41))
_CURRENCY_SHARE = ((0.60, "USD"), (0.85, "EUR"), (0.95, "JPY"), (1.0, "KWD"))
_SERVICES = (("netsuite", "salesOrderItem"), ("quickbooks", "Line"), ("sap", "BillingPlanItem"))

_T = TypeVar("_T")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Turn the garbage collector off while the account is seeded."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def seed_store(store: Store, *, milestones: int, seed: int, today: int) -> None:
    """Seed an empty store with this many milestones, as of `today` (seconds since 1970)."""
    with _no_collection():
        seeder = _Seeder(store, Random(f"{seed}/{milestones}"), milestones, today)
        seeder.add_workspaces()
        seeder.add_milestones()
        seeder.add_references()
        seeder.add_recent_events()
        seed_rates(store, today)


class _Event(NamedTuple):
    """A seeded milestone that was created or updated: when, and which of both."""

    moment: int
    verb: str
    milestone: Record


class _Seeder:
    """Seeds a store: projects with tasks, then milestones in the order of their creation."""

    def __init__(self, store: Store, rng: Random, count: int, now: int) -> None:
        self.store = store
        self.draw = rng.random
        self.count = count
        self.now = now
        self.begin = now - _YEARS * 365 * _DAY
        self.stories_of: list[list[str]] = []
        self.open_invoice: dict[str, str] = {}

    def pick(self, items: tuple[_T, ...] | list[_T]) -> _T:
        """Choose one of the items by the seed's random numbers."""
        return items[int(self.draw() * len(items))]

    def moment(self, share: float) -> int:
        """Return the time at which this share of the firm's life had passed."""
        return self.begin + int((self.now - self.begin) * share)

    def add_workspaces(self) -> None:
        """Seed one project for every 40 milestones, and 4 more; old ones are often archived."""
        total = 4 + self.count // 40
        for n in range(total):
            share = 0.98 * n / total
            id_ = self.store.new_id("workspace")
            # The first four have one currency each, so that small accounts have all of them.
            currency = CURRENCIES[n] if n < len(CURRENCIES) else self.currency()
            client = self.pick(_CLIENTS)
            title = f"{client}: {self.pick(_WORK)} {n + 1}"
            at = stamp(self.moment(share))
            workspace = workspace_record(id_, title, currency, at, self.store.account_id)
            self.finish_workspace(workspace, share, currency)
            self.store.workspaces[id_] = workspace
            self.store.optional_fields[id_] = optional_record(n, self.group_of(client, n))
            self.stories_of.append([self.add_story(id_, share, n) for n in range(1, 5)])

    def group_of(self, client: str, number: int) -> str | None:
        """Return the workspace group of a project's client; each ninth project has none."""
        if number % 9 == 8:
            return None
        groups = self.store.workspace_groups
        known = next((id_ for id_, group in groups.items() if group["name"] == client), None)
        id_ = known or self.store.new_id("workspace_group")
        groups.setdefault(id_, {"id": id_, "name": client, "company": True})
        return id_

    def currency(self) -> Currency:
        """Choose a currency by its share of the firm's business."""
        drawn = self.draw()
        return next(BY_CODE[code] for share, code in _CURRENCY_SHARE if drawn < share)

    def finish_workspace(self, record: Record, share: float, currency: Currency) -> None:
        """Seed a project's age, price and progress."""
        done = min(100, int((1 - share) * 400 * self.draw()))
        price = int(self.draw() * 500_000) * currency.units
        used = price * done // 100
        record["archived"] = share < 0.7 and self.draw() < 0.3
        record["percentage_complete"] = done
        record["price_in_cents"] = price
        record["price"] = f"{currency.symbol}{price // currency.units:,}"
        record["budget_used_in_cents"] = used
        record["budget_used"] = f"{currency.symbol}{used // currency.units:,}"
        record["budget_remaining"] = f"{currency.symbol}{(price - used) // currency.units:,}"
        record["status"] = STATUS[2] if done == 100 else self.pick(STATUS)

    def add_story(self, workspace_id: str, share: float, position: int) -> str:
        """Seed a task of a project; a few are archived or deleted."""
        id_ = self.store.new_id("story")
        at = stamp(self.moment(share) + 60 * position)
        story = story_record(id_, workspace_id, f"{self.pick(_PHASES)} {position}", at)
        story["position"] = position
        if self.draw() < 0.4:
            story |= {"state": "completed", "status": "completed", "percentage_complete": 100}
        story["archived"] = self.draw() < 0.05
        if self.draw() < 0.02:
            story["deleted_at"] = at
        self.store.stories[id_] = story
        return id_

    def add_milestones(self) -> None:
        """Seed all milestones in order of creation, some in the same second as the last."""
        # Ids pass from six digits to seven (or from seven to eight) on the way, so that sorting
        # them as texts goes wrong; they have gaps, as if others had been deleted.
        number = (10**7 if self.count > 400_000 else 10**6) - self.count
        workspaces = list(self.store.workspaces.values())
        draw, milestones = self.draw, self.store.true_milestones
        born: list[tuple[str, int]] = []
        moment, place, step = self.begin, 0, (self.now - self.begin) / (self.count + 1)
        for n in range(self.count):
            number += 1 + int(draw() * 3)
            if n == 0 or draw() > 0.25:
                moment = self.begin + int(step * (n + draw()))
                # Young projects of that time; the few first ones serve everybody.
                place = int(len(workspaces) * (n + 1) / (self.count + 1) * (1 - draw() ** 4 / 2))
            record = self.milestone(str(number), workspaces[place], place, moment)
            milestones[record["id"]] = record
            born.append((record["id"], moment))
        self.store.reserve_ids("milestone", number)
        self.store.creation_order = CreationOrder(born)

    def milestone(self, id_: str, workspace: Record, place: int, moment: int) -> Record:
        """Seed one milestone, perhaps with a date, a task and an invoice."""
        draw = self.draw
        created = stamp(moment)
        updated = created
        if draw() < 0.5:
            updated = stamp(moment + int(draw() ** 3 * (self.now - moment)))
        due = moment // _DAY + 5 + int(draw() * 200)
        on_completion = draw() < 0.2
        code = workspace["currency"]
        record = {
            "id": id_,
            "title": _TITLES[int(draw() * len(_TITLES))],
            "amount_in_cents": self.amount(BY_CODE[code].units),
            "currency": code,
            "billing_type": "upon_completion" if on_completion else "fixed_date",
            "date_to_invoice": None if draw() < (0.3 if on_completion else 0.03) else day_text(due),
            "workspace_id": workspace["id"],
            "story_id": self.pick(self.stories_of[place]) if on_completion else None,
            "invoice_id": None,
            "created_at": created,
            "updated_at": updated,
        }
        if due * _DAY < self.now and draw() < 0.75:
            self.bill(record, due)
        return record

    def amount(self, units: int) -> int:
        """Choose an amount in minor units: mostly round, some odd ones, credits and a few zeros."""
        drawn = self.draw()
        if drawn < 0.01:
            return 0
        if drawn < 0.05:
            return -int(self.draw() * 5_000 * units) - 1
        if drawn < 0.25:
            return int(self.draw() * 80_000 * units) + 1
        return (1 + int(self.draw() * 160)) * 500 * units

    def bill(self, record: Record, due: int) -> None:
        """Seed a milestone's link to its project's open invoice or to a new one."""
        workspace_id, store = record["workspace_id"], self.store
        invoice_id = self.open_invoice.get(workspace_id)
        if (
            invoice_id is None
            or store.invoices[invoice_id]["created_at"] < record["created_at"]
            or self.draw() < 0.5
        ):
            invoice_id = self.add_invoice(record, due)
            self.open_invoice[workspace_id] = invoice_id
        invoice = store.invoices[invoice_id]
        store.milestones_of[invoice_id].append(record["id"])
        store.invoices_of[record["id"]] = [invoice_id]
        if invoice["status"] == "cancelled":
            return
        record["invoice_id"] = invoice_id
        if invoice["status"] == "new":
            invoice["balance_in_cents"] += record["amount_in_cents"]

    def add_invoice(self, record: Record, due: int) -> str:
        """Seed an invoice: paid, open, draft or cancelled."""
        id_ = self.store.new_id("invoice")
        at = stamp(min(due * _DAY + int(self.draw() * 60_000), self.now))
        invoice = invoice_record(id_, int(id_), BY_CODE[record["currency"]], at)
        invoice["due_date"] = day_text(due + 30)
        drawn = self.draw()
        if drawn < 0.06:
            invoice["draft"] = True
        elif drawn < 0.12:
            invoice["status"] = "cancelled"
        elif drawn < 0.75:
            invoice["status"] = "accepted payment"
        self.store.invoices[id_] = invoice
        return id_

    def add_references(self) -> None:
        """Seed references of about every eighth milestone to another system, of some to two."""
        last = 1_000
        for id_, milestone in self.store.true_milestones.items():
            drawn = self.draw()
            if drawn >= 0.125:
                continue
            for service, model in _SERVICES[: 2 if drawn < 0.01 else 1]:
                last += 1
                self.add_reference(str(last), id_, milestone["updated_at"], service, model)
        self.store.reserve_ids("reference", last)

    def add_reference(self, id_: str, milestone: str, at: str, service: str, model: str) -> None:
        """Seed a reference; a few failed or are pending."""
        reference = reference_record(id_, milestone, at)
        reference |= {
            "service_name": service,
            "service_model": model,
            "service_model_ref": f"{service[:2].upper()}-{milestone}",
        }
        drawn = self.draw()
        if drawn < 0.1:
            reference |= {"status": "failed" if drawn < 0.05 else "pending"}
        self.store.external_references[id_] = reference
        self.store.references_of[milestone].append(id_)

    def add_recent_events(self) -> None:
        """Seed the events of milestones created or edited in the last nine days."""
        horizon = stamp(self.now - 10 * _DAY)[:10]
        events: list[_Event] = []
        for milestone in self.store.true_milestones.values():
            if milestone["updated_at"] < horizon:
                continue
            if milestone["created_at"] >= horizon:
                moment = instant(milestone["created_at"])
                events.append(_Event(moment, "created", milestone))
            if milestone["updated_at"] != milestone["created_at"]:
                moment = instant(milestone["updated_at"])
                events.append(_Event(moment, "updated", milestone))
        for moment, verb, milestone in sorted(events, key=lambda event: event[:2]):
            before = milestone if verb == "updated" else None
            self.store.feed.emit("BillingMilestone", verb, moment, before=before, after=milestone)
