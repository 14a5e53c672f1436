"""The source in a plain dlt pipeline, which keeps versions and deletions by itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import dlt
import pytest
from dlt.common.warnings import DltDeprecationWarning
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.sources import DltSource

from sources.kantata import ExtractRequest, Report, kantata
from sources.kantata.errors import KantataMisconfigured
from sources.kantata.schema import LOADED
from sources.kantata_sandbox import Fault, Sandbox
from tests.support.accounts import open_ids, versions
from tests.support.dlt_log import dlt_warnings
from tests.support.equality import assert_equal
from tests.support.job import Job

FULL = ExtractRequest(full=True)
SCAN_TABLES = LOADED.keys() - {"rejected_records"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An account of three pages of milestones."""
    with Sandbox(milestones=450) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What dlt logs as a warning or an error: nothing, unless a test takes it away."""
    for name in list(os.environ):  # which the connector sets for itself
        if name.startswith(("NORMALIZE__", "LOAD__")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "WARNING")
    with dlt_warnings() as messages:
        yield messages
    assert messages == []


@pytest.fixture(params=["duckdb", "postgres"])
def destination(request: pytest.FixtureRequest) -> object:
    """An empty destination that can be asked what it holds."""
    if request.param == "duckdb":
        return dlt.destinations.duckdb("account.duckdb")
    return dlt.destinations.postgres(request.getfixturevalue("postgres_url"))


def pipeline_to(
    destination: object, name: str = "plain", dataset: str = "ours", folder: str = "dlt"
) -> dlt.Pipeline:
    """A pipeline as somebody writes it who has read only dlt's documentation."""
    return dlt.pipeline(name, destination=destination, dataset_name=dataset, pipelines_dir=folder)


def source_of(sandbox: Sandbox, **arguments: Any) -> DltSource:  # noqa: ANN401 - of the source
    """The source, reading from the sandbox."""
    return kantata(sandbox.url, sandbox.token, **arguments)


def run(pipeline: dlt.Pipeline, source: DltSource, **options: Any) -> dict[str, int]:  # noqa: ANN401
    """Run the pipeline; return the number of rows loaded into each table with rows."""
    pipeline.run(source, **options)
    counts: dict[str, int] = pipeline.last_trace.last_normalize_info.row_counts
    names = {pipeline.default_schema.naming.normalize_tables_path(name): name for name in LOADED}
    return {names[name]: count for name, count in counts.items() if name in names and count}


def rows(pipeline: dlt.Pipeline, sql: str) -> list[tuple[Any, ...]]:
    """Query the pipeline's dataset."""
    with pipeline.sql_client() as client:
        return [tuple(row) for row in client.execute_sql(sql) or ()]


def open_milestone(sandbox: Sandbox) -> str:
    """The id of a milestone that was never on an invoice."""
    return open_ids(sandbox.account)[0]


def refused(action: Callable[[], object]) -> str:
    """The message with which the source refuses to run."""
    with pytest.raises(PipelineStepFailed) as failed:
        action()
    error: BaseException | None = failed.value
    while error and not isinstance(error, KantataMisconfigured):
        error = error.__cause__
    return str(error)


@pytest.mark.long_on("postgres")
def test_every_run_loads_the_difference(sandbox: Sandbox, destination: object) -> None:
    """The second run loads nothing; a change adds a version; a deletion is marked when certain."""
    pipeline, report = pipeline_to(destination), Report()
    source, account = source_of(sandbox, report=report), sandbox.account
    assert run(pipeline, source).keys() == SCAN_TABLES
    assert (report.mode, report.added) == ("scan", 450)
    assert run(pipeline, source) == {}
    assert (report.mode, report.added, report.changed) == ("feed", 0, 0)

    changed = open_milestone(sandbox)
    before = account.milestones[changed]["title"]
    account.update_milestone(changed, title="Changed")
    both = {"billing_milestones": 1, "billing_milestone_versions": 1}
    assert run(pipeline, source) == both
    both_versions = f"select version, title from billing_milestone_versions where id = '{changed}'"
    assert sorted(rows(pipeline, both_versions)) == [(1, before), (2, "Changed")]

    account.delete_milestone(changed)
    sandbox.misbehave(Fault("refuse", path=r"billing_milestones/\d+$", status=403))
    assert run(pipeline, source_of(sandbox, request=FULL, report=report)) == {}
    assert report.warnings == [w for w in report.warnings if changed in w] != []
    sandbox.behave()
    elsewhere = pipeline_to(destination, folder="elsewhere")  # dlt restores its state
    assert run(elsewhere, source) == both
    assert (report.mode, report.deleted) == ("feed", 1)
    live = "select title, deleted_at is null, count(*) from billing_milestones group by 1, 2"
    assert ("Changed", False, 1) in rows(pipeline, live)
    assert sum(count for _, is_live, count in rows(pipeline, live) if is_live) == 449


