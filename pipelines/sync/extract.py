"""Read the account in a sync, and extract what changed with dlt's pipeline."""

from __future__ import annotations

from typing import NamedTuple

import dlt
import pyarrow as pa

from pipelines.config.settings import KantataSettings
from sources.kantata import AccountRead, ExtractRequest, KantataReader, Report, kantata_changes
from sources.kantata.loaded_state import LoadedState
from sources.kantata.settings import ATTEMPTS
from warehouse.raw.runs import RunHistory

from .begin import SyncJob
from .loader import new_pipeline
from .options import SyncOptions


def extract_request(
    options: SyncOptions, history: RunHistory, settings: KantataSettings
) -> ExtractRequest:
    """Return the extract request of a sync, from its options, its settings and earlier runs."""
    return ExtractRequest(
        full=options.full,
        scan_every=settings.longest_without_scan(),
        cursor=history.cursor,
        scanned_at=history.scanned_at,
        has_validated_run=history.has_proven_run,
        reported_changes=(
            *history.reported_schema_changes,
            *history.unreported_schema_changes,
        ),  # this run reports the latter
        unfinished=history.has_unfinished_run,
        allow_deletes=options.allow_deletes,
        deleted_projects=options.deleted_projects,
        read_currencies=bool(options.accepted_minor_units) or not history.is_last_run_proven,
        touched=options.touched,
        project_details_read_at=history.project_details_read_at,
    )


class Extracted(NamedTuple):
    """What a sync read.

    Args:
        report: The report of what was read.
        pipeline: The dlt pipeline that extracted rows to load; None if nothing changed: to set up
            a load takes as long as the rest of such a run.
    """

    report: Report
    pipeline: dlt.Pipeline | None


def read_changes(job: SyncJob, settings: KantataSettings, request: ExtractRequest) -> Extracted:
    """Read the account into dlt's working folder."""
    job.observer.phase("reading")
    extracted = _extract(job, settings, request)
    pa.default_memory_pool().release_unused()  # leave the memory to DuckDB
    return extracted


def _extract(job: SyncJob, settings: KantataSettings, request: ExtractRequest) -> Extracted:
    """Extract the rows of a sync with dlt's pipeline, if there are any."""
    report, pipeline = Report(), None

    def new_reader() -> KantataReader:
        reader = settings.reader(ATTEMPTS, job.observer.on_request, job.observer.note)
        reader.expect_api()  # it has just answered
        return reader

    with job.connect() as database:
        read = AccountRead(
            new_reader=new_reader,
            request=request,
            requests_in_flight=settings.requests_in_flight,
            progress=job.observer.progress,
            note=job.observer.note,
        )
        state = LoadedState(database)
        if changes := read.changes(state, report):
            pipeline = new_pipeline(job.lock.target)
            source = kantata_changes(changes, report, state.empty_tables())
            pipeline.extract(source, loader_file_format="parquet")
    return Extracted(report, pipeline)
