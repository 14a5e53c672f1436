"""Warehouses and ledgers that the release before this one wrote, with what it said of them."""

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
from tests.surface.tables import Ask, contents, duckdb_file, postgres

FOLDER = Path(__file__).parent / "written_before"
DUMP = "postgres.sql"
# What psql or a later server alone understands.
_NOT_SQL = ("\\restrict", "\\unrestrict", "SET transaction_timeout")
_RAW = (
    "billing_milestones", "billing_milestone_versions", "billing_milestone_invoices", "workspaces",
    "stories", "invoices", "external_references", "currencies", "rejected_records", "sync_runs",
)  # fmt: skip


@contextmanager
def warehouse(life: Life) -> Iterator[Ask]:
    """The warehouse of a life, to be asked."""
    if life.destination == "duckdb":
        with duckdb_file(Path(LOADER_FILE)) as ask:
            yield ask
        return
    with postgres(os.environ["DESTINATION__POSTGRES__CREDENTIALS"]) as ask:
        yield ask


def columns(ask: Ask) -> dict[str, list[str]]:
    """The columns of the raw tables and the marts, but for what dlt writes into them."""
    named = ", ".join(repr(name) for name in _RAW)
    found: dict[str, list[str]] = {}
    for schema, table, column in ask(
        "select table_schema, table_name, column_name from information_schema.columns where "
        f"(table_schema = 'kantata_marts' or table_schema = 'kantata' and table_name in ({named})) "
        "and column_name not like '\\_dlt%' escape '\\' order by 1, 2, ordinal_position"
    ):
        found.setdefault(f"{schema}.{table}", []).append(column)
    return found


def said(life: Life) -> dict[str, Any]:
    """What commands and the database say of a warehouse and its ledger."""
    changes = life.json("changes", "--all")
    with warehouse(life) as ask:
        names = columns(ask)
        rows = contents(ask, names)
    return {
        "status": life.json("status"),
        "changes": changes,
        "events": {c["change_id"]: life.json("audit", c["change_id"]) for c in changes},
        "ids": life.ids,
        "columns": names,
        "rows": rows,
    }


def write(life: Life) -> None:
    """Keep the files of a life, and what is said of them."""
    keep(f"{life.destination}.said.json", json.dumps(said(life), ensure_ascii=False).encode())
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
    """A file that was kept."""
    return gzip.decompress((FOLDER / f"{name}.gz").read_bytes())


def _dump(url: str) -> str:
    command = [str(binaries() / "pg_dump"), "--inserts", "--no-owner", "--no-privileges", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return "".join(n for n in text.splitlines(keepends=True) if not n.startswith(_NOT_SQL))


def restore(destination: str, folder: Path, url: str) -> dict[str, Any]:
    """Put back what was written for a destination; gives what was said of it.

    Args:
        destination: ``duckdb`` or ``postgres``.
        folder: Where the files go.
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


def account_of(kept: dict[str, Any]) -> Account:
    """The account that was read, as it was at the end."""
    account, changes = story.new_account(), kept["changes"]
    by_name = {name: change for name, id_ in kept["ids"].items() for change in changes
               if change["change_id"] == id_}  # fmt: skip
    story.first_hour(account)
    milestone = {name: change["milestone_id"] for name, change in by_name.items()}
    story.edit_meanwhile(account, milestone["conflict"], milestone["no-op"])
    story.repeat_writes(account, changes)
    account.advance(story.AFTER_THE_PUSH)
    return account
