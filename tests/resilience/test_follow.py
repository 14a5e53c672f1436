# ruff: noqa: D102 - the name of a rule says what it does
"""The warehouse follows the account through random histories.

A history creates, edits, deletes, invoices and hides milestones. Events report that in time, late,
twice or never. Requests fail, runs die, and syncs run in between. MILESTONES_EXAMPLES sets the
number of histories. A small number is seeded by the commit, like samples, so that failures repeat.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pipelines.sync.pipeline import SyncResult
from sources.kantata.errors import (
    KantataIncomplete,
    KantataMisaddressed,
    KantataMoving,
    KantataUnavailable,
)
from sources.kantata.schema import VALUES
from sources.kantata_sandbox import Account, Fault, Sandbox
from tests.support.equality import assert_equal, ids_where
from tests.support.job import Job
from tests.support.kill_points import EVERY_RUN, Point, died
from tests.support.sampling import seed

FEW = 5
EXAMPLES = int(os.environ.get("MILESTONES_EXAMPLES", FEW))
MILESTONES = 45
TRIED: Counter[str] = Counter()
ACTS = [
    *("create", "edit", "edit_silently", "delete", "invoice", "cancel", "delete_draft"),
    *("restore", "rename_project", "lose_access", "regain_access", "spoil", "repair", "drift"),
    *("leave_out", "spoil_reference", "repair_reference", "delete_many", "side_load"),
]
Acts = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 10_000)), min_size=2, max_size=6)
SPOILED = [
    *[("amount_in_cents", value) for value in ("12.50", 1_000.5, None, True, 2**63)],
    *[("date_to_invoice", value) for value in ("31.12.2026", 20261231, "2026-02-30")],
    *[("created_at", "yesterday"), ("currency", None), ("updated_at", 7)],
    *[("workspace_id", {"id": 3}), ("workspace_id", [3]), ("invoice_ids", "7")],
]
DRIFTING = ["weight", "custom_data", "order", "group"]
ABSENT = ["title", "billing_type", "date_to_invoice", "story_id"]
DRIFTED = [3, 2.5, "heavy", True, {"a": [1, None]}, [1, 2], None, "12", 2**63]
FAULTS = [
    *("error", "throttle", "drop_before", "drop_after", "garbage", "html", "lose_rows"),
]
Id = st.integers(0, 10_000)
"""Picks one of the records that exist."""


class Histories(RuleBasedStateMachine):
    """One account, one warehouse, and the state that the test expects of both."""

    job: Job

    def __init__(self) -> None:
        super().__init__()
        self.home = Path.cwd()
        self.folder = Path(tempfile.mkdtemp(dir=self.home))
        os.chdir(self.folder)
        self.sandbox = Sandbox(milestones=MILESTONES, seed=3)
        self.sandbox.__enter__()
        self.account = self.sandbox.account
        self.unreported: set[str] = set()  # changed since the last scan, without an event
        self.spoiled: set[str] = set()  # shown with a value that cannot be converted
        self.odd: set[str] = set()  # shown with an extra or a missing field
        self.references: dict[str, str] = {}  # spoiled ones, with their good value
        self.things: dict[str, dict[str, object]] = {}
        self.late: dict[str, int] = {}  # reported at this second of Kantata's clock
        self.trash: list[dict[str, object]] = []
        self.delay = 0
        self.killed = False
        self.versions: dict[tuple[object, ...], tuple[object, ...]] = {}
        if self.job.url:
            self.job.empty()
        TRIED[f"histories on {self.job.name}"] += 1

    def teardown(self) -> None:
        self.sandbox.__exit__(None, None, None)
        os.chdir(self.home)
        shutil.rmtree(self.folder)

    # What happens to the account

    def happen(self, acts: list[tuple[str, int]]) -> None:
        for act, number in acts:
            getattr(self, act)(number)

    def act(self, act: str, number: int, _: Account) -> None:
        """Perform one act, as a fault of the sandbox."""
        getattr(self, act)(number)

    def pick(self, number: int, among: list[str]) -> str | None:
        """One of these, or None if there is none."""
        return among[number % len(among)] if among else None

    def changed(self, id_: str, reported: bool = True) -> None:
        """Note that a milestone changed."""
        TRIED["changes"] += 1
        if not reported:
            self.unreported.add(id_)
        elif self.delay:
            self.late[id_] = self.account.clock.now() + self.delay

    def unbilled(self) -> list[str]:
        """Milestones that are on no invoice."""
        held = self.account.true_milestones
        return [
            i for i in held if not held[i]["invoice_id"] and not self.account.invoices_of.get(i)
        ]

    def billed(self, draft: bool) -> list[str]:
        """Milestones on an invoice that counts."""
        held, invoices = self.account.true_milestones, self.account.invoices
        return [
            i
            for i, m in held.items()
            if m["invoice_id"] and invoices[m["invoice_id"]]["draft"] is draft
        ]

    def create(self, number: int) -> None:
        project = self.pick(number, list(self.account.workspaces))
        id_ = self.account.create_milestone(
            workspace_id=project, amount_in_cents=number * 7_919 - 9_999
        )
        self.changed(id_)

    def edit(self, number: int) -> None:
        if id_ := self.pick(number, self.unbilled()):
            self.account.update_milestone(id_, amount_in_cents=number, title=f"«{number}»\n\t'")
            self.changed(id_)

    def edit_silently(self, number: int) -> None:
        if id_ := self.pick(number, list(self.account.true_milestones)):
            self.account.silently_update_milestone(
                id_, date_to_invoice=f"2027-02-{number % 28 + 1:02}"
            )
            self.changed(id_, reported=False)

    def delete(self, number: int) -> None:
        if id_ := self.pick(number, list(self.account.true_milestones)):
            self.trash.append(dict(self.account.true_milestones[id_]))
            self.account.delete_milestone(id_)
            self.spoiled.discard(id_)
            self.odd.discard(id_)
            self.changed(id_)

    def delete_many(self, number: int) -> None:
        if number % 4 == 0:
            TRIED["times that much was deleted"] += 1
            for _ in range(25):
                self.delete(number)

    def restore(self, _: int) -> None:
        if self.trash:
            record = self.trash.pop()
            if record["workspace_id"] in self.account.workspaces:
                self.account.restore_milestone(record | {"invoice_id": None})
                self.changed(str(record["id"]), reported=False)

    def invoice(self, number: int) -> None:
        if id_ := self.pick(number, self.unbilled()):
            self.account.invoice_milestone(id_, draft=bool(number % 2))
            TRIED["changes"] += 1  # the invoice reports it, with or without events

    def cancel(self, number: int) -> None:
        if id_ := self.pick(number, self.billed(draft=False)):
            self.account.cancel_invoice(self.account.true_milestones[id_]["invoice_id"])
            TRIED["changes"] += 1

    def delete_draft(self, number: int) -> None:
        if id_ := self.pick(number, self.billed(draft=True)):
            self.account.delete_invoice(self.account.true_milestones[id_]["invoice_id"])
            self.changed(id_)

    def spoil(self, number: int) -> None:
        if id_ := self.pick(number, list(self.account.true_milestones)):
            self.account.set_raw(id_, *SPOILED[number % len(SPOILED)])
            self.spoiled.add(id_)
            self.changed(id_, reported=False)

    def repair(self, number: int) -> None:
        if id_ := self.pick(number, sorted(self.spoiled | self.odd)):
            self.account.clear_raw(id_)
            self.spoiled.discard(id_)
            self.odd.discard(id_)
            self.changed(id_, reported=False)

    def leave_out(self, number: int) -> None:
        whole = [i for i in self.account.true_milestones if i not in self.spoiled]
        if id_ := self.pick(number, whole):  # leaving out a spoiled field would repair it
            self.account.leave_out(id_, ABSENT[number % len(ABSENT)])
            self.odd.add(id_)
            self.changed(id_, reported=False)

    def spoil_reference(self, number: int) -> None:
        held = self.account.external_references
        if id_ := self.pick(number, [i for i in held if i not in self.references]):
            self.references[id_] = held[id_]["created_at"]
            self.spoil_time(id_, "yesterday")

    def repair_reference(self, number: int) -> None:
        if id_ := self.pick(number, sorted(self.references)):
            self.spoil_time(id_, self.references.pop(id_))

    def spoil_time(self, reference: str, moment: str) -> None:
        """Show a reference with another time, unless it was deleted meanwhile."""
        with self.account.change():
            if record := self.account.external_references.get(reference):
                record["created_at"] = moment
                TRIED["changes"] += 1

    def side_load(self, number: int) -> None:
        value = DRIFTED[number % len(DRIFTED)]
        self.things[str(number % 3)] = {"id": str(number % 3), "order": number, "end": value}
        self.account.side_load("userThings", dict(self.things))
        TRIED["changes"] += 1

    def drift(self, number: int) -> None:
        if id_ := self.pick(number, list(self.account.true_milestones)):
            value = DRIFTED[number % len(DRIFTED)]
            self.account.set_raw(id_, DRIFTING[number % len(DRIFTING)], value)
            self.odd.add(id_)
            self.changed(id_, reported=False)

    def rename_project(self, number: int) -> None:
        if id_ := self.pick(number, list(self.account.workspaces)):
            self.account.rename_workspace(id_, f"renamed {number}")

    def lose_access(self, number: int) -> None:
        held = self.account.true_milestones.values()
        sizes = Counter(str(m["workspace_id"]) for m in held)
        if id_ := self.pick(number, [i for i, size in sizes.items() if size <= 8]):
            self.account.hide_workspace(id_)
            self.unreported |= {
                i for i, m in self.account.true_milestones.items() if m["workspace_id"] == id_
            }

    def regain_access(self, _: int) -> None:
        for id_ in list(self.account.hidden):
            self.account.show_workspace(id_)
            self.unreported |= {
                i for i, m in self.account.true_milestones.items() if m["workspace_id"] == id_
            }

    @rule(
        enabled=st.sampled_from([True, True, True, False]),
        delay=st.sampled_from([0, 0, 60, 1_500, 3_000]),
        copies=st.integers(1, 2),
    )
    def events(self, enabled: bool, delay: int, copies: int) -> None:
        self.delay = delay
        self.account.set_feed(enabled=enabled, delay_seconds=delay, copies=copies)

    @rule(seconds=st.sampled_from([1, 60, 1_800, 4_000, 30_000, 100_000]))
    def time_passes(self, seconds: int) -> None:
        self.account.advance(seconds)

    @rule(days=st.integers(-400, 400))
    def clock_steps(self, days: int) -> None:
        self.job.now = lambda: datetime.now(UTC) + timedelta(days=days)

    # Runs

    @rule(acts=Acts, full=st.sampled_from([False, False, True]))
    def sync(self, acts: list[tuple[str, int]], full: bool) -> None:
        self.happen(acts)
        self.run(full)

    def run(self, full: bool, allow_deletes: bool = False) -> None:
        """Sync once, while the account does not change."""
        result = self.job.sync(self.sandbox, full=full, allow_deletes=allow_deletes)
        TRIED[f"validated {result.run.mode}s"] += 1
        self.check(result)

    @rule(acts=Acts)
    def sync_twice(self, acts: list[tuple[str, int]]) -> None:
        self.happen(acts)
        self.run(full=True)
        run = self.job.sync(self.sandbox, full=True).run
        assert (run.added, run.changed, run.deleted, run.restored) == (0, 0, 0, 0)
        assert (run.side_rows, run.schema_changes) == ({}, [])
        TRIED["scans of what did not change"] += 1

    @rule(
        before=Acts,
        full=st.sampled_from([False, False, True]),
        acts=st.lists(
            st.tuples(st.sampled_from(ACTS[:7]), Id, st.integers(0, 5)), min_size=1, max_size=4
        ),
    )
    def sync_while_it_moves(
        self, before: list[tuple[str, int]], full: bool, acts: list[tuple[str, int, int]]
    ) -> None:
        self.happen(before)
        for act, number, moment in acts:
            action = partial(self.act, act, number)
            self.sandbox.misbehave(Fault("change", action=action, skip=moment, times=1))
        result = self.job.sync(self.sandbox, full=full)
        self.sandbox.behave()
        TRIED[f"{result.run.mode}s while it moved"] += 1
        self.run(full=result.run.mode == "scan")

    @rule(
        acts=Acts,
        kind=st.sampled_from(FAULTS),
        skip=st.integers(0, 6),
        times=st.integers(1, 7),
        full=st.sampled_from([False, False, True]),
    )
    def sync_with_faults(
        self, acts: list[tuple[str, int]], kind: str, skip: int, times: int, full: bool
    ) -> None:
        self.happen(acts)
        path = "(billing_milestones|subscribed_events|invoices)$" if kind == "lose_rows" else ""
        self.sandbox.misbehave(Fault(kind, skip=skip, times=times, path=path))
        try:
            result = self.job.sync(self.sandbox, full=full)
        except (KantataUnavailable, KantataMisaddressed, KantataIncomplete, KantataMoving):
            TRIED["runs that failed"] += 1
        else:
            TRIED["runs through faults"] += 1
            self.check(result)
        finally:
            self.sandbox.behave()

    @rule(acts=Acts, point=st.sampled_from(EVERY_RUN), full=st.sampled_from([False, False, True]))
    def sync_is_killed(self, acts: list[tuple[str, int]], point: Point, full: bool) -> None:
        self.happen(acts)
        TRIED["runs killed"] += died(self.job, self.sandbox, point, full)
        self.killed = True

    # What must hold

    def check(self, result: SyncResult) -> None:
        """Assert what holds after a validated run during which the account did not change."""
        if any("at once" in warning for warning in result.run.warnings):
            TRIED["runs with pending deletions"] += 1
            self.sandbox.behave()
            self.run(full=False, allow_deletes=True)
            return
        if any("cannot be read now" in warning for warning in result.run.warnings):
            TRIED["runs that could not read clients and leads"] += 1
            return
        if any("nothing of them is marked" in warning for warning in result.run.warnings):
            TRIED["runs that refused an implausible answer"] += 1
            return
        seen = set(filter(self.account.sees_milestone, self.spoiled))
        rejected = {id_ for table, id_, _ in result.rejected if table == "billing_milestones"}
        if result.run.mode == "scan":
            references = self.spoiled_references()
            assert rejected == seen
            assert {i for t, i, _ in result.rejected if t != "billing_milestones"} == references
            with self.job.reading():
                assert_equal(self.job, self.account, seen | references)
            self.unreported.clear()
            self.late.clear()
            return
        now = self.account.clock.now()
        self.late = {i: moment for i, moment in self.late.items() if moment >= now}
        excused = self.unreported | self.late.keys()
        assert rejected - excused == seen - excused
        with self.job.reading():
            assert_equal(self.job, self.account, excused | seen, side_tables=False)

    def spoiled_references(self) -> set[str]:
        """References that are spoiled and visible."""
        visible = filter(self.account.sees_milestone, self.account.true_milestones)
        seen = {i for id_ in visible for i in self.account.references_of.get(id_, ())}
        return seen & self.references.keys()

    @invariant()
    def nothing_live_is_marked_and_nothing_duplicated(self) -> None:
        if self.job.target.loader and not self.job.target.loader.exists():
            return
        with self.job.reading():
            self.check_tables()

    def check_tables(self) -> None:
        """Assert that nothing live is marked, and that no id and no version is duplicated."""
        loaded = "select table_name from information_schema.tables where table_schema = 'kantata'"
        tables = {row[0] for row in self.job.rows(loaded)}
        if not {"billing_milestones", "billing_milestone_versions"} <= tables:
            return
        deleted = ids_where(self.job, "deleted_at is not null")
        live = set(filter(self.account.sees_milestone, self.account.true_milestones))
        assert not deleted & (live - self.unreported - self.late.keys())
        for table, key in (
            ("billing_milestones", "id"),
            ("billing_milestone_versions", "id, version"),
        ):
            duplicates = f"select {key} from kantata.{table} group by {key} having count(*) > 1"
            assert self.job.rows(duplicates) == []
        self.check_versions()

    def check_versions(self) -> None:
        """Assert that versions have no gaps, hold their record, never change, and show a change."""
        rows = self.job.rows(
            "select id, version, change_type, raw, observed_at, title, workspace_id, currency, "
            "amount_in_cents, date_to_invoice::text, invoice_id "
            "from kantata.billing_milestone_versions "
            # Versions without a row are of an interrupted first load; the next run removes them.
            "where id in (select id from kantata.billing_milestones) order by id, version"
        )
        found = {row[:2]: row[2:] for row in rows}
        assert found.items() >= self.versions.items()
        self.versions = found
        for (id_, version), (change_type, raw, _, *values) in found.items():
            record = json.loads(raw) if raw else {}
            expected = [record.get(name, value) for name, value in zip(VALUES, values, strict=True)]
            assert values == expected, id_
            before = found.get((id_, version - 1))
            assert (before is None) == (version == 1) == (change_type == "created"), id_
            if before is not None:
                assert (change_type == "restored") == (before[0] == "deleted"), id_
                # After a kill the row may have a field that its version lacks; the next repeats it.
                assert change_type != "updated" or raw != before[1] or self.killed, id_


@pytest.mark.timeout(0)  # as long as MILESTONES_EXAMPLES asks for
def test_the_warehouse_follows(
    job: Job, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """After a validated scan the warehouse equals the account; a feed run loads reported changes.

    At all times nothing live is marked as deleted, and no id and no version is duplicated.
    """
    monkeypatch.setattr(Histories, "job", job, raising=False)
    TRIED.clear()
    on_postgres = -(-EXAMPLES // 4) if EXAMPLES > FEW else FEW // 2
    if EXAMPLES <= FEW:
        hypothesis.seed(f"{seed()} {job.name}")(Histories)
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=on_postgres if job.url else EXAMPLES - on_postgres,
            stateful_step_count=6,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            # Threads and kills are not deterministic, so a failed history cannot be shrunk.
            phases=[Phase.generate],
            verbosity=Verbosity.debug,
        ),
    )
    summary = ", ".join(f"{count} {what}" for what, count in sorted(TRIED.items()))
    record_property("tried", summary)
    print(f"{summary}; chosen by {seed()[:12] if EXAMPLES <= FEW else 'chance'}")
    if EXAMPLES <= FEW:
        return  # few histories need not include every kind of run
    histories = TRIED[f"histories on {job.name}"]
    validated = ("validated scans", "validated feeds", "runs through faults")
    assert sum(TRIED[what] for what in validated) >= histories // 2
    assert TRIED["changes"] >= 3 * histories
    assert TRIED["runs killed"] >= histories // 20
    assert TRIED["scans while it moved"] + TRIED["feeds while it moved"] >= histories // 20
