"""Warehouses and ledgers that an earlier release wrote, with the output of its commands."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from sources.kantata_sandbox import Account
from tests.support.postgres import binaries
from tests.surface import story
from tests.surface.life import LOADER_FILE, Life
from tests.surface.tables import Query, contents, duckdb_file, postgres

FOLDER = Path(__file__).parent / "written_before"
DUMP = "postgres.sql"
# Lines that only psql or a later server understands.
_NOT_SQL = ("\\restrict", "\\unrestrict", "SET transaction_timeout")
_RAW = (
    "billing_milestones", "billing_milestone_versions", "billing_milestone_invoices", "workspaces",
    "stories", "invoices", "external_references", "currencies", "rejected_records", "sync_runs",
)  # fmt: skip


@contextmanager
def warehouse(life: Life) -> Iterator[Query]:
    """Open the warehouse of a life for queries."""
    if life.destination == "duckdb":
        with duckdb_file(Path(LOADER_FILE)) as query:
            yield query
        return
    with postgres(os.environ["DESTINATION__POSTGRES__CREDENTIALS"]) as query:
        yield query


def columns(query: Query) -> dict[str, list[str]]:
    """The columns of the raw tables and the marts, except dlt's own."""
    named = ", ".join(repr(name) for name in _RAW)
    found: dict[str, list[str]] = {}
    for schema, table, column in query(
        "select table_schema, table_name, column_name from information_schema.columns where "
        f"(table_schema = 'kantata_marts' or table_schema = 'kantata' and table_name in ({named})) "
        "and column_name not like '\\_dlt%' escape '\\' order by 1, 2, ordinal_position"
    ):
        found.setdefault(f"{schema}.{table}", []).append(column)
    return found


def output_of(life: Life) -> dict[str, Any]:
    """The output of commands, and the rows, of a warehouse and its ledger."""
    changes = life.json("changes", "--all")
    with warehouse(life) as query:
        names = columns(query)
        rows = contents(query, names)
    return {
        "status": life.json("status"),
        "changes": changes,
        "events": {c["change_id"]: life.json("audit", c["change_id"]) for c in changes},
        "ids": life.ids,
        "columns": names,
        "rows": rows,
    }


def write(life: Life) -> None:
    """Keep the files of a life, and the output of its commands."""
    keep(f"{life.destination}.said.json", json.dumps(output_of(life), ensure_ascii=False).encode())
    if life.destination == "postgres":
        keep(DUMP, _dump(os.environ["DESTINATION__POSTGRES__CREDENTIALS"]).encode())
        return
    for name in (LOADER_FILE, ".milestones/ledger.sqlite", ".milestones/alerts-duckdb-sync.json"):
        assert not list(Path(".milestones").glob("*wal")), "something is not in the files"
        keep(Path(name).name, Path(name).read_bytes())


def keep(name: str, content: bytes) -> None:
    """Write a file, compressed."""
    (FOLDER / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))


def read(name: str) -> bytes:
    """Read a file that was kept."""
    return gzip.decompress((FOLDER / f"{name}.gz").read_bytes())


def _dump(url: str) -> str:
    command = [str(binaries() / "pg_dump"), "--inserts", "--no-owner", "--no-privileges", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return "".join(n for n in text.splitlines(keepends=True) if not n.startswith(_NOT_SQL))


def restore(destination: str, folder: Path, url: str) -> dict[str, Any]:
    """Restore the files of a destination; return the output that was kept with them.

    Args:
        destination: ``duckdb`` or ``postgres``.
        folder: The folder to write to.
        url: An empty Postgres database.
    """
    if destination == "postgres":
        with (
            closing(psycopg2.connect(url)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(read(DUMP).decode())
    else:
        (folder / ".milestones").mkdir()
        for file in (name.stem for name in FOLDER.glob("*.gz")):
            if file.startswith(("loader", "ledger", "alerts-duckdb")):
                (folder / ".milestones" / file).write_bytes(read(file))
    found: dict[str, Any] = json.loads(read(f"{destination}.said.json"))
    return found


def _set_account_id(account: Account, id_: int) -> None:
    account.account_id = account.feed.account_id = account.user["account_id"] = id_
    for workspace in account.workspaces.values():
        workspace["account_id"] = id_


def account_of(kept: dict[str, Any]) -> Account:
    """Make the account again, as it was at the end."""
    account, changes = story.new_account(), kept["changes"]
    _set_account_id(account, 4711)  # all accounts had this id then
    by_name = {name: change for name, id_ in kept["ids"].items() for change in changes
               if change["change_id"] == id_}  # fmt: skip
    story.first_hour(account)
    milestone = {name: change["milestone_id"] for name, change in by_name.items()}
    story.edit_meanwhile(account, milestone["conflict"], milestone["no-op"])
    story.repeat_writes(account, changes)
    account.advance(story.AFTER_THE_PUSH)
    return account
