"""Read the account in a sync, and extract what changed with dlt's pipeline."""

from __future__ import annotations

import pyarrow as pa

from pipelines.config.settings import KantataSettings
from sources.kantata import AccountRead, ExtractRequest, KantataReader, Report, kantata_changes
from sources.kantata.loaded_state import LoadedState
from sources.kantata.settings import ATTEMPTS
from warehouse.raw.runs import RunHistory

from .begin import SyncJob
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


def read_changes(job: SyncJob, settings: KantataSettings, request: ExtractRequest) -> Report:
    """Read the account into dlt's working folder; return the report of what was read."""
    job.observer.phase("reading")
    report = _extract(job, settings, request)
    pa.default_memory_pool().release_unused()  # leave the memory to DuckDB
    return report


def _extract(job: SyncJob, settings: KantataSettings, request: ExtractRequest) -> Report:
    """Extract the rows of a sync with dlt's pipeline, if there are any; return what was read."""
    report = Report()

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
        if changes := read.changes(LoadedState(database), report):
            job.pipeline.sync_destination()
            job.pipeline.extract(kantata_changes(changes), loader_file_format="parquet")
    return report
