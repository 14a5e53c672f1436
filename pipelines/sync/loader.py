"""Load with dlt from an empty working folder, and translate its errors."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import dlt
from dlt.pipeline.exceptions import PipelineStepFailed

from pipelines.runtime.signals import Stopped
from sources.kantata.errors import KantataError
from warehouse.errors import WarehouseError, WarehouseUnwritable
from warehouse.failures import driver_message, is_disk_full, load_failure, open_elsewhere
from warehouse.private_files import make_private_folder
from warehouse.target import Target


def new_pipeline(target: Target) -> dlt.Pipeline:
    """Return the dlt pipeline that loads into a target, with an empty working folder.

    Its state is restored from the warehouse, so load packages that a killed run left, a lost
    folder and another machine make no difference.
    """
    clear_working_folder(target)
    with suppress(OSError):  # dlt reports a folder that cannot be written
        make_private_folder(target.working.parent)
        make_private_folder(target.working)
    pipeline = target.pipeline()
    pipeline.sync_destination()
    return pipeline


def clear_working_folder(target: Target) -> None:
    """Remove what earlier runs left in the folder dlt works in to load a target."""
    shutil.rmtree(target.working, ignore_errors=True)


def remove_trace(target: Target) -> None:
    """Remove dlt's trace of a run: after a failure it contains the secrets it resolved."""
    for file in target.working.glob("*/trace.pickle*"):
        file.unlink(missing_ok=True)


def load(pipeline: dlt.Pipeline, check: Callable[[], None]) -> None:
    """Load the extracted rows with dlt, after it has normalized them.

    Args:
        pipeline: The pipeline that has extracted them.
        check: Called before the load; raises an error if the lock of the warehouse was lost.

    Raises:
        WarehouseError: If loading fails.
    """
    try:
        pipeline.normalize()
        check()
        pipeline.load()
    except PipelineStepFailed as error:
        cause = root_cause(error)
        if cause is not error or is_disk_full(cause):  # one of our own errors, or a full disk
            raise
        raise load_failure(error) from error


@contextmanager
def translate_errors(target: Target) -> Iterator[None]:
    """Raise the cause of an error that dlt has wrapped; name a full disk, and a file in use."""
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
                "Free space there or correct the folder's permissions. The last published state is "
                "unchanged."
            ) from None
        if held := open_elsewhere(cause):
            raise held from None
        raise


def root_cause(error: BaseException) -> BaseException:
    """Return the first cause of dlt's error that is ours or a full disk, else the error itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (KantataError, WarehouseError, Stopped)) or is_disk_full(cause):
            return cause
        cause = cause.__cause__ or cause.__context__
    return error
