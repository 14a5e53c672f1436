"""Delta tables below one URL: opening, overwriting, and removing what nobody needs any more."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from warehouse.errors import LakeMisconfigured
from warehouse.target import LakeTarget

from .failures import LakeFailure, lake_failure

if TYPE_CHECKING:
    from deltalake import DeltaTable

_OURS = "Written by milestones: read it at a version that published_runs names."
_ROWS_PER_GROUP = 20_000  # held in memory until they are written
_TRIAL = "_check"
# A trial keeps all other threads from running, so that a signal must wait for it.
_ONCE = {"timeout": "10s", "connect_timeout": "5s", "max_retries": "0"}
_stderr: list[int] = []  # what stderr was before delta-rs writes


def ensure_installed() -> None:
    """Check that the extra is installed, without importing it.

    Raises:
        LakeMisconfigured: If it is not.
    """
    if find_spec("deltalake") is None:
        raise LakeMisconfigured(
            "a lake is configured, but deltalake is not installed. In the folder of milestones: "
            ".venv/bin/pip install -c constraints.txt -e '.[lake]'"
        )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A Delta table as it is now.

    Args:
        table: The table.
        delta_id: The id that Delta gave it.
        version: Its last version.
        is_ours: Whether milestones made it.
    """

    table: DeltaTable
    delta_id: str
    version: int
    is_ours: bool


class DeltaStore:
    """The Delta tables below one URL.

    Args:
        lake: The URL, and the options of its object store.
    """

    def __init__(self, lake: LakeTarget) -> None:
        self._url = lake.url
        self._options = dict(lake.options)

    def address(self, path: str) -> str:
        """Return the address of a table."""
        return f"{self._url}/{path}"

    def open(self, path: str) -> Opened | None:
        """Open a table at its last version; None if there is none.

        Raises:
            LakeFailure: If the store does not answer, or refuses.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        address = self.address(path)
        with _translated():
            if not self._is_remote and not Path(address, "_delta_log").is_dir():
                return None
            try:  # is_deltatable would keep all other threads from running
                table = DeltaTable(address, storage_options=self._options)
            except TableNotFoundError:
                return None
            metadata = table.metadata()
            return Opened(
                table=table,
                delta_id=str(metadata.id),
                version=table.version(),
                is_ours=metadata.description == _OURS,
            )

    def rows(self, opened: Opened) -> pa.Table:
        """Return all rows of a small table.

        Raises:
            LakeFailure: If they cannot be read.
        """
        with _translated():
            return opened.table.to_pyarrow_table()

    @property
    def _is_remote(self) -> bool:
        """Whether the tables are in an object store, and not in a folder."""
        return "://" in self._url

    def overwrite(
        self, path: str, opened: Opened | None, rows: pa.RecordBatchReader, run_id: str
    ) -> Opened:
        """Replace all rows and columns of a table in one commit; return it.

        Args:
            path: The table's place below the URL.
            opened: The table as it was seen; None if there was none.
            rows: Its new rows.
            run_id: The run, for the commit's metadata.

        Raises:
            LakeFailure: If it failed, or another program wrote the table meanwhile.
        """
        from deltalake import WriterProperties, write_deltalake

        common: Any = {
            "writer_properties": WriterProperties(max_row_group_size=_ROWS_PER_GROUP),
            **_commit(run_id),
        }
        with _translated(), _without_panics():
            if opened is None:
                self._make_folder(path)
                write_deltalake(
                    self.address(path),
                    rows,
                    mode="error",
                    description=_OURS,
                    storage_options=self._options,
                    **common,
                )
            else:
                write_deltalake(
                    opened.table, rows, mode="overwrite", schema_mode="overwrite", **common
                )
                return Opened(
                    table=opened.table,
                    delta_id=opened.delta_id,
                    version=opened.version + 1,
                    is_ours=True,
                )
        made = self.open(path)
        if made is None or made.version != 0:
            raise _another_writer()
        return made

    def _make_folder(self, path: str) -> None:
        """Make the folder of a table, unless it is in an object store."""
        if not self._is_remote:
            Path(self.address(path)).mkdir(parents=True, exist_ok=True)

    def vacuum(self, opened: Opened, keep: timedelta, versions: Collection[int]) -> int:
        """Remove files that no version to keep needs, once they are old enough.

        Args:
            opened: The table at its last version.
            keep: How old the removal of a file from the table must be.
            versions: The versions to keep; the last one always is.

        Returns:
            The last version of the table: Delta records a vacuum as two.

        Raises:
            LakeFailure: If it failed; the versions to keep are complete in any case.
        """
        common: Any = {
            "retention_hours": math.ceil(keep / timedelta(hours=1)),
            "enforce_retention_duration": False,
            "full": True,
            "keep_versions": sorted(versions),
        }
        with _translated():
            if opened.table.vacuum(dry_run=True, **common):
                opened.table.vacuum(dry_run=False, **common, **_commit("vacuum"))
            opened.table.update_incremental()
            return int(opened.table.version())

    def try_writing(self) -> None:
        """Write a small file below the URL, and remove it.

        Raises:
            LakeFailure: If that fails.
        """
        from deltalake._internal import DeltaFileSystemHandler

        with _translated():
            self._make_folder("")
            files = DeltaFileSystemHandler(self._url, self._options and self._options | _ONCE)
            with closing(files.open_output_stream(f"{_TRIAL}/try")) as file:
                file.write(b"milestones check")
            files.delete_file(f"{_TRIAL}/try")
            if not self._is_remote:
                Path(self.address(_TRIAL)).rmdir()


def _another_writer() -> LakeFailure:
    """Return the failure for a table that another program wrote during the copy."""
    return LakeFailure(
        "another program wrote there meanwhile, so this run was not published. If it is "
        "another warehouse, set LAKE__URL to another folder",
        is_passing=True,
    )


def _commit(run_id: str) -> dict[str, Any]:
    """Return the arguments of a commit: it fails if another one came first, and keeps all logs.

    delta-rs would remove logs older than 30 days with a checkpoint, also those of a version that
    ``published_runs`` still names.
    """
    from deltalake import CommitProperties, PostCommitHookProperties

    return {
        "commit_properties": CommitProperties(
            custom_metadata={"run_id": run_id}, max_commit_retries=0
        ),
        "post_commithook_properties": PostCommitHookProperties(cleanup_expired_logs=False),
    }


@contextmanager
def _without_panics() -> Iterator[None]:
    """Keep delta-rs from writing to stderr, where it reports a panic for each refused write.

    The error itself is raised all the same. The panic only says that a file was closed twice.
    """
    try:
        before = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    _stderr.append(before)
    try:
        yield
    finally:
        show_stderr()
        _stderr.remove(before)
        os.close(before)


def show_stderr() -> None:
    """Let this process write to stderr again, also if a write does not end."""
    for before in _stderr:
        os.dup2(before, 2)


@contextmanager
def _translated() -> Iterator[None]:
    """Raise a failure of the lake for any error of delta-rs."""
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except CommitFailedError as error:
        raise _another_writer() from error
    except (OSError, DeltaError, ValueError, pa.ArrowException) as error:
        if "already exists" in str(error) or "Version already" in str(error):
            raise _another_writer() from error
        raise lake_failure(error) from error
