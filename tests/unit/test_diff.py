"""Only new and changed records are loaded: records are compared with the warehouse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from sources.kantata.api.envelope import Page, Record
from sources.kantata.report import Report
from sources.kantata.schema import BILLING_MILESTONES, WORKSPACES
from sources.kantata.transform.fingerprint import OF_A_ROW, digest, row_hash, with_kept
from sources.kantata.transform.milestone_diff import MilestoneDiff
from sources.kantata.transform.milestone_index import ACCESS_LOST, DELETED, MilestoneIndex
from sources.kantata.transform.records import ObservedRecord
from sources.kantata.transform.rejects import Rejects
from sources.kantata.transform.rows import Batch, RowBuilder
from sources.kantata.transform.side_diff import SideTableDiff
from sources.kantata.warehouse_state import EmptyState

NOW = datetime(2027, 1, 2, tzinfo=UTC)
BEFORE, LATER = NOW - timedelta(hours=1), NOW + timedelta(seconds=1)
OLD = {
    "id": "7",
    "title": "Kick-off",
    "amount_in_cents": 50_000,
    "currency": "USD",
    "workspace_id": "3",
    "invoice_ids": [],
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}
NEW = OLD | {"amount_in_cents": 60_000}
BAD = OLD | {"amount_in_cents": "12.50"}
UNTITLED = {name: value for name, value in OLD.items() if name != "title"}
UNPRICED = {name: value for name, value in OLD.items() if name != "amount_in_cents"}


@dataclass
class Warehouse(EmptyState):
    """A warehouse that holds these rows."""

    rows: Mapping[str, Record] = field(default_factory=dict)

    def last_values(
        self, table: str, key: str, ids: Sequence[str], columns: Sequence[str]
    ) -> pa.Table:
        """The rows of these ids: the key, then the columns."""
        rows = [self.rows[id_] for id_ in ids if id_ in self.rows]
        return pa.table({name: [row.get(name) for row in rows] for name in (key, *columns)})


@dataclass(frozen=True)
class Held:
    """Milestone 7 as the warehouse holds it.

    Args:
        row: The content of its row.
        version: The content of its last version; None if equal to the row.
        number: The number of its last version.
        links: Its invoices.
    """

    row: str | None
    version: str | None = None
    number: int = 1
    links: str = ""

    def batch(self) -> pa.RecordBatch:
        """The batch that a run reads from the warehouse."""
        row = {"id": "7", "row_hash": self.row, "version": self.number, "links": self.links}
        return pa.RecordBatch.from_pylist(
            [row | {"version_hash": self.row if self.version is None else self.version}]
        )


def held(record: Record, version: Record | str | None = None, **parts: Any) -> Held:  # noqa: ANN401 - fields of Held
    """A warehouse that holds this record, and this last version."""
    text = row_hash(digest(version)) if isinstance(version, dict) else version
    return Held(row_hash(digest(record)), text, **parts)


def page(record: Record, at: datetime = NOW) -> Page:
    """A page with one milestone."""
    return Page({record["id"]: record}, {}, count=1, number=1, pages=1, size=1, observed_at=at)


def read(record: Record) -> ObservedRecord:
    """A record as it was read."""
    return ObservedRecord("7", record, digest(record), NOW)


def stored(record: Record) -> dict[str, Any]:
    """The row of a record."""
    table = RowBuilder(BILLING_MILESTONES, {}).build([read(record)]).table
    assert table is not None
    (row,) = table.to_pylist()
    return row


class Comparison:
    """A comparison of milestones with the warehouse, and its results."""

    def __init__(self, known: Held | None, rejects: Sequence[dict[str, Any]] = ()) -> None:
        lookup = Warehouse({"7": stored(OLD)} if known else {}).last_values
        self.index = MilestoneIndex([known.batch()] if known else [])
        self.report = Report()
        self.rejects = Rejects(rejects)
        self.rows = RowBuilder(BILLING_MILESTONES, {}, lookup)
        self.milestones = MilestoneDiff(self.index, self.rows, self.rejects, self.report)

    def take(self, *pages: Page) -> dict[str, list[dict[str, Any]]]:
        """The rows to load of these pages, by table."""
        batches = [batch for page in pages for batch in self.milestones.compare(page)]
        return loaded([*batches, *self.milestones.flush(), *self.rejects.flush()])

    def mark(self, state: bytes, raws: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The rows to load when milestone 7 is deleted or access to it is lost."""
        diff = self.milestones
        mark = diff.mark_deleted if state == DELETED else diff.mark_access_lost
        return loaded([*mark(["7"], NOW, raws or {}), *self.rejects.flush()])

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the report, without zeros."""
        names = ("added", "changed", "deleted", "restored", "access_lost")
        return {name: n for name in names if (n := getattr(self.report, name))}


def loaded(batches: Sequence[Batch] | Iterator[Batch]) -> dict[str, list[dict[str, Any]]]:
    """Rows by table."""
    found: dict[str, list[dict[str, Any]]] = {}
    for table, rows in batches:
        found.setdefault(table, []).extend(rows.to_pylist())
    return found


@dataclass(frozen=True)
class Outcome:
    """The expected rows of milestone 7.

    Args:
        amounts: Those in the rows of ``billing_milestones``.
        versions: Number and type of change of new versions.
        links: Invoices that were added, and with a minus those that were removed.
        counts: Those in the report.
        rejected: Reasons of new rejects; an empty reason means that a reject is resolved.
        total: The sum of the good records; None if the milestone does not count.
    """

    amounts: tuple[int, ...] = ()
    versions: tuple[tuple[int, str], ...] = ()
    links: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()
    total: int | None = 50_000


ADDED = {"added": 1}
CHANGED = {"changed": 1}
REJECTED = {
    "table_name": "billing_milestones", "id": "7", "row_hash": row_hash(digest(BAD)),
    "reason": "amount_in_cents", "raw": "{}", "observed_at": BEFORE, "resolved_at": None,
}  # fmt: skip
CASES = {
    "a new milestone is added": (
        None, [OLD], Outcome((50_000,), ((1, "created"),), counts=ADDED),
    ),
    "a new milestone is added with its invoices": (
        None, [OLD | {"invoice_ids": ["51", "50"]}],
        Outcome((50_000,), ((1, "created"),), ("50", "51"), ADDED),
    ),
    "a milestone as it is held loads nothing": (held(OLD), [OLD], Outcome()),
    "a field that is null everywhere loads nothing": (
        held(OLD), [OLD | {"colour": None}], Outcome(),
    ),
    "a changed milestone gets a version": (
        held(OLD, number=4), [NEW],
        Outcome((60_000,), ((5, "updated"),), counts=CHANGED, total=60_000),
    ),
    "a milestone that changes and changes back while it is read has both versions": (
        held(OLD), [NEW, OLD],
        Outcome((60_000, 50_000), ((2, "updated"), (3, "updated")), counts={"changed": 2}),
    ),
    "a milestone that is read twice is loaded once": (
        held(OLD), [NEW, NEW], Outcome((60_000,), ((2, "updated"),), counts=CHANGED, total=60_000),
    ),
    "a new milestone that changes while it is read is added once": (
        None, [OLD, NEW],
        Outcome((50_000, 60_000), ((1, "created"), (2, "updated")), counts=ADDED | CHANGED,
                total=60_000),
    ),
    "an amount as text is counted as a number": (
        held(OLD), [OLD | {"amount_in_cents": "60000"}],
        Outcome((60_000,), ((2, "updated"),), counts=CHANGED, total=60_000),
    ),
    # links
    "the order of invoices does not matter": (
        held(OLD | {"invoice_ids": ["50", "51"]}, links="51,50"),
        [OLD | {"invoice_ids": ["51", "50"]}], Outcome(),
    ),
    "an invoice that came is linked": (
        held(OLD, links=""), [OLD | {"invoice_ids": ["50"]}],
        Outcome((50_000,), ((2, "updated"),), ("50",), CHANGED),
    ),
    "an invoice that came is linked once though the milestone changes again": (
        held(OLD), [OLD | {"invoice_ids": ["50"]}, NEW | {"invoice_ids": ["50"]}],
        Outcome((50_000, 60_000), ((2, "updated"), (3, "updated")), ("50",), {"changed": 2},
                total=60_000),
    ),
    "an invoice that went is unlinked": (
        held(OLD | {"invoice_ids": ["50"]}, links="50"), [OLD],
        Outcome((50_000,), ((2, "updated"),), ("-50",), CHANGED),
    ),
    "an invoice that was swapped is both": (
        held(OLD | {"invoice_ids": ["50"]}, links="50"), [OLD | {"invoice_ids": ["51"]}],
        Outcome((50_000,), ((2, "updated"),), ("51", "-50"), CHANGED),
    ),
    "null unlinks": (
        held(OLD | {"invoice_ids": ["50"]}, links="50"), [OLD | {"invoice_ids": None}],
        Outcome((50_000,), ((2, "updated"),), ("-50",), CHANGED),
    ),
    "links that a crash prevented are repaired without a version": (
        held(OLD | {"invoice_ids": ["50"]}, links=""), [OLD | {"invoice_ids": ["50"]}],
        Outcome(links=("50",)),
    ),
    # crashes between tables
    "a version that a crash prevented is repaired without a row": (
        held(NEW, version=OLD), [NEW], Outcome(versions=((2, "updated"),), total=60_000),
    ),
    "a first version that a crash prevented is repaired": (
        held(OLD, version="", number=0), [OLD], Outcome(versions=((1, "created"),)),
    ),
    "a row that a crash prevented is loaded without a version": (
        held(OLD, version=NEW), [NEW], Outcome((60_000,), counts=CHANGED, total=60_000),
    ),
    # rejects
    "a record that cannot be typed is rejected": (
        held(OLD), [BAD], Outcome(rejected=("amount_in_cents",), total=None),
    ),
    "a record without an amount is rejected": (
        held(OLD), [UNPRICED], Outcome(rejected=("amount_in_cents",), total=None),
    ),
    "a record that is rejected twice is one reject": (
        held(OLD), [BAD, BAD], Outcome(rejected=("amount_in_cents",), total=None),
    ),
    "a record that was counted as good and is rejected does not count": (
        held(OLD), [OLD, BAD], Outcome(rejected=("amount_in_cents",), total=None),
    ),
    "a record that is rejected after a good read keeps that": (
        held(OLD), [NEW, BAD],
        Outcome((60_000,), ((2, "updated"),), counts=CHANGED, rejected=("amount_in_cents",),
                total=None),
    ),
    "a record that is good after it was rejected is resolved": (
        held(OLD), [BAD, NEW],
        Outcome((60_000,), ((2, "updated"),), counts=CHANGED, total=60_000),
    ),
    # deleted or lost, and restored
    "a deleted milestone that is back is restored": (
        Held("deleted", number=2), [OLD],
        Outcome((50_000,), ((3, "restored"),), counts={"restored": 1}),
    ),
    "a milestone that is readable again has no version, since it did not change": (
        Held("lost", row_hash(digest(OLD))), [OLD],
        Outcome((50_000,), counts={"restored": 1}),
    ),
    "a milestone that is readable again and changed has a version": (
        Held("lost", row_hash(digest(OLD))), [NEW],
        Outcome((60_000,), ((2, "updated"),), counts={"restored": 1}, total=60_000),
    ),
    # absent fields
    "an absent field keeps its last value, and is a change once": (
        held(OLD), [UNTITLED], Outcome((50_000,), ((2, "updated"),), counts=CHANGED),
    ),
    "an absent list of invoices keeps the links": (
        held(OLD | {"invoice_ids": ["50"]}, links="50"),
        [{name: value for name, value in NEW.items() if name != "invoice_ids"}],
        Outcome((60_000,), ((2, "updated"),), counts=CHANGED, total=60_000),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("known", "records", "wanted"), CASES.values(), ids=CASES)
def test_milestones(known: Held | None, records: list[Record], wanted: Outcome) -> None:
    """Rows, versions, links, rejects, counts and totals are as expected after successive reads."""
    compared = Comparison(known)
    pages = [page(record, NOW + timedelta(seconds=n)) for n, record in enumerate(records)]
    found = compared.take(*pages)
    assert outcome(compared, found) == wanted_of(wanted)


def outcome(compared: Comparison, found: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The result of a comparison, in the shape of ``wanted_of``."""
    rejects = found.get("rejected_records", [])
    links = found.get("billing_milestone_invoices", [])
    count, total = compared.index.totals().get("USD", (0, None))
    return {
        "amounts": [row["amount_in_cents"] for row in found.get("billing_milestones", [])],
        "versions": [
            (row["version"], row["change_type"])
            for row in found.get("billing_milestone_versions", [])
        ],
        "links": [("-" if row["removed_at"] else "") + row["invoice_id"] for row in links],
        "counts": compared.counts,
        "rejected": [
            "" if row["resolved_at"] else row["reason"].split(":")[0].split()[0] for row in rejects
        ],
        "total": total if count else None,
    }


