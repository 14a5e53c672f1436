"""The event feed and the reads of one batch, without a warehouse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sources.kantata.api.envelope import Page, Record
from sources.kantata.api.reader import KantataReader
from sources.kantata.extract.feed import FeedReader
from sources.kantata.report import Report
from sources.kantata.request import ExtractRequest
from sources.kantata.schema import BILLING_MILESTONES
from sources.kantata.transform.milestone_diff import MilestoneDiff
from sources.kantata.transform.milestone_index import MilestoneIndex
from sources.kantata.transform.nested_drift import nested_changes
from sources.kantata.transform.rejects import Rejects
from sources.kantata.transform.rows import RowBuilder
from sources.kantata_sandbox import Account, Fault, Sandbox


def _feed(sandbox: Sandbox, since: datetime) -> FeedReader:
    reader = KantataReader(sandbox.url, sandbox.token, backoff_seconds=0.01)
    return FeedReader(
        reader, ExtractRequest(cursor=since, scanned_at=since, has_validated_run=True)
    )


def test_every_page_of_events_is_read() -> None:
    """The feed finds the changes of events on every page."""
    with Sandbox(milestones=450) as sandbox:
        account = sandbox.account
        for id_ in account.milestones:
            account.update_milestone(id_, title="changed")
        now = datetime.fromtimestamp(account.clock.now(), UTC)
        assert _feed(sandbox, now).changes().milestones >= account.milestones.keys()


def test_invoice_that_moves_to_the_end_is_read() -> None:
    """An invoice that moves to the last page after that page was read is still found."""
    with Sandbox(milestones=1_500) as sandbox:
        account = sandbox.account
        invoices = list(account.invoices)[:650]
        for number, id_ in enumerate(invoices):
            account.update_invoice(id_, title=str(number))
        now = datetime.fromtimestamp(account.clock.now(), UTC)
        account.advance(60)
        second = sorted(invoices, key=int)[300]  # on the second page of four

        def move(account: Account) -> None:
            account.update_invoice(second, title="moved")

        sandbox.misbehave(Fault("change", path="invoices$", action=move, skip=2, times=1))
        assert _feed(sandbox, now).changes().invoices >= set(invoices)


def test_time_is_that_of_the_first_answer() -> None:
    """The reader keeps the server time of its first answer, from before everything it reads."""
    with Sandbox(milestones=5) as sandbox:
        reader = KantataReader(sandbox.url, sandbox.token)
        reader.page("billing_milestones", {})
        first = reader.server_time
        sandbox.account.advance(3_600)
        reader.page("billing_milestones", {})
        assert first is not None
        assert reader.server_time == first


def test_older_read_is_refused() -> None:
    """Of two reads of a milestone the later one counts, in any order of arrival."""
    index = MilestoneIndex([])
    position = index.position("1")
    assert [index.note_read(position, tick) for tick in (10, 5, 10, 11)] == [
        True,
        False,
        True,
        True,
    ]


def _record(amount: object) -> Record:
    return {
        "id": "1", "amount_in_cents": amount, "currency": "USD", "workspace_id": "2",
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def _batch(*amounts: object) -> tuple[list[object], list[str], Report]:
    """Read one milestone several times in a batch; return its versions, rejects and report."""
    rejects, report = Rejects([]), Report()
    index = MilestoneIndex([])
    milestones = MilestoneDiff(index, RowBuilder(BILLING_MILESTONES, {}), rejects, report)
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    for amount in amounts:
        moment += timedelta(seconds=1)
        page = Page({"1": _record(amount)}, {}, 1, 1, 1, 200, moment)
        assert list(milestones.compare(page)) == []
    loaded = dict(milestones.flush())
    versions = loaded.get("billing_milestone_versions")
    version_rows = [] if versions is None else [row["row_hash"] for row in versions.to_pylist()]
    report.totals = index.totals()
    return version_rows, [reason for _, _, reason in rejects.open()], report


def test_reads_of_a_batch_count_in_their_order() -> None:
    """Each valid read is a version; the last read alone decides whether a reject is open."""
    for amounts, versions, open_ in (
        (("1.5", "2.5", "1.5", 7), 1, 0),
        (("1.5", 7, "1.5"), 1, 1),
        ((7, "1.5", 8, "1.5", 8), 2, 0),
        (("1.5", "2.5", "1.5"), 0, 1),
    ):
        version_rows, rejected, report = _batch(*amounts)
        assert (len(version_rows), len(rejected)) == (versions, open_), amounts
        assert report.totals == ({} if open_ else {"USD": (1, amounts[-1])}), amounts


def test_new_paths_within_objects() -> None:
    """New paths and types within an object are reported; nulls and known ones are not."""
    stored = ['{"a":1,"c":{"d":true}}', '{"b":null}']
    read: list[object] = [{"a": "x", "b": 2, "c": {"d": None, "e": [1]}}]
    assert list(nested_changes("data", stored, read)) == [
        "data.a was bigint, and now is text too",
        "data.c.e is new (object or list)",
    ]
