"""The URL of a ledger: a SQLite file or a Postgres database.

Here is nothing of SQLAlchemy, whose import takes as long as a sync that finds no change.
"""

from __future__ import annotations

import re
from pathlib import Path

from warehouse.errors import WarehouseMisconfigured
from warehouse.postgres_url import postgres_parameters

SQLITE_FORM = "sqlite:///path/to/ledger.sqlite or "
_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///(?P<file>[^?]+)(?:\?.*)?")


def is_sqlite(url: str) -> bool:
    """Return whether the URL of a ledger is that of a SQLite file."""
    return url.startswith("sqlite")


def check_ledger_url(url: str) -> str:
    """Return the URL of a ledger's database unchanged if it is valid.

    Raises:
        WarehouseMisconfigured: If it is not the URL of a SQLite file or of a Postgres database.
    """
    if is_sqlite(url):
        sqlite_file(url)
    else:
        postgres_parameters(url, "LEDGER__URL", other_form=SQLITE_FORM)
    return url


def sqlite_file(url: str) -> Path:
    """Return the file that a ledger's SQLite URL names.

    Raises:
        WarehouseMisconfigured: If it names none.
    """
    found = _SQLITE.fullmatch(url)
    if found is None or found["file"] == ":memory:" or found["file"].startswith("file:"):
        raise WarehouseMisconfigured(
            "LEDGER__URL must name a file: sqlite:///path/to/ledger.sqlite"
        )
    return Path(found["file"])


def missing_ledger_message(url: str) -> str:
    """Return why a ledger's database does not exist yet; empty if it does, or for Postgres."""
    if not is_sqlite(url):
        return ""
    file = sqlite_file(url)
    if file.exists():
        return ""
    return f"there is no ledger at {file} yet: the first proposal or close creates it"