def wanted_of(wanted: Outcome) -> dict[str, Any]:
    """The expected result, in the same shape."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(wanted).items()
    }


def test_late_page_is_ignored() -> None:
    """A page that was read earlier but arrives later changes nothing."""
    compared = Comparison(held(OLD))
    rows = compared.take(page(NEW, LATER), page(OLD, NOW))["billing_milestones"]
    assert [row["amount_in_cents"] for row in rows] == [60_000]
    assert compared.index.totals() == {"USD": (1, 60_000)}


def test_pages_of_the_same_moment_count_in_order() -> None:
    """Of two pages with the same time, the second is not late."""
    compared = Comparison(held(OLD))
    assert len(compared.take(page(NEW), page(OLD))["billing_milestones"]) == 2


def test_second_run_on_what_the_first_loaded_loads_nothing() -> None:
    """The hash of a row identifies it, even if a kept value filled an absent field."""
    first = Comparison(held(OLD)).take(page(UNTITLED))["billing_milestones"][0]
    assert first["title"] == "Kick-off"
    assert first["row_hash"] == row_hash(with_kept(digest(UNTITLED), ["title"]))
    second = Comparison(Held(first["row_hash"]))
    assert second.take(page(UNTITLED)) == {}
    assert second.counts == {}


def test_null_after_an_absence_is_null() -> None:
    """The two records have the same hash, since it omits nulls, but different rows."""
    compared = Comparison(held(OLD))
    compared.take(page(UNTITLED))
    (row,) = compared.take(page(OLD | {"title": None}, LATER))["billing_milestones"]
    assert row["title"] is None
    assert row["row_hash"] == row_hash(digest(UNTITLED))


def test_good_record_after_a_rejected_one_is_compared_with_its_row() -> None:
    """A reject leaves the row unchanged, so only the reject's own row is loaded."""
    compared = Comparison(held(OLD))
    assert list(compared.take(page(BAD))) == ["rejected_records"]
    assert list(compared.take(page(OLD, LATER))) == ["rejected_records"]
    assert compared.rejects.open() == []