@pytest.mark.long
def test_it_takes_turns_with_sync(sandbox: Sandbox, job: Job) -> None:
    """A plain pipeline and ``milestones sync`` load into one dataset, and both are right."""
    job.synced(sandbox)
    pipeline, account = pipeline_to(job.target.destination, dataset="kantata"), sandbox.account
    first, second, *_ = open_ids(account)
    account.update_milestone(first, title="Changed")
    account.delete_milestone(second)
    report = Report()
    run(pipeline, source_of(sandbox, report=report))
    assert (report.mode, report.added, report.changed, report.deleted) == ("scan", 0, 1, 1)
    assert_equal(job, account)
    account.update_milestone(first, title="Changed again")
    assert job.sync(sandbox).run.changed == 1
    assert_equal(job, account)
    assert versions(job, first) == ["created", "updated", "updated"]


@pytest.mark.long
def test_some_tables_only(sandbox: Sandbox, destination: object) -> None:
    """One table is loaded alone; the run of all tables afterwards loads what the others lack."""
    pipeline = pipeline_to(destination)
    one = source_of(sandbox).with_resources("invoices")
    assert run(pipeline, one).keys() == {"invoices"}
    assert run(pipeline, one) == {}
    assert run(pipeline, source_of(sandbox).stories).keys() == {"stories"}
    report = Report()
    loaded = run(pipeline, source_of(sandbox, report=report))
    assert report.mode == "scan"
    assert loaded.keys() == SCAN_TABLES - {"invoices", "stories"}


@pytest.mark.long
def test_limit_is_a_sample(sandbox: Sandbox, destination: object) -> None:
    """A limit ends the read early: no error, no deletion, and the next run reads everything."""
    pipeline, report = pipeline_to(destination), Report()
    sample = run(pipeline, source_of(sandbox).add_limit(1))["billing_milestones"]
    assert sample in (200, 50)  # one page of three
    loaded = run(pipeline, source_of(sandbox, report=report))
    assert (report.mode, loaded["billing_milestones"]) == ("scan", 450 - sample)
    limited = source_of(sandbox, request=FULL).with_resources("billing_milestones", "invoices")
    sandbox.account.update_milestone(open_milestone(sandbox), title="Changed")
    sandbox.account.delete_milestone(open_ids(sandbox.account)[1])
    assert run(pipeline, limited.add_limit(1)) == {"billing_milestones": 1}
    assert rows(pipeline, "select count(deleted_at) from billing_milestones") == [(0,)]


