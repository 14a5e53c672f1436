"""Loading through dlt from a fresh working folder, and naming what failed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import dlt
from dlt.pipeline.exceptions import PipelineStepFailed

from pipelines.runtime.signals import Stopped
from sources.kantata.errors import KantataError
from warehouse.database import driver_message, is_disk_full, load_failure
from warehouse.errors import WarehouseError, WarehouseUnwritable
from warehouse.target import Target


def reset_pipeline(target: Target) -> dlt.Pipeline:
    """A pipeline that remembers nothing of earlier runs on this machine.

    What it must know it takes from the warehouse, so a package that a killed run left behind, a
    lost folder and another machine are all the same to it.
    """
    shutil.rmtree(target.working, ignore_errors=True)
    return target.pipeline()


def load(pipeline: dlt.Pipeline) -> None:
    """Load what was extracted.

    Raises:
        WarehouseError: If that fails.
    """
    try:
        pipeline.normalize()
        pipeline.load()
    except PipelineStepFailed as error:
        cause = root_cause(error)
        if cause is not error or is_disk_full(cause):  # a signal, or a disk
            raise
        raise load_failure(error) from error


@contextmanager
def translate_errors(target: Target) -> Iterator[None]:
    """Name what failed, and end dlt's wrappings: whoever catches it sees the cause itself."""
    try:
        yield
    except (KantataError, WarehouseError, Stopped):
        raise
    except BaseException as error:
        cause = root_cause(error)
        if isinstance(cause, (KantataError, WarehouseError, Stopped)):
            raise cause from None
        if is_disk_full(cause):
            raise WarehouseUnwritable(
                f"cannot write to {target.folder.absolute()}: {driver_message(cause)}. "
                "Make room there, or mend the folder's rights; the last published state stands."
            ) from None
        raise


def root_cause(error: BaseException) -> BaseException:
    """The first error that is one of ours, or tells of a disk; else the error itself."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (KantataError, WarehouseError, Stopped)) or is_disk_full(seen):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error