def test_version_has_the_record_and_the_values_of_its_row() -> None:
    """A version has the record as received, and the values that figures are based on."""
    (version,) = Comparison(held(OLD)).take(page(UNTITLED | {"amount_in_cents": 1}))[
        "billing_milestone_versions"
    ]
    assert '"amount_in_cents":1' in version["raw"]
    assert "title" not in version["raw"]
    assert (version["title"], version["amount_in_cents"]) == ("Kick-off", 1)
    assert version["observed_at"] == NOW


def test_required_field_that_is_absent_is_counted_by_milestone() -> None:
    """Each milestone that lacks the field is counted; if all lack it, the run stops."""
    compared = Comparison(held(OLD))
    compared.take(page(UNPRICED))
    assert compared.milestones.absent_fields == {"amount_in_cents": {"7"}}
    assert Comparison(held(OLD)).milestones.absent_fields == {}
    nulled = Comparison(held(OLD))
    nulled.take(page(OLD | {"amount_in_cents": None}))
    assert nulled.milestones.absent_fields == {}


def test_unlinked_invoice_is_read_again() -> None:
    """An unlinked invoice may have changed without an event, so it is read again."""
    compared = Comparison(held(OLD | {"invoice_ids": ["50", "51"]}, links="50,51"))
    compared.take(page(OLD | {"invoice_ids": ["51", "52"]}))
    assert compared.milestones.unlinked_invoices == {"50"}


