"""Check that the lake can be written, and belongs to the warehouse."""

from __future__ import annotations

from pipelines.runtime.exit_codes import ExitCode
from warehouse.account import bound_account
from warehouse.errors import LakeMisconfigured, NoWarehouse, WarehouseError
from warehouse.lake.copy import check_lineage
from warehouse.lake.delta import DeltaStore, ensure_installed
from warehouse.lake.failures import LakeFailure
from warehouse.lake.published_runs import PublishedTable, read_published
from warehouse.raw.lake_copies import PUBLISHED_RUNS
from warehouse.reader import open_reader
from warehouse.target import LakeTarget, Target

from .check_result import CheckResult


def check_lake(target: Target, lake: LakeTarget) -> CheckResult:
    """Check that the lake can be written, by writing a small file there and removing it."""
    try:
        ensure_installed()
        store = DeltaStore(lake)
        store.try_writing()
        published = read_published(store, store.open(PUBLISHED_RUNS))
        _check_lineage(target, lake, published)
    except LakeMisconfigured as error:
        return CheckResult("lake", str(error), error.exit_code)
    except LakeFailure as failure:
        code = ExitCode.DONE if failure.is_passing else ExitCode.ACTION_REQUIRED
        return CheckResult("lake", f"{lake.url} cannot be used: {failure}", code)
    last = max((row.run_id for row in published), default=None)
    return CheckResult(
        "lake", f"{lake.url} can be written; it shows {f'run {last}' if last else 'no run yet'}"
    )


def _check_lineage(target: Target, lake: LakeTarget, published: list[PublishedTable]) -> None:
    """Check that the lake shows a run of this warehouse, or none.

    Raises:
        LakeFailure: If it shows one of another warehouse.
    """
    try:
        with open_reader(target) as reader:
            account = str(bound_account(reader) or "an unknown account")
            check_lineage(reader, lake.url, account, published)
    except NoWarehouse:
        check_lineage(None, lake.url, "no account yet", published)
    except WarehouseError:  # the check of the warehouse says what is wrong
        return
