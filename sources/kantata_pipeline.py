"""Load the billing milestones of a Kantata OX account with dlt."""

from __future__ import annotations

import dlt
from kantata import Report, kantata


def load_changes() -> None:
    """Load what changed since the last run; the first run loads everything."""
    pipeline = dlt.pipeline(
        pipeline_name="kantata_account", destination="duckdb", dataset_name="kantata"
    )
    report = Report()
    load_info = pipeline.run(kantata(report=report))
    print(load_info)
    print(
        f"{report.mode}: {report.added} added, {report.changed} changed, {report.deleted} deleted"
    )
    for line in [*report.warnings, *report.rejected]:
        print(line)


def load_invoices() -> None:
    """Load one table only."""
    pipeline = dlt.pipeline(
        pipeline_name="kantata_invoices", destination="duckdb", dataset_name="kantata"
    )
    print(pipeline.run(kantata().with_resources("invoices")))


def load_sample() -> None:
    """Load the rows of one page of milestones, to try something."""
    pipeline = dlt.pipeline(
        pipeline_name="kantata_sample", destination="duckdb", dataset_name="kantata"
    )
    print(pipeline.run(kantata().add_limit(1)))


if __name__ == "__main__":
    load_changes()
    # load_invoices()
    # load_sample()