OPEN = {
    "a good record resolves its reject": (OLD, [True], []),
    "a good record that changed resolves its reject": (NEW, [True], []),
    "the same bad record is not rejected again": (BAD, [], ["7"]),
    "another bad record replaces it": (BAD | {"title": 1}, [True, False], ["7"]),
}


@pytest.mark.parametrize(("record", "resolved", "open_"), OPEN.values(), ids=OPEN)
def test_rejects_of_earlier_runs(record: Record, resolved: list[bool], open_: list[str]) -> None:
    """A reject is loaded once for each content, and again when it is resolved."""
    compared = Comparison(held(OLD), [REJECTED])
    rows = compared.take(page(record)).get("rejected_records", [])
    assert [row["resolved_at"] is not None for row in rows] == resolved
    assert [id_ for _, id_, _ in compared.rejects.open()] == open_


TABLES = (BILLING_MILESTONES.name, WORKSPACES.name)
RAW = {"7": '{"id":"7"}'}
MARKED = {
    "a deleted milestone is marked, and has a version": (
        held(OLD), DELETED, ["deleted_at"], [(2, "deleted")], {"deleted": 1},
    ),
    "a milestone that is deleted before any version was loaded is not created": (
        held(OLD, version="", number=0), DELETED, ["deleted_at"], [(1, "deleted")], {"deleted": 1},
    ),
    "a milestone that is deleted already is left alone": (
        Held("deleted"), DELETED, [], [], {},
    ),
    "a deletion whose version a crash prevented gets it": (
        Held("deleted", row_hash(digest(OLD))), DELETED, [], [(2, "deleted")], {},
    ),
    "a milestone without access is marked, and has no version": (
        held(OLD), ACCESS_LOST, ["access_lost_at"], [], {"access_lost": 1},
    ),
    "a milestone without access already is left alone": (
        Held("lost", row_hash(digest(OLD))), ACCESS_LOST, [], [], {},
    ),
    "a milestone without access whose last version a crash prevented gets that": (
        held(NEW, version=OLD), ACCESS_LOST, ["access_lost_at"], [(2, "updated")],
        {"access_lost": 1},
    ),
    "a milestone without access that is deleted is marked": (
        Held("lost", row_hash(digest(OLD))), DELETED, ["deleted_at"], [(2, "deleted")],
        {"deleted": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("known", "state", "marks", "versions", "counts"), MARKED.values(), ids=MARKED
)
def test_deleted_or_lost_milestone(
    known: Held,
    state: bytes,
    marks: list[str],
    versions: list[tuple[int, str]],
    counts: dict[str, int],
) -> None:
    """The last values stay, the time is stored, and a deletion makes a version."""
    compared = Comparison(known)
    found = compared.mark(state, RAW)
    rows = found.get("billing_milestones", [])
    noted = [n for row in rows for n in ("deleted_at", "access_lost_at") if row[n] == NOW]
    assert noted == marks
    assert [row["amount_in_cents"] for row in rows] == [50_000] * len(marks)
    made = found.get("billing_milestone_versions", [])
    assert [(row["version"], row["change_type"]) for row in made] == versions
    assert all((row["row_hash"] is None) == (state == DELETED) for row in made)
    assert compared.counts == counts
    assert compared.index.digest(compared.index.position("7")) == state
    assert compared.take() == {}


GONE = {
    "a deletion": (held(OLD), DELETED),
    "a deletion that is marked already": (Held("deleted"), DELETED),
    "lost access": (held(OLD), ACCESS_LOST),
    "lost access that is marked already": (Held("lost", row_hash(digest(OLD))), ACCESS_LOST),
}


@pytest.mark.parametrize(("known", "state"), GONE.values(), ids=GONE)
def test_a_milestone_that_is_gone_has_no_reject(known: Held, state: bytes) -> None:
    """The reject is resolved, since the record cannot improve."""
    rows = Comparison(known, [REJECTED]).mark(state)["rejected_records"]
    assert [row["resolved_at"] for row in rows] == [NOW]


LAST_RECORDS = {
    "the last one that was received": (held(OLD), RAW, RAW["7"]),
    "one made of the row, if none is known": (held(OLD), {}, '"title":"Kick-off"'),
    "one made of the row, if a crash prevented the version of the last one": (
        held(NEW, version=OLD), RAW, '"title":"Kick-off"',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("known", "raws", "text"), LAST_RECORDS.values(), ids=LAST_RECORDS)
def test_the_version_of_a_deletion_has_a_record(
    known: Held, raws: dict[str, str], text: str
) -> None:
    """It is the last record that the warehouse has of the milestone."""
    (version,) = Comparison(known).mark(DELETED, raws)["billing_milestone_versions"]
    assert text in version["raw"]


def test_a_new_milestone_after_one_with_an_absent_field() -> None:
    """What was kept of one milestone does not concern another one, which has no row yet."""
    compared = Comparison(held(OLD))
    compared.take(page(UNTITLED))
    rows = compared.take(page(OLD | {"id": "8"}, LATER))["billing_milestones"]
    assert [row["id"] for row in rows] == ["8"]


def test_a_field_that_is_there_again_is_reported() -> None:
    """Every record counts, also one that is as it is held."""
    lines = [f"{table}.title is missing; its last values stay" for table in TABLES]
    milestones = RowBuilder(BILLING_MILESTONES, {}, reported=lines)
    index = MilestoneIndex([held(OLD).batch()])
    assert not [*MilestoneDiff(index, milestones, Rejects([]), Report()).compare(page(OLD))]
    side = SideTableDiff(
        RowBuilder(WORKSPACES, {}, reported=lines), {"3": digest(PROJECT)}, Rejects([]), set()
    )
    assert not [*side.compare({"3": PROJECT}, NOW)]
    for rows in (milestones, side.rows):
        back = [*rows.drift.lines(with_new=False, is_scan=True)]
        assert back == [f"{rows.table.name}.title is there again"]


MISSING = {
    "a row with its version needs no other": (held(OLD), []),
    "a row whose version a crash prevented gets it": (held(NEW, version=OLD), [(2, "updated")]),
    "a row without any version gets a first one": (
        held(OLD, version="", number=0), [(1, "created")],
    ),
    "a version made from the same row is not made again": (
        held(OLD, version=OF_A_ROW + row_hash(digest(OLD)), number=2), [],
    ),
    "a deleted row gets no version": (Held("deleted", row_hash(digest(OLD))), []),
}  # fmt: skip


@pytest.mark.parametrize(("known", "versions"), MISSING.values(), ids=MISSING)
def test_missing_versions_are_made_from_rows(known: Held, versions: list[tuple[int, str]]) -> None:
    """A missing version is made from its row, and its hash shows that."""
    found = loaded(Comparison(known).milestones.missing_versions(NOW)).get(
        "billing_milestone_versions", []
    )
    assert [(row["version"], row["change_type"]) for row in found] == versions
    assert all(row["row_hash"].startswith(OF_A_ROW) for row in found)
    assert all(row["amount_in_cents"] == 50_000 for row in found)


PROJECT = {"id": "3", "title": "Website", "currency": "USD"}
RENAMED, BAD_PROJECT = PROJECT | {"title": "Shop"}, PROJECT | {"title": 7}


def side_table(
    known: Mapping[str, Record], rejects: Sequence[dict[str, Any]] = ()
) -> SideTableDiff:
    """A side table that compares projects with these."""
    digests = {id_: digest(record) for id_, record in known.items()}
    lookup = Warehouse(known).last_values
    return SideTableDiff(RowBuilder(WORKSPACES, {}, lookup), digests, Rejects(rejects), set())


SIDE = {
    "a new project is loaded": ({}, [PROJECT], ["Website"]),
    "a project as it is held is not": ({"3": PROJECT}, [PROJECT], []),
    "a changed project is loaded": ({"3": PROJECT}, [RENAMED], ["Shop"]),
    "a project that pages show twice is loaded once": (
        {"3": PROJECT}, [RENAMED, RENAMED], ["Shop"],
    ),
    "a project that changes back has both rows": (
        {"3": PROJECT}, [RENAMED, PROJECT], ["Shop", "Website"],
    ),
    "a project that cannot be typed is not loaded": ({"3": PROJECT}, [BAD_PROJECT], []),
    "a project that is good again is not loaded if it is held": (
        {"3": PROJECT}, [BAD_PROJECT, PROJECT], [],
    ),
    "an absent title stays": (
        {"3": PROJECT}, [{"id": "3", "currency": "EUR"}], ["Website"],
    ),
    "a null title is null": ({"3": PROJECT}, [PROJECT | {"title": None}], [None]),
}  # fmt: skip


@pytest.mark.parametrize(("known", "records", "titles"), SIDE.values(), ids=SIDE)
def test_side_loaded_records(
    known: dict[str, Record], records: list[Record], titles: list[str | None]
) -> None:
    """Side-loaded records are compared with their own table."""
    side = side_table(known)
    batches = [
        batch
        for n, record in enumerate(records)
        for batch in side.compare({"3": record}, NOW + timedelta(seconds=n))
    ]
    found = loaded([*batches, *side.flush()]).get("workspaces", [])
    assert [row["title"] for row in found] == titles
    assert side.changed == len(titles)


def test_earlier_read_of_a_side_loaded_record_is_ignored() -> None:
    """Pages arrive in any order; the latest read counts."""
    side = side_table({})
    assert not [*side.compare({"3": RENAMED}, LATER), *side.compare({"3": PROJECT}, NOW)]
    assert [row["title"] for row in loaded(side.flush())["workspaces"]] == ["Shop"]


def test_read_by_id_stores_its_time() -> None:
    """A record that was fetched by id stores the time of that read, even if it is unchanged."""
    side = side_table({"3": PROJECT})
    assert not [*side.compare({"3": PROJECT}, NOW, load_unchanged=True)]
    assert [row["observed_at"] for row in loaded(side.flush())["workspaces"]] == [NOW]


def test_deleted_side_loaded_record_keeps_its_values() -> None:
    """Only the given fields change; a record without a row gets none."""
    side = side_table({"3": PROJECT})
    (row,) = loaded(side.mark_gone(["3", "4"], NOW, title="deleted"))["workspaces"]
    assert (row["title"], row["currency"], row["observed_at"]) == ("deleted", "USD", NOW)
    assert row["row_hash"] == row_hash(DELETED)
    assert side.changed == 1
    assert [*side.compare({"3": PROJECT}, LATER)] == []
    assert [row["title"] for row in loaded(side.flush())["workspaces"]] == ["Website"]


def test_side_loaded_record_that_is_bad_again_stays_rejected() -> None:
    """The same bad content again does not resolve the reject."""
    rejects = Rejects([])
    side = SideTableDiff(RowBuilder(WORKSPACES, {}), {"3": digest(PROJECT)}, rejects, set())
    for at in (NOW, LATER):
        assert not [*side.compare({"3": BAD_PROJECT}, at), *side.flush()]
    assert [id_ for _, id_, _ in rejects.open()] == ["3"]


REJECTED_PROJECT = REJECTED | {
    "table_name": "workspaces", "id": "3", "row_hash": row_hash(digest(BAD_PROJECT)),
}  # fmt: skip
SIDE_REJECTS = {
    "a good record resolves its reject": ([[PROJECT]], [True], []),
    "a good record that changed resolves its reject": ([[RENAMED]], [True], []),
    "the same bad record is not rejected again, though two pages show it": (
        [[BAD_PROJECT, BAD_PROJECT]], [], ["3"],
    ),
    "a record that was bad in an earlier batch, and is as it is held, resolves its reject": (
        [[BAD_PROJECT], [PROJECT]], [True], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("batches", "resolved", "open_"), SIDE_REJECTS.values(), ids=SIDE_REJECTS)
def test_rejects_of_side_loaded_records(
    batches: list[list[Record]], resolved: list[bool], open_: list[str]
) -> None:
    """A reject is loaded once for each content, and again when it is resolved."""
    rejects = Rejects([REJECTED_PROJECT])
    side = SideTableDiff(RowBuilder(WORKSPACES, {}), {"3": digest(PROJECT)}, rejects, set())
    for records in batches:
        for record in records:
            assert not [*side.compare({"3": record}, NOW)]
        loaded(side.flush())
        assert [*side.flush()] == []  # a batch is loaded once
    rows = loaded(rejects.flush()).get("rejected_records", [])
    assert [row["resolved_at"] is not None for row in rows] == resolved
    assert [id_ for _, id_, _ in rejects.open()] == open_


def test_side_loaded_record_that_is_gone_has_no_reject() -> None:
    """The reject is resolved, since the record cannot improve."""
    rejects = Rejects([REJECTED_PROJECT])
    side = SideTableDiff(RowBuilder(WORKSPACES, {}), {"3": digest(PROJECT)}, rejects, set())
    assert not [*side.mark_gone(["3"], NOW, title="deleted")]
    assert [row["resolved_at"] for row in loaded(rejects.flush())["rejected_records"]] == [NOW]


def test_a_new_side_loaded_record_after_one_with_an_absent_field() -> None:
    """What was kept of one record does not concern another one, which has no row yet."""
    side = side_table({"3": PROJECT})
    for id_, record in (("3", {"id": "3", "currency": "EUR"}), ("4", PROJECT | {"id": "4"})):
        assert not [*side.compare({id_: record}, NOW)]
        assert [row["id"] for row in loaded(side.flush())["workspaces"]] == [id_]


def test_side_loaded_record_is_good_again() -> None:
    """A page that shows the record as it is held resolves its reject."""
    reject = REJECTED | {"table_name": "workspaces", "id": "3"}
    rejects = Rejects([reject])
    side = SideTableDiff(RowBuilder(WORKSPACES, {}), {"3": digest(PROJECT)}, rejects, set())
    assert side.unseen_rejects == {"3"}
    assert not [*side.compare({"3": PROJECT}, NOW)]
    assert side.unseen_rejects == set()
    assert [row["resolved_at"] for row in loaded(rejects.flush())["rejected_records"]] == [NOW]


ABSENT = {  # record, held -> title, absent fields, kept columns
    "a field that is there counts": (NEW, {}, "Kick-off", set(), ()),
    "an absent field keeps the value held": (
        UNTITLED, {"title": "Held"}, "Held", {"title"}, ("title",),
    ),
    "a null field is null": (OLD | {"title": None}, {"title": "Held"}, None, set(), ()),
    "an absent field of which nothing is held is null": (UNTITLED, None, None, {"title"}, ()),
    "an absent field that is held as null is null": (
        UNTITLED, {"title": None}, None, {"title"}, (),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("record", "known", "title", "absent", "kept"), ABSENT.values(), ids=ABSENT
)
def test_absent_is_not_null(
    record: Record, known: Record | None, title: str | None, absent: set[str], kept: tuple[str, ...]
) -> None:
    """A field that is missing keeps its last value, and is reported."""
    # Fields that no record of these tests has are absent in all of them.
    ours = BILLING_MILESTONES.columns.keys() - OLD.keys()
    lookup = Warehouse({} if known is None else {"7": {"id": "7"} | known}).last_values
    rows = RowBuilder(BILLING_MILESTONES, {}, lookup)
    typed = rows.build([read(record)])
    assert typed.table is not None
    assert typed.table.column("title").to_pylist() == [title]
    assert rows.drift.absent - ours == absent
    assert [observed.kept for observed in typed.records] == [kept]
    assert typed.rejects == []


def test_record_under_another_id_is_rejected() -> None:
    """The envelope and the record must name the same milestone."""
    typed = RowBuilder(BILLING_MILESTONES, {}).build([read(OLD | {"id": "8"})])
    assert (typed.table, typed.records) == (None, [])
    assert [reject.reason for reject in typed.rejects] == ['id is not "7"']
