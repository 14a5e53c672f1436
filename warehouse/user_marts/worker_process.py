"""The worker's process, and its jobs: users' SQL on DuckDB runs there, and never in ours."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from warehouse.errors import WarehouseError
from warehouse.failures import open_elsewhere
from warehouse.private_files import make_private_folder

from .errors import UserSqlFailed, too_long
from .limits import Limits

_SCRIPT = Path(__file__).with_name("worker.py")
# The others may be secrets.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "TZ")


_OUT_OF_MEMORY = "Out of Memory Error"
_TOO_LARGE = (
    "it needs more memory than a mart may use: make it smaller, or raise WAREHOUSE__MEMORY_LIMIT"
)


class WorkerProcess:
    """A worker's process; it is started when it is needed, and again if it ended.

    Args:
        loader: The warehouse's file; no connection to it may be open.
        folder: A folder of its own, which is emptied.
        memory: DuckDB's memory limit.
        views: The names of the tables to read, by schema.
        limits: The limits of a query.
    """

    def __init__(
        self,
        *,
        loader: Path,
        folder: Path,
        memory: str,
        views: dict[str, list[str]],
        limits: Limits,
    ) -> None:
        self.database = folder / "built.duckdb"
        self._folder = folder
        self._errors = folder / "errors.txt"
        self._limits = limits
        self._settings = asdict(limits) | {
            "warehouse": str(loader.absolute()),
            "database": str(self.database.absolute()),
            "temporary": str((folder / "temporary").absolute()),
            "duckdb_memory": memory,
            "memory": limits.memory + _in_bytes(memory),
            "views": views,
        }
        self._process: subprocess.Popen[str] | None = None
        shutil.rmtree(folder, ignore_errors=True)
        make_private_folder(folder)

    def ask(self, **job: object) -> dict[str, Any]:
        """Have the worker do a job; return its answer.

        Raises:
            UserSqlFailed: If the user's SQL fails or ends the process.
            WarehouseError: If the process cannot be started.
        """
        if self._process is None:
            self._start()
        answer = self._send(job)
        if answer is None:
            raise UserSqlFailed(self._how_it_ended())
        if answer.get("timeout"):
            raise UserSqlFailed(too_long(self._limits.seconds))
        if "error" in answer:
            if answer["error"].startswith(_OUT_OF_MEMORY):
                self.stop()  # what is left of it would fail the next one
                raise UserSqlFailed(_TOO_LARGE)
            raise UserSqlFailed(answer["error"], answer.get("line"))
        return answer

    def stop(self) -> None:
        """End the worker's process; what it built remains in its database."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def remove(self) -> None:
        """End the worker's process, and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        """Start the worker's process.

        Raises:
            WarehouseError: If it does not start, or cannot read the warehouse.
        """
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - our own script
                # -P: else modules next to the script would hide those of others
                [sys.executable, "-P", str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                start_new_session=True,  # Ctrl-C in a terminal is for us only
            )
        answer = self._send(self._settings)
        if answer is None or "error" in answer:
            self.stop()
            message = answer["error"] if answer else self._errors.read_text(errors="replace")
            raise open_elsewhere(Exception(message)) or WarehouseError(
                f"the process that builds them did not start: {[*message.splitlines(), ''][-1]}"
            )

    def _send(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """Send a line to the worker's process; return its answer, or None if it ended."""
        process = self._process
        assert process is not None  # noqa: S101 - started
        assert process.stdin is not None  # noqa: S101 - a pipe
        assert process.stdout is not None  # noqa: S101 - a pipe
        line = ""
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line.endswith("\n"):
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _how_it_ended(self) -> str:
        """Return why the worker's process ended, for people."""
        assert self._process is not None  # noqa: S101 - started
        code = self._process.wait()
        with suppress(BrokenPipeError):
            self._process.communicate()
        self._process = None
        if code == -signal.SIGALRM:
            return too_long(self._limits.seconds)
        return f"its process ended with {code}; probably {_TOO_LARGE}"


def _in_bytes(memory: str) -> int:
    """Return a memory limit of DuckDB, such as 256MB, in bytes, for the worker's process."""
    number, unit = memory[:-2], memory[-2:]
    return int(number) * {"MB": 10**6, "GB": 10**9}[unit]