@pytest.mark.long_on("postgres")
def test_a_load_that_never_happened_is_not_counted(sandbox: Sandbox, destination: object) -> None:
    """If a package was dropped before it was loaded, its time is not where the next run begins."""
    pipeline, report = pipeline_to(destination), Report()
    source = source_of(sandbox, report=report)
    run(pipeline, source)
    sandbox.account.update_milestone(open_milestone(sandbox), title="Changed")
    pipeline.extract(source)
    with pytest.warns(DltDeprecationWarning):  # unlike its successor, it keeps dlt's state
        pipeline.drop_pending_packages()
    sandbox.account.advance(7_200)  # the change is older than what the feed reads twice
    assert run(pipeline, source) == {"billing_milestones": 1, "billing_milestone_versions": 1}


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    "naming", [pytest.param(n, marks=pytest.mark.long) for n in ("sql_cs_v1", "upper_case")]
)
def test_other_names(
    sandbox: Sandbox, destination: object, naming: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another dataset and another naming convention make no difference."""
    monkeypatch.setenv("SCHEMA__NAMING", f"tests.source.{naming}" if "upper" in naming else naming)
    monkeypatch.setenv("DESTINATION__ENABLE_DATASET_NAME_NORMALIZATION", "false")
    pipeline = pipeline_to(destination, dataset="OurData")
    assert run(pipeline, source_of(sandbox)).keys() == SCAN_TABLES
    assert run(pipeline, source_of(sandbox, request=FULL)) == {}
    sandbox.account.update_milestone(open_milestone(sandbox), title="Changed")
    both = {"billing_milestones": 1, "billing_milestone_versions": 1}
    assert run(pipeline, source_of(sandbox)) == both


@pytest.mark.parametrize("kind", ["duckdb", "filesystem"])
@pytest.mark.long
def test_replaced_tables_look_like_no_history(sandbox: Sandbox, kind: str) -> None:
    """Without a state, and into files, every table is replaced, and says nothing of the past."""
    pipeline = pipeline_to(
        dlt.destinations.duckdb("account.duckdb")
        if kind == "duckdb"
        else dlt.destinations.filesystem("files")
    )
    source = source_of(sandbox, **({"state": None} if kind == "duckdb" else {}))
    run(pipeline, source)
    account = sandbox.account
    account.delete_milestone(open_milestone(sandbox))
    assert run(pipeline, source)["billing_milestones"] == 449
    ((count, distinct),) = rows(
        pipeline, "select count(*), count(distinct id) from billing_milestones"
    )
    assert count == distinct == 449
    schema = pipeline.default_schema.tables
    assert "billing_milestone_versions" not in schema
    for table in LOADED.keys() & schema.keys():
        assert schema[table]["write_disposition"] == "replace"
        history = {"deleted_at", "access_lost_at", "removed_at", "resolved_at"}
        assert history.isdisjoint(schema[table]["columns"])


def test_record_that_changes_while_it_is_read_replaces_once(sandbox: Sandbox) -> None:
    """A milestone that two pages show differently is one row of a replaced table."""
    moving = list(sandbox.account.milestones)

    def change(account: Any) -> None:  # noqa: ANN401 - the sandbox's
        for id_ in moving:
            account.update_milestone(id_, title="Changed")

    sandbox.misbehave(Fault("change", path="billing_milestones$", action=change, skip=3, times=1))
    pipeline = pipeline_to(dlt.destinations.duckdb("account.duckdb"))
    assert run(pipeline, source_of(sandbox, state=None))["billing_milestones"] == 450


def test_history_is_not_replaced(sandbox: Sandbox, logged: list[str]) -> None:
    """Neither a missing state nor a write disposition overwrites versions."""
    pipeline = pipeline_to(dlt.destinations.duckdb("account.duckdb"))
    run(pipeline, source_of(sandbox))
    without, source = source_of(sandbox, state=None), source_of(sandbox)
    assert "dataset ours has versions" in refused(lambda: pipeline.run(without))
    other = pipeline_to(dlt.destinations.duckdb("account.duckdb"), name="other")
    assert "dataset ours has versions" in refused(lambda: other.run(without))
    message = refused(lambda: pipeline.run(source, write_disposition="replace"))
    assert message.startswith("the write disposition of billing_milestones cannot be set")
    assert run(pipeline, source_of(sandbox)) == {}
    logged.clear()


@pytest.mark.long
def test_refresh_begins_again(sandbox: Sandbox) -> None:
    """What dlt is asked to drop or to empty is loaded again, also the other way."""
    pipeline = pipeline_to(dlt.destinations.duckdb("account.duckdb"))
    assert run(pipeline, source_of(sandbox)).keys() == SCAN_TABLES
    for refresh in ("drop_sources", "drop_resources", "drop_data"):
        assert run(pipeline, source_of(sandbox), refresh=refresh).keys() == SCAN_TABLES, refresh
    invoices = source_of(sandbox).with_resources("invoices")
    assert run(pipeline, invoices, refresh="drop_resources").keys() == {"invoices"}
    assert run(pipeline, source_of(sandbox, request=FULL)) == {}
    tables = run(pipeline, source_of(sandbox, state=None), refresh="drop_sources").keys()
    assert tables == SCAN_TABLES - {"billing_milestone_versions"}
    assert run(pipeline, source_of(sandbox)) == {"billing_milestone_versions": 450}


def test_rejects_are_logged(sandbox: Sandbox, logged: list[str]) -> None:
    """Somebody who passes no report learns of a record that could not be loaded."""
    bad = open_milestone(sandbox)
    sandbox.account.set_raw(bad, "amount_in_cents", 1.5)
    pipeline = pipeline_to(dlt.destinations.duckdb("account.duckdb"))
    assert run(pipeline, source_of(sandbox))["rejected_records"] == 1
    (message,) = logged
    assert message.startswith(f"billing_milestones {bad} is rejected")
    logged.clear()


def test_file_named_like_the_dataset_is_refused(sandbox: Sandbox, logged: list[str]) -> None:
    """DuckDB would confuse them after everything was read."""
    pipeline = pipeline_to("duckdb", name="ours")
    assert "cannot be named like the dataset, ours" in refused(
        lambda: pipeline.run(source_of(sandbox))
    )
    logged.clear()


def test_without_a_pipeline(sandbox: Sandbox) -> None:
    """The source can be iterated, and is one unit when Airflow's helper takes it apart."""
    with pytest.raises(KantataMisconfigured, match='state is "none"; it must be "auto", None'):
        source_of(sandbox, state="none")
    milestones = sum(table.num_rows for table in source_of(sandbox).billing_milestones)
    assert milestones == 450
    assert len(source_of(sandbox).decompose("scc")) == 1
