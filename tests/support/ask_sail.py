"""Ask a Spark Connect server for sums by currency, of each table at its address and version.

It is a process of its own: the client of Spark starts threads, and warns of what it deprecates.
"""

from __future__ import annotations

import json
import sys
import time

from pyspark.sql.connect.session import SparkSession

_SUMS = "select currency, cast(sum(amount) as string) s from mart group by currency"


def connected(port: str) -> SparkSession:
    """A session of the server, once it has started."""
    for _ in range(60):
        try:
            session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
            session.sql("select 1").collect()
        except Exception:
            time.sleep(1)
        else:
            return session
    raise AssertionError("the Spark Connect server does not answer")


def main(port: str, asked: str) -> None:
    """Print the sums of each table at its version, as JSON."""
    spark = connected(port)
    found = {}
    for name, (address, version) in json.loads(asked).items():
        frame = spark.read.format("delta").option("versionAsOf", version).load(address)
        frame.createOrReplaceTempView("mart")
        found[name] = {row.currency: row.s for row in spark.sql(_SUMS).collect()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
