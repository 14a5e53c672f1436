"""The snapshot: what users, stored data and other machines depend on, as JSON files.

``PARTS`` has a function for each file of ``snapshot/``. Each gets a ``Lived``: the results of a
life on DuckDB and of one on Postgres.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.surface import internals
from tests.surface.command_line import commands
from tests.surface.life import LOADER_FILE, Life, begun, live, move, run_the_rest
from tests.surface.shapes import chosen, shape
from tests.surface.tables import (
    Query,
    duckdb_file,
    postgres,
    postgres_objects,
    sqlite_statements,
    warehouse_tables,
)

FOLDER = Path(__file__).parent / "snapshot"
ROOT = Path(__file__).parents[2]
_SETTING = re.compile(r"\b(?:[A-Z]+__[A-Z_]*[A-Z]|KANTATA_[A-Z_]*[A-Z])\b")
_AIRFLOW = re.compile(r'"(kantata(?:_write)?|milestones_[a-z]+)"')
_RUN_FIELDS = ("totals", "side_rows", "schema_changes", "warnings")


@dataclass(frozen=True)
class Lived:
    """The results of two lives.

    Args:
        life: The one on DuckDB, with what its commands printed.
        files: The names of the files it left.
        parts: Values that were read during the lives, by name.
    """

    life: Life
    files: list[str]
    parts: dict[str, Any]


def lived(folder: Path, postgres_url: str, empty_url: str) -> Lived:
    """Run a life on DuckDB, move it to Postgres, and run a short life on another Postgres database.

    Args:
        folder: An empty folder.
        postgres_url: An empty database.
        empty_url: Another one, to move to.
    """
    parts: dict[str, Any] = {}
    duck, other = folder / "duckdb", folder / "postgres"
    duck.mkdir()
    other.mkdir()
    with begun("duckdb", duck, postgres=empty_url) as life:
        live(life)
        run_the_rest(life)
        parts |= _duckdb_parts(life)
        move(life)
        files = sorted(str(path.relative_to(duck)) for path in duck.rglob("*") if path.is_file())
    with postgres(empty_url) as query:
        parts["moved"] = {"tables": warehouse_tables(query), **postgres_objects(query)}
    with begun("postgres", other, postgres=postgres_url) as short:
        short.json("sync")
        with postgres(postgres_url) as query:
            parts["locks"] = internals.locks_on_postgres(lambda: query(_LOCKS))
            parts["postgres"] = {"tables": warehouse_tables(query), **postgres_objects(query)}
    return Lived(life, files, parts)


_LOCKS = (
    "select classid::bigint, objid::bigint, objsubid, mode from pg_locks "
    "where locktype = 'advisory' and granted "
    "and database = (select oid from pg_database where datname = current_database()) order by 1, 2"
)


def _duckdb_parts(life: Life) -> dict[str, Any]:
    with duckdb_file(Path(LOADER_FILE)) as query:
        runs = query(f"select {', '.join(_RUN_FIELDS)} from kantata.sync_runs order by run_id")
        ids = {id_ for (id_,) in query("select distinct row_hash from kantata.billing_milestones")}
        return {
            "duckdb": warehouse_tables(query),
            "sqlite": sqlite_statements(Path(".milestones/ledger.sqlite")),
            "runs": {n: [json.loads(row[i]) for row in runs] for i, n in enumerate(_RUN_FIELDS)},
            "stored": _stored(query),
            "schema": sorted(
                {name for (name,) in query("select schema_name from kantata._dlt_loads")}
            ),
            "row hashes": internals.digest_of(sorted(ids)),
            "alerts": {
                path.name: json.loads(path.read_text())
                for path in sorted(Path(".milestones").glob("alerts-*.json"))
            },
            "reference": _reference(life),
            "lock": json.loads(Path(".milestones/loader.lock").read_text()),
        }


def _stored(query: Query) -> dict[str, list[object]]:
    """The values of columns with a fixed set of values."""
    columns = query(
        "select table_schema || '.' || table_name, column_name from information_schema.columns "
        "where (column_name in ('mode', 'action') or column_name like '%status%' or column_name "
        "like '%_type') and data_type = 'VARCHAR' and table_schema in ('kantata', 'kantata_marts') "
        "and table_name not in ('workspaces', 'stories', 'invoices') order by 1, 2"
    )
    return {
        f"{table}.{column}": [
            v for (v,) in query(f"select distinct {column} from {table} order by 1")
        ]
        for table, column in columns
    }


def _reference(life: Life) -> dict[str, object]:
    """The external reference that a create stored in the account."""
    sent = [
        record
        for record in life.account.external_references.values()
        if record["service_model_ref"] == life.ids["created"]
    ]
    (record,) = sent
    names = ("service_name", "service_model", "service_model_ref")
    found: dict[str, object] = {name: record[name] for name in names}
    return found | {"service_model_ref": "the change's id"}


def _commands(_: Lived) -> object:
    return commands()


def _settings(_: Lived) -> object:
    files = [*(ROOT / ".dlt").glob("*.toml"), *ROOT.glob("*.md")]
    files += [
        p for folder in ("pipelines", "sources", "warehouse") for p in (ROOT / folder).rglob("*.md")
    ]
    named = {name for file in files for name in _SETTING.findall(file.read_text())}
    dag = (ROOT / "pipelines" / "airflow_dag.py").read_text()
    return internals.settings() | {
        "files": {
            name: tomllib.loads((ROOT / ".dlt" / name).read_text())
            for name in ("config.toml", "example.secrets.toml")
        },
        "in the documents": sorted(named),
        "variables and connections of Airflow": sorted(set(_AIRFLOW.findall(dag))),
    }


def _fixed(lived: Lived) -> object:
    return {
        "exit codes": internals.exit_codes(),
        "values": internals.values(),
        "values that were stored": lived.parts["stored"],
        "versions": internals.versions(),
        "digests": internals.digests(),
        "row hashes of the story's milestones": lived.parts["row hashes"],
        "external reference of a create": lived.parts["reference"],
        "names for dlt": internals.names_for_dlt(),
        "schema in _dlt_loads": lived.parts["schema"],
        "locks on Postgres": lived.parts["locks"],
        "what a lock's file holds": shape([lived.parts["lock"]]),
        "files": [
            n for n in lived.files if "-working/" not in n and not n.endswith(("-shm", "-wal"))
        ],
    }


def _json(lived: Lived) -> object:
    answers, lines = lived.life.answers, lived.life.log
    events = sorted({line["event"] for line in lines})
    return {
        "commands": {
            name: {"shape": shape(values), "values": chosen(values)}
            for name, values in sorted(answers.items())
        },
        "events of the log": {
            event: {
                "shape": shape(chosen_lines := [n for n in lines if n["event"] == event]),
                "values": chosen(chosen_lines),
            }
            for event in events
        },
        "alert state": {
            name: {"shape": shape([value]), "values": chosen(value)}
            for name, value in lived.parts["alerts"].items()
        },
        "JSON in sync_runs": {n: shape(values) for n, values in lived.parts["runs"].items()},
    }


def _tables(lived: Lived) -> object:
    return {
        "DuckDB": lived.parts["duckdb"],
        "ledger on SQLite": lived.parts["sqlite"],
        "Postgres": lived.parts["postgres"],
        "Postgres, where it is another one after `move`": _other(
            lived.parts["postgres"], lived.parts["moved"]
        ),
    }


def _other(one: dict[str, dict[str, Any]], two: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"{kind} {name}"
        for kind in one
        for name in sorted(one[kind].keys() | two[kind].keys())
        if one[kind].get(name) != two[kind].get(name)
    ]


PARTS: dict[str, Callable[[Lived], object]] = {
    "commands": _commands,
    "settings": _settings,
    "fixed": _fixed,
    "json": _json,
    "tables": _tables,
}


def written(value: object) -> str:
    """The text of a part's file."""
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
