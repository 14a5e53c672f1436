"""Build the marts on Spark, from the raw tables of a lake: ``python -m pipelines.ops.lake_job``.

It reads one published run, at the versions of its tables, and writes Delta tables of its own below
the same URL. The marts that the connector copied there stay as they are: they are what the result
is compared with.
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipelines.runtime.exit_codes import ExitCode
from warehouse.lake.spark_lake import (
    BUILT,
    LakeJobError,
    NotPublished,
    SparkLake,
    build_context,
    published_run,
)
from warehouse.models.spark_build import build_on_spark
from warehouse.words import counted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCHEMA = "spark_marts"
_PORT = 15002  # of Spark Connect
_TIMEOUT = 10.0  # seconds; Spark's client would try for ten minutes


class NoSpark(LakeJobError):
    """There is no Spark session: name another server, or install what it needs."""

    exit_code = ExitCode.MISCONFIGURED


class SparkUnavailable(LakeJobError):
    """The Spark server does not answer; it may later."""

    exit_code = ExitCode.TRY_LATER


def build_marts(
    spark: SparkSession, url: str, *, run_id: str | None = None, schema: str = SCHEMA
) -> dict[str, int]:
    """Build the marts of a published run from its raw tables; return the rows of each.

    Args:
        spark: A Spark session, of Spark Connect or local, that reads and writes Delta tables.
        url: The lake, as Spark addresses it.
        run_id: The published run; without it, the last one.
        schema: The folder below the URL to write to.

    Raises:
        LakeJobError: If there is no such run, or Spark fails, or a mart is not what was published.
    """
    _check_schema(schema)
    with _translated_errors(url):
        lake = SparkLake(spark, url.rstrip("/"), schema, published_run(spark, url, run_id))
        context = build_context(lake)
        lake.begin()
        build_on_spark(spark, lake, context)
        return lake.finish()


def _check_schema(schema: str) -> None:
    """Check that the marts go to a folder that the connector does not write.

    Raises:
        NotPublished: If they do not.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", schema) or schema.startswith("kantata"):
        raise NotPublished(
            f"{schema!r} cannot be the schema of marts built on Spark: it must have lowercase "
            "letters, digits and underscores, and not begin with kantata, which the connector "
            f"writes. Take {SCHEMA}"
        )


@contextmanager
def _translated_errors(url: str) -> Iterator[None]:
    """Raise an error of Spark in one line."""
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise LakeJobError(
            f"Spark failed on the lake in {url}: {first}. {BUILT} lists no mart there until the "
            "job has succeeded"
        ) from error


@contextmanager
def _session(remote: str | None) -> Iterator[SparkSession]:
    """Open a session of a Spark Connect server, or use the Spark that runs this process.

    Raises:
        NoSpark: If there is none.
        SparkUnavailable: If the server does not answer.
    """
    if remote is not None:
        _check_server(remote)
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise NoSpark(
            "pyspark is not installed. Run the job where Spark is, with spark-submit; or, in the "
            "folder of milestones: .venv/bin/pip install -c constraints.txt -e '.[spark]'"
        ) from None
    try:
        builder = SparkSession.builder
        spark = builder.remote(remote).create() if remote else builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise NoSpark(
            f"no Spark session: {first}. Name a Spark Connect server: --remote sc://host:{_PORT}"
        ) from None
    try:
        yield spark
    finally:
        if remote is not None:  # otherwise the server keeps it
            spark.stop()


def _check_server(remote: str) -> None:
    """Check that a server listens where the URL says.

    Raises:
        NoSpark: If it is no URL of Spark Connect.
        SparkUnavailable: If none does.
    """
    try:
        parts = urlsplit(remote)
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        host, port = None, _PORT
    if parts.scheme != "sc" or host is None:
        raise NoSpark(f"{remote!r} is no URL of Spark Connect: write sc://host:{_PORT}")
    try:
        socket.create_connection((host, port), _TIMEOUT).close()
    except OSError as error:
        raise SparkUnavailable(
            f"no Spark Connect server answers at {host}:{port}: {error.strerror or error}. Start "
            "it, or name another one with --remote"
        ) from None


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.ops.lake_job",
        description="Build the marts on Spark from the raw tables of a lake.",
    )
    parser.add_argument("url", help="the lake, as Spark addresses it: [lake] url of the connector")
    parser.add_argument(
        "--remote",
        metavar="URL",
        help=f"a Spark Connect server, sc://host:{_PORT}; without it, the Spark of this process",
    )
    parser.add_argument("--run", metavar="ID", help="the published run; default: the last one")
    parser.add_argument(
        "--schema", default=SCHEMA, help=f"the folder below the lake to write to; default: {SCHEMA}"
    )
    return parser.parse_args(words)


def _address(url: str) -> str:
    """Return the lake's URL; that of a folder of this machine does not depend on this process."""
    return url.rstrip("/") if "://" in url else str(Path(url).absolute())


def main(words: Sequence[str] | None = None) -> int:
    """Run the job from the command line; return its exit code."""
    arguments = _arguments(words)
    url, schema = _address(arguments.url), arguments.schema
    try:
        with _session(arguments.remote) as spark:
            built = build_marts(spark, url, run_id=arguments.run, schema=schema)
    except LakeJobError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    rows = counted(sum(built.values()), "row")
    print(f"Built {counted(len(built), 'mart')} with {rows} in {url}/{schema}.")
    return int(ExitCode.DONE)


if __name__ == "__main__":
    sys.exit(main())
