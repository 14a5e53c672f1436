"""Warehouses as a first sync leaves them: each is made once a run by a real one, then copied.

Which one a test needs is decided by what can be seen of the account, by the settings and by the
hour: a copy is never older than that, nor from another day.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from sources.kantata_sandbox import Account
from tests.support.postgres import copy_database
from tests.support.run_folder import one_at_a_time
from tests.support.visible import account_tables

_SETTINGS = ("SOURCES__", "WAREHOUSE__")
_FOLDER, _PUBLISHED = Path(".milestones"), Path("milestones.duckdb")
Sync = Callable[[], object]


def name_of(account: Account, warehouse: str) -> str:
    """What the copy is called."""
    settings = {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}
    seen = [warehouse, account.clock.now() // 3_600, settings, account.user]
    seen += [account.extra_maps, sorted(account.hidden), account_tables(account)]
    digest = hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()
    return f"synced_{warehouse}_{digest[:16]}"


def duckdb_synced(account: Account, sync: Sync) -> None:
    """Have the warehouse in this folder: a copy if there is one, else by this sync."""
    with one_at_a_time(name_of(account, "duckdb")) as kept:
        if kept.exists():
            shutil.copytree(kept, ".", dirs_exist_ok=True)
            return
        sync()
        _keep(kept, _FOLDER, _PUBLISHED)


def postgres_synced(account: Account, url: str, sync: Sync) -> None:
    """Have the warehouse in this database: a copy if there is one, else by this sync."""
    name = name_of(account, "postgres")
    server, _, database = url.rpartition("/")
    with one_at_a_time(name) as kept:
        if kept.exists():
            shutil.copytree(kept, ".", dirs_exist_ok=True)
            copy_database(f"{server}/postgres", name, database)
            return
        sync()
        copy_database(f"{server}/postgres", database, name)
        _keep(kept, _FOLDER)


def _keep(kept: Path, folder: Path, *files: Path) -> None:
    """Copy what a sync left."""
    made = kept.with_name(f"{kept.name}.part")
    shutil.copytree(folder, made / folder)
    for file in files:
        shutil.copy(file, made)
    made.rename(kept)
