"""Spark Connect servers: Sail on one process or as a cluster, and Spark itself on a JVM."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPARK_FOLDER = Path(__file__).parents[2] / ".venv-spark-server"
_START = 120  # seconds
# A stage of a mart needs up to 12 slots at once, so one worker is too small, and two are not.
SLOTS = 8


@dataclass(frozen=True)
class Server:
    """A running server.

    Args:
        remote: Its URL of Spark Connect.
        pid: Its process.
        log: What it logged.
    """

    remote: str
    pid: int
    log: Path


@contextmanager
def sail(folder: Path, *, workers: int = 0, slots: int = SLOTS) -> Iterator[Server]:
    """Run Sail: alone, or as a local cluster of some workers with some slots for tasks each."""
    settings = {"RUST_LOG": "warn,sail_execution::driver::server=debug"}
    if workers:
        settings |= {
            "SAIL_MODE": "local-cluster",
            "SAIL_CLUSTER__WORKER_INITIAL_COUNT": str(workers),
            "SAIL_CLUSTER__WORKER_MAX_COUNT": str(workers),
            "SAIL_CLUSTER__WORKER_TASK_SLOTS": str(slots),
            "SAIL_EXECUTION__DEFAULT_PARALLELISM": "4",
        }
    port = _free_port()
    command = [str(Path(sys.executable).with_name("sail")), "spark", "server", "--port", str(port)]
    with _running(command, settings, port, folder) as server:
        yield server


@contextmanager
def spark(folder: Path) -> Iterator[Server]:
    """Run Spark on a JVM; it reads no Delta tables, whose jar comes from elsewhere."""
    (home,) = SPARK_FOLDER.glob("lib/python3*/site-packages/pyspark")
    port = _free_port()
    conf = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": 2,
        "spark.sql.warehouse.dir": folder / "warehouse",
    }
    command = [
        str(home / "bin" / "spark-submit"), "--master", "local[2]", "--driver-memory", "2g",
        "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
        *(word for name, value in conf.items() for word in ("--conf", f"{name}={value}")),
        "spark-internal",
    ]  # fmt: skip
    settings = {"SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable}
    with _running(command, settings, port, folder) as server:
        yield server


@contextmanager
def session(server: Server) -> Iterator[Any]:
    """Open a session of a server; Python would wait ten minutes for one that is left open."""
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.remote(server.remote).create()
    try:
        yield spark
    finally:
        spark.stop()


def why_no_spark() -> str:
    """Why Spark itself cannot run here; empty if it can."""
    if shutil.which("java") is None:
        return "there is no Java"
    return "" if SPARK_FOLDER.is_dir() else "make test-spark installs Spark if there is Java"


@contextmanager
def _running(
    command: list[str], settings: Mapping[str, str], port: int, folder: Path
) -> Iterator[Server]:
    """Run a server until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=os.environ | settings, cwd=folder, stdout=output, stderr=output
        ) as process,
    ):
        try:
            _wait_for(process, port, log)
            yield Server(f"sc://127.0.0.1:{port}", process.pid, log)
        finally:
            process.terminate()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a server listens."""
    until = time.monotonic() + _START
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"no Spark Connect server: {log.read_text()[-2000:]}")


def _free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
