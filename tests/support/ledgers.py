"""A ledger of each kind, and changes to put into it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg2

from warehouse.ledger.change import Action, Draft
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.store import Ledger


@dataclass
class Kind:
    """One kind of ledger."""

    url: str
    schema: str

    @contextmanager
    def open(self) -> Iterator[Ledger]:
        """Open it."""
        with connect_ledger(self.url, lambda: datetime.now(UTC)) as ledger:
            yield ledger

    def sql(self, statement: str) -> list[Any]:
        """Run a statement behind the ledger's back."""
        statement = statement.format(schema=self.schema)
        connection: Any
        if self.schema:
            connection = psycopg2.connect(self.url)
        else:
            connection = sqlite3.connect(self.url.removeprefix("sqlite:///"))
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = list(cursor.fetchall()) if cursor.description else []
            connection.commit()
            return rows
        finally:
            connection.close()


def draft(id_: str = "7", **fields: Any) -> Draft:  # noqa: ANN401 - fields of Draft
    """An update."""
    before = {"title": "was", "amount_in_cents": 1, "workspace_id": "3"}
    made = Draft(Action.UPDATE, id_, "3", "USD", {"title": "is"}, before, "because", "ann")
    return replace(made, **fields)


def create(**fields: Any) -> Draft:  # noqa: ANN401 - fields of Draft
    """A create."""
    after = {"workspace_id": "3", "title": "new", "amount_in_cents": 5}
    return draft(action=Action.CREATE, milestone_id=None, after=after, before={}, **fields)
