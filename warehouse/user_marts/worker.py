"""The process that runs users' SQL on DuckDB. It is started as a script, and imports only DuckDB.

It has a database of its own, in which the marts are views of the warehouse's file, opened
read-only. It cannot open another file or connect anywhere, and it ends if it takes too much memory
or time, or if its parent ends. It reads a job as JSON from each line of its input, and answers it
with a line of JSON.
"""

from __future__ import annotations

import json
import os
import queue
import re
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread, Timer
from typing import Any

import duckdb

_GRACE = 5  # seconds in which a query must react to an interrupt
_ROWS_SHOWN = 10
_SCHEMAS = ("kantata_marts", "kantata_user")
# What makes rows without reading any. query() reads every table, and read_text() files.
_TABLE_FUNCTIONS = ("range", "generate_series", "unnest", "json_each", "json_tree", "repeat")
_ONE_SELECT = "it must be a single select"
_LINE = re.compile(r"^LINE (\d+):", re.MULTILINE)
Answer = dict[str, Any]


class _Refused(Exception):
    """A user's SQL may not be run, and why."""


class Worker:
    """Runs users' SQL in a database of its own.

    Args:
        settings: The paths ``warehouse``, ``database`` and ``temporary``; the limits ``seconds``,
            ``disk``, ``rows`` and ``duckdb_memory``; ``views``, the names of tables by schema.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._seconds = int(settings["seconds"])
        self._rows = int(settings["rows"])
        config = {
            "memory_limit": settings["duckdb_memory"],
            "temp_directory": settings["temporary"],
            "max_temp_directory_size": f"{settings['disk']}B",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }
        self._connection = duckdb.connect(settings["database"], config=config)
        file = settings["warehouse"].replace("'", "''")
        self._connection.execute(f"attach '{file}' as warehouse (read_only)")
        for schema in _SCHEMAS:
            self._connection.execute(f"create schema if not exists {schema}")
            for name in settings["views"].get(schema, ()):
                self._show(schema, name)
        # Last: nothing above could be done after it.
        self._connection.execute(
            "set timezone = 'UTC'; set enable_external_access = false; "
            "set lock_configuration = true"
        )

    def _show(self, schema: str, name: str) -> None:
        """Show a table of the warehouse in the worker's database, unless that has its own."""
        self._connection.execute(
            f"create view if not exists {schema}.{_quoted(name)} as "
            f"select * from warehouse.{schema}.{_quoted(name)}"
        )

    def build(self, job: dict[str, Any]) -> Answer:
        """Build the table of a user's mart in the worker's database."""
        table = f"kantata_user.{_quoted(job['name'])}"
        self._define(job["sql"])
        self._forget(job["name"])
        self._run(f"create table {table} as select * from main.query limit {self._rows + 1}")
        columns = [row[0] for row in self._run(f"describe {table}")]
        return {"rows": self._run(f"select count(*) from {table}")[0][0], "columns": columns}

    def check(self, job: dict[str, Any]) -> Answer:
        """Run a user's check; return the number of wrong rows, and the first of them as text."""
        self._define(job["sql"])
        count = self._run("select count(*) from main.query")[0][0]
        rows = self._run(f"select * from main.query wrong order by wrong::text limit {_ROWS_SHOWN}")
        names = [column[0] for column in self._connection.description or ()]
        shown = [{name: str(value) for name, value in zip(names, row, strict=True)} for row in rows]
        return {"count": count, "rows": shown}

    def revert(self, job: dict[str, Any]) -> Answer:
        """Show the last rows of a user's mart again, as if the worker had not built it."""
        self._forget(job["name"])
        if job["has_rows"]:
            self._show("kantata_user", job["name"])
        return {}

    def _forget(self, name: str) -> None:
        """Drop what the worker's database has under the name of a user's mart."""
        kinds = self._run(
            "select table_type from information_schema.tables where table_catalog = "
            "current_database() and table_schema = 'kantata_user' and table_name = ?",
            [name],
        )
        for (kind,) in kinds:
            what = "view" if kind == "VIEW" else "table"
            self._run(f"drop {what} kantata_user.{_quoted(name)}")

    def _define(self, sql: str) -> None:
        """Define the view that a user's SQL is run by, if it may be run."""
        self._check(sql)
        statement = f"create or replace view main.query as {sql}"
        if len(self._connection.extract_statements(statement)) != 1:
            raise _Refused(_ONE_SELECT)
        self._run(statement)

    def _check(self, sql: str) -> None:
        """Refuse a user's SQL that is no single select, or reads what it may not."""
        kinds = [statement.type for statement in self._connection.extract_statements(sql)]
        if kinds != [duckdb.StatementType.SELECT]:
            raise _Refused(_ONE_SELECT)
        ((text,),) = self._run("select json_serialize_sql(?::varchar)", [sql])
        parsed = json.loads(text)
        if parsed["error"] or len(parsed["statements"]) != 1:
            raise _Refused(parsed.get("error_message", _ONE_SELECT))
        nodes = list(_nodes(parsed["statements"]))
        defined = {node["key"].lower() for node in nodes if isinstance(node.get("key"), str)}
        defined |= {str(node["cte_name"]).lower() for node in nodes if "cte_name" in node}
        for node in nodes:
            if refusal := _refusal(node, defined):
                raise _Refused(refusal)

    def _run(self, sql: str, values: list[object] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement of the worker within the limit of time."""
        with _limited(self._connection, self._seconds):
            return self._connection.execute(sql, values).fetchall()


def _nodes(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Yield every node of a parsed query, for the worker's check."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _nodes(part)


def _refusal(node: dict[str, Any], defined: set[str]) -> str | None:
    """Return why the worker refuses a query with this node; None if it does not."""
    kind = node.get("type")
    if kind == "BASE_TABLE":
        schema, table = node["schema_name"].lower(), node["table_name"]
        if not schema and not node["catalog_name"] and table.lower() in defined:
            return None
        if schema not in _SCHEMAS or node["catalog_name"]:
            name = ".".join(filter(None, (node["catalog_name"], node["schema_name"], table)))
            return f"it reads {name}: a mart may read kantata_marts and kantata_user only"
    if kind == "TABLE_FUNCTION":
        name = node["function"]["function_name"]
        if name.lower() not in _TABLE_FUNCTIONS or node["function"].get("schema"):
            return f"it reads {name}(): a mart may read kantata_marts and kantata_user only"
    return _ONE_SELECT if kind == "SHOW_REF" else None


@contextmanager
def _limited(connection: duckdb.DuckDBPyConnection, seconds: int) -> Iterator[None]:
    """Interrupt the worker's query after some seconds; end the process if that has no effect."""
    timer = Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    signal.alarm(seconds + _GRACE)  # nothing handles it, so the system ends the process
    try:
        yield
    finally:
        signal.alarm(0)
        timer.cancel()


def _quoted(name: str) -> str:
    """Return a name as an SQL identifier, for the worker's statements."""
    return '"' + name.replace('"', '""') + '"'


def _answer(worker: Worker, job: dict[str, Any]) -> Answer:
    """Return the worker's answer to a job: its result, or what is wrong and in which line."""
    try:
        operation = {"build": worker.build, "check": worker.check, "revert": worker.revert}
        return operation[job["do"]](job)
    except _Refused as refused:
        return {"error": str(refused)}
    except duckdb.InterruptException:
        return {"timeout": True}
    except duckdb.Error as error:
        message = str(error)
        line = _LINE.search(message)
        return {
            "error": message.strip().split("\n")[0][:300].rstrip(".!"),
            "line": int(line[1]) if line else None,
        }


def _read_jobs(jobs: queue.Queue[dict[str, Any]]) -> None:
    """Put the worker's jobs into a queue; exit when there are no more, or the parent ended."""
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


def main() -> None:
    """Run a worker: the first line of the input has its settings, each further one a job."""
    settings = json.loads(sys.stdin.readline())
    for kind, limit in ((resource.RLIMIT_DATA, "memory"), (resource.RLIMIT_FSIZE, "disk")):
        most = resource.getrlimit(kind)[1]
        value = settings[limit] if most == resource.RLIM_INFINITY else min(settings[limit], most)
        resource.setrlimit(kind, (value, value))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    try:
        worker = Worker(settings)
    except duckdb.Error as error:
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(1)
    print(json.dumps({}), flush=True)
    while True:
        print(json.dumps(_answer(worker, jobs.get())), flush=True)


if __name__ == "__main__":
    main()
