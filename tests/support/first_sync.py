"""Warehouses after a first sync: a real sync makes each one once per run; later tests copy it.

The visible records of the account, the settings and the hour decide which copy a test gets. So no
copy is older than an hour, or from another day.
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
    """The name of the copy."""
    settings = {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}
    inputs = [warehouse, account.clock.now() // 3_600, settings, account.user]
    inputs += [account.extra_maps, sorted(account.hidden), account_tables(account)]
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return f"synced_{warehouse}_{digest[:16]}"


def duckdb_synced(account: Account, sync: Sync) -> None:
    """Provide the warehouse in this folder: copy it if a copy exists, else run this sync."""
    with one_at_a_time(name_of(account, "duckdb")) as kept:
        if kept.exists():
            shutil.copytree(kept, ".", dirs_exist_ok=True)
            return
        sync()
        _keep(kept, _FOLDER, _PUBLISHED)


def postgres_synced(account: Account, url: str, sync: Sync) -> None:
    """Provide the warehouse in this database: copy it if a copy exists, else run this sync."""
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
    """Keep a copy of the files of a sync."""
    made = kept.with_name(f"{kept.name}.part")
    shutil.copytree(folder, made / folder)
    for file in files:
        shutil.copy(file, made)
    made.rename(kept)
