"""The account's memory: its records, their relations, and how milestones are shown."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock

from .batch_rules import BatchRules
from .blank_records import Record, currency_records, lead_records, user_record
from .clock import Clock, instant
from .creation_order import CreationOrder
from .feed import Feed

FieldRule = Callable[[Record], object]
"""Gives the value of an added field from the milestone it is added to."""

_ABSENT = object()


class Store:
    """The store: dictionaries under one lock, read directly, but changed only by the mutators.

    `version` increases with every change, so that responses can be cached until then.
    """

    def __init__(self, clock: Clock, account_id: int) -> None:
        self.lock = RLock()
        self.version = 0
        self.clock = clock
        self.account_id = account_id
        self.user = user_record(account_id)
        self.feed = Feed(account_id)
        self.workspaces: dict[str, Record] = {}
        self.optional_fields: dict[str, Record] = {}
        """What the list of projects shows only on request, by project."""
        self.workspace_groups: dict[str, Record] = {}
        self.leads = lead_records()
        """Users who lead projects."""
        self.hidden_fields: set[str] = set()
        """Optional fields of projects which the token's user may not see."""
        self.hidden_invoice_fields: set[str] = set()
        """Fields of invoices which the token's user may not see."""
        self.stories: dict[str, Record] = {}
        self.invoices: dict[str, Record] = {}
        self.external_references: dict[str, Record] = {}
        self.currencies = currency_records()
        self.exchange_tables: dict[str, Record] = {}
        self.exchange_rates: dict[str, Record] = {}
        self.exchange_access = True
        """Whether the token's user may read exchange tables."""
        self.nested_rates = True
        """Whether rates are below the path of their table, or a list of their own."""
        self.true_milestones: dict[str, Record] = {}
        """Milestones without the additions of add_field, remove_field and set_raw."""
        self.creation_order = CreationOrder()
        self.invoices_of: dict[str, list[str]] = {}
        self.milestones_of: defaultdict[str, list[str]] = defaultdict(list)
        self.references_of: defaultdict[str, list[str]] = defaultdict(list)
        self.hidden: set[str] = set()
        """Workspaces which the token's user may not see."""
        self.stale: set[str] = set()
        """Milestones that lists leave out, though each can be read by its id."""
        self.listed_at: dict[str, int] = {}
        """When lists begin to show a milestone, in seconds since 1970."""
        self.list_lag = 0
        """How many seconds later than they exist new milestones are in lists."""
        self.batch_rules = BatchRules()
        """How a batch of creates is treated."""
        self.extra_maps: dict[str, dict[str, Record]] = {}
        """Records side-loaded with every page of milestones, by their type."""
        self._last_id: dict[str, int] = defaultdict(lambda: 1_000)
        self._added: dict[str, object] = {}
        self._removed: set[str] = set()
        self._raw: dict[str, Record] = {}

    @contextmanager
    def change(self) -> Iterator[int]:
        """Hold the store's lock, yield the time in seconds since 1970, and count the change."""
        with self.lock:
            try:
                yield self.clock.now()
            finally:
                self.version += 1

    def new_id(self, kind: str) -> str:
        """Return an id of this kind that the store never used before."""
        self._last_id[kind] += 1
        return str(self._last_id[kind])

    @property
    def unlisted(self) -> frozenset[str]:
        """Milestones that lists leave out now, though each can be read by its id."""
        now = self.clock.now()
        return frozenset(self.stale | {id_ for id_, at in self.listed_at.items() if at > now})

    def reserve_ids(self, kind: str, last: int) -> None:
        """Mark ids of this kind up to `last` as used in the store."""
        self._last_id[kind] = max(self._last_id[kind], last)

    @property
    def milestones(self) -> dict[str, Record]:
        """Every milestone in the store by id as the API shows it, without arrays of `include`."""
        with self.lock:
            if not self._disguised:
                return self.true_milestones
            return {id_: self.shown(record) for id_, record in self.true_milestones.items()}

    def milestone(self, id_: str) -> Record:
        """One milestone in the store as the API shows it with all four includes."""
        with self.lock:
            arrays = {
                "invoice_ids": list(self.invoices_of.get(id_, ())),
                "external_reference_ids": list(self.references_of.get(id_, ())),
            }
            return self.shown(self.true_milestones[id_] | arrays)

    @property
    def events(self) -> list[Record]:
        """Every event ever raised in the store, oldest first, payloads included."""
        return self.feed.records

    @property
    def _disguised(self) -> bool:
        """Whether the store shows any milestone differently from what it holds."""
        return bool(self._added or self._removed or self._raw)

    def shown(self, record: Record) -> Record:
        """Return a milestone as the store shows it: with fields added, removed or overridden."""
        if not self._disguised:
            return record
        extra = {n: rule(record) if callable(rule) else rule for n, rule in self._added.items()}
        shown = record | extra | self._raw.get(record["id"], {})
        return {
            name: value
            for name, value in shown.items()
            if name not in self._removed and value is not _ABSENT
        }

    def shown_invoice(self, record: Record) -> Record:
        """Return an invoice as the store shows it: without the fields that are hidden."""
        if not self.hidden_invoice_fields:
            return record
        return {n: v for n, v in record.items() if n not in self.hidden_invoice_fields}

    def add_field(self, name: str, value: object | FieldRule) -> None:
        """Add a field to every milestone in the store: a value, or a function of the milestone."""
        with self.change():
            self._removed.discard(name)
            self._added[name] = value

    def remove_field(self, name: str) -> None:
        """Remove a field from every milestone the store shows, as if a permission were lost."""
        with self.change():
            self._added.pop(name, None)
            self._removed.add(name)

    def restore_field(self, name: str) -> None:
        """Show a field in the store as it is again, after add_field or remove_field."""
        with self.change():
            self._added.pop(name, None)
            self._removed.discard(name)

    def set_raw(self, id: str, field: str, value: object) -> None:
        """Show any JSON value in one milestone, even of a wrong type. Raises no event."""
        with self.change():
            self._raw.setdefault(self.true_milestones[id]["id"], {})[field] = value

    def leave_out(self, id: str, field: str) -> None:
        """Leave a field out of one milestone: absent is not null. Raises no event."""
        self.set_raw(id, field, _ABSENT)

    def clear_raw(self, id: str) -> None:
        """Show one milestone of the store as it is again."""
        with self.change():
            self._raw.pop(id, None)

    @staticmethod
    def created(record: Record) -> int:
        """Return when a record was created, in seconds since 1970."""
        return instant(record["created_at"])

    def sees(self, workspace_id: str | None) -> bool:
        """Return whether the token's user can see what belongs to this workspace."""
        return workspace_id not in self.hidden

    def sees_milestone(self, id_: str) -> bool:
        """Return whether the milestone exists and the token's user can see it."""
        record = self.true_milestones.get(id_)
        return record is not None and self.sees(record["workspace_id"])

    def sees_invoice(self, id_: str) -> bool:
        """Return whether the invoice exists and is not entirely of hidden workspaces."""
        if id_ not in self.invoices:
            return False
        billed = self.milestones_of.get(id_, [])
        return not self.hidden or not billed or any(map(self.sees_milestone, billed))

    def _drop_milestone(self, id_: str) -> Record:
        """Remove a milestone from the account with its references and links, without an event."""
        record = self.true_milestones.pop(id_)
        self.creation_order.discard(id_, instant(record["created_at"]))
        self._raw.pop(id_, None)
        for reference_id in self.references_of.pop(id_, []):
            del self.external_references[reference_id]
        for invoice_id in self.invoices_of.pop(id_, []):
            self.milestones_of[invoice_id].remove(id_)
        return record

    def _minor_units(self, iso_code: str) -> int | None:
        """Return how many minor units a currency of the account has; None if it has no record."""
        records = self.currencies.values()
        return next((c["subunit_to_unit"] for c in records if c["iso_code"] == iso_code), None)
