"""A real pgbouncer in front of a Postgres server, on a free port of 127.0.0.1."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.postgres import free_port, unprivileged_user

_PATIENCE = 30.0  # seconds


@contextmanager
def pgbouncer(folder: Path, url: str, mode: str, size: int = 20) -> Iterator[str]:
    """Start a pgbouncer; gives the URL of the same database behind it.

    Args:
        folder: Where it keeps its files.
        url: The URL of the database.
        mode: Its ``pool_mode``: ``session``, ``transaction`` or ``statement``.
        size: The most connections to the server.
    """
    if not (program := shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")):
        pytest.skip("no pgbouncer: install it (Debian: pgbouncer) to run this test")
    server, port = urlsplit(url), free_port()
    folder.mkdir()
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": mode,
        "default_pool_size": size,
        "ignore_startup_parameters": "extra_float_digits,options",
    }
    lines = [
        "[databases]",
        f"* = host={server.hostname} port={server.port} user={server.username} "
        f"password={server.password}",
        "[pgbouncer]",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    file = folder / "pgbouncer.ini"
    file.write_text("\n".join(lines))
    file.chmod(0o644)
    # It refuses to run as root, and that user may not enter the folder of a test.
    with (
        file.open() as opened,
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [program, f"/dev/fd/{opened.fileno()}"], user=unprivileged_user(), cwd="/",
            pass_fds=[opened.fileno()], stdout=log, stderr=log,
        ) as process,
    ):  # fmt: skip
        try:
            _await(port, process, folder / "log")
            yield f"postgresql://postgres:postgres@127.0.0.1:{port}{server.path}"
        finally:
            process.terminate()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it listens."""
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"pgbouncer does not listen: {log.read_text()}")
