"""A process that has imported everything and opened nothing, so that it forks in milliseconds.

It reads requests from a socket until the socket is closed. For each it forks a child that looks
like a new process: it has its own environment, folder, standard files, signals and exit code.
Tests use it through `tests.support.processes`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.util
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from operator import attrgetter
from typing import Any

FILES = 3  # sent with each request: for standard output, standard error, and the exit code
# Everything that a command imports, early or late, so that no child has to.
_IMPORTS = (
    "adbc_driver_postgresql.dbapi", "dlt._workspace._plugins", "dlt._workspace.cli._plugins",
    "dlt.common.configuration.plugins", "dlt.common.libs.pyarrow",
    "dlt.common.libs.sql_alchemy_compat", "dlt.destinations.impl.duckdb.duck",
    "dlt.destinations.impl.postgres.postgres", "dlt.extract.extract", "dlt.load.load",
    "dlt.normalize.normalize", "dlt.sources.helpers.requests", "pendulum.locales.en.locale",
    "jinja2.ext", "pipelines.cli.app", "pipelines.cli.audit", "pipelines.cli.check",
    "pipelines.cli.config", "pipelines.cli.demo", "pipelines.cli.due", "pipelines.cli.labels",
    "pipelines.cli.marts", "pipelines.cli.move", "pipelines.cli.rebind",
    "pipelines.cli.render_changes", "pipelines.cli.report", "pipelines.cli.restore",
    "pipelines.cli.run", "pipelines.cli.sandbox", "pipelines.cli.status", "pipelines.cli.sync",
    "pipelines.writeback.actor",
    "pipelines.writeback.ledger_access", "pipelines.writeback.proposals",
    "pipelines.writeback.service", "psycopg2", "pyarrow.parquet", "pydantic.plugin._loader", "pytz",
    "rich._emoji_codes", "rich.markdown", "sqlalchemy.dialects.postgresql.psycopg2",
    "sqlalchemy.dialects.sqlite", "sqlite3", "typer._adapters", "typer.rich_utils", "tzdata",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a child runs, and in which surroundings.

    Args:
        function: The function, as ``module:qualname``.
        arguments: Its arguments.
        argv: The command line.
        environment: The whole environment.
        folder: The current folder.
    """

    function: str
    arguments: list[Any]
    argv: list[str]
    environment: dict[str, str]
    folder: str


class _NoPandas(MetaPathFinder):
    """Ends a search for pandas before it looks into every folder."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Find no module of this name."""
        if fullname == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=fullname)


def skip_search_for_pandas() -> None:
    """Let DuckDB know at once that pandas is not installed: it looks for it with each query.

    That takes a twentieth of a test's CPU time.
    """
    if importlib.util.find_spec("pandas") is None:
        sys.meta_path.insert(0, _NoPandas())


def serve(control: socket.socket) -> Request | None:
    """Fork a child for each request; return the request in the child, None when the server ends."""
    while True:
        head, files, _, _ = socket.recv_fds(control, 4, FILES)
        _reap()
        if not head:
            return None
        size = int.from_bytes(head, "big")
        request = Request(**json.loads(control.recv(size, socket.MSG_WAITALL)))
        with suppress(ImportError):  # the child reports it, not the server
            _imported((request.function.partition(":")[0],))
        if os.fork() == 0:
            control.close()
            _guard(*files)
            return request
        for file in files:
            os.close(file)


def _imported(modules: Iterable[str]) -> None:
    """Import missing modules, for this child and all later ones."""
    if new := [module for module in modules if module not in sys.modules]:
        for module in new:
            importlib.import_module(module)
        gc.collect()
        gc.freeze()  # so that a collection in a child does not copy every page


def _reap() -> None:
    """Wait for guards that have ended, so that their CPU time and their children's is counted."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _guard(out: int, err: int, end: int) -> None:
    """Return in a new child; in this process wait for it, and write its pid and its exit code."""
    if child := os.fork():
        os.close(out)
        os.close(err)
        with suppress(BrokenPipeError):  # the test process has died
            os.write(end, f"{child}\n".encode())
            _, status = os.waitpid(child, 0)
            os.write(end, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    os.close(end)
    for file, standard in ((out, 1), (err, 2)):
        os.dup2(file, standard)
        os.close(file)


def become(request: Request) -> None:
    """Make this process look like a new one that was started with this request."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    os.environ.clear()
    os.environ.update(request.environment)
    importlib.reload(sys.modules["pipelines"])  # importing it completes the environment
    os.chdir(request.folder)
    time.tzset()
    tempfile.tempdir = None
    sys.argv = request.argv


def found(function: str) -> Any:  # noqa: ANN401 - any function
    """The function with the name ``module:qualname``."""
    module, _, name = function.partition(":")
    return attrgetter(name)(importlib.import_module(module))


class _Exit:
    """The end of a child: all that the interpreter does at its exit, but freeing what it imported.

    Freeing it would copy every page that the child shares with the server: 0.1 CPU-seconds.
    """

    code: int | None = None

    def run(self, function: str, arguments: list[Any]) -> None:
        """Run a function, and note the exit code unless it ends with an error."""
        try:
            found(function)(*arguments)
        except SystemExit as ended:
            if ended.code is None or isinstance(ended.code, int):
                self.code = (ended.code or 0) & 0xFF
            raise
        self.code = 0

    def at_exit(self) -> None:
        """End the process, if all its output can be written."""
        if self.code is not None:
            with suppress(OSError, ValueError):  # the interpreter reports it
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(self.code)


def main() -> None:
    """Serve; in a child run the requested function."""
    end = _Exit()
    atexit.register(end.at_exit)  # the first one registered is called last
    control = socket.socket(fileno=int(sys.argv[1]))
    _imported(_IMPORTS)
    skip_search_for_pandas()
    found("tests.support.memory:remember_types")()
    found("tests.support.memory:write_yaml_in_c")()
    found("pipelines.cli.app:command")()  # which typer builds in 0.03 seconds
    # Importing duckdb opens a database in memory, whose thread would be missing in a child.
    importlib.import_module("duckdb").default_connection().close()
    # A terminal sends it to the whole group: the server ends with its socket, a child unblocks it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    if request := serve(control):
        become(request)
        end.run(request.function, request.arguments)
