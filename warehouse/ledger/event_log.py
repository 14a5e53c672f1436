"""The ledger's events and their chain: each is added with its link, and nothing is altered."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import schema
from .chain import Link, RecordedEvent, next_link
from .change import Change, Status
from .rows import event_from_row, link_from_row, link_values


def add_event(
    connection: Connection,
    change: Change,
    *,
    at: datetime,
    before: Status | None,
    who: str,
    what: str,
    request_id: str | None = None,
    identified_by: str | None = None,
) -> None:
    """Add an event with its link to the ledger's log, in the open transaction.

    Args:
        connection: A connection that has locked the chain.
        change: The change, as its row is after the event.
        at: The current time, UTC.
        before: Its status before; None when it is proposed.
        who: The person or program that did it.
        what: What happened, in words.
        request_id: Kantata's id of the request; None if none was sent.
        identified_by: How the person was identified; None for a program.
    """
    values: dict[str, object] = {
        "change_id": change.change_id,
        "at": at.isoformat(),
        "status_before": before,
        "status_after": change.status,
        "who": who,
        "what": what,
        "request_id": request_id,
        "identified_by": identified_by,
    }
    if connection.dialect.name == "postgresql":
        values["db_user"] = sa.text("session_user")
    insert = schema.events.insert().values(values).returning(schema.events)
    event = event_from_row(connection.execute(insert).mappings().one())
    link = next_link(_last_link(connection), event, change.digest)
    connection.execute(schema.chain.insert().values(link_values(link)))


def lock_chain(connection: Connection) -> None:
    """Let only this transaction add to the log, so that each link follows the one before.

    A transaction on SQLite has the whole ledger to itself.
    """
    if connection.dialect.name == "postgresql":
        first, second = (str(key) for key in schema.PUSH_LOCK_KEY)
        connection.execute(sa.text(f"select pg_advisory_xact_lock({first}, {second} + 2)"))


def read_history(connection: Connection, change_id: str | None = None) -> list[RecordedEvent]:
    """Return the log's events of a change, or of all changes, in order, with what was proposed."""
    events, chain = schema.events, schema.chain
    query = (
        sa.select(events, chain.c.draft_digest)
        .select_from(events.outerjoin(chain, chain.c.number == events.c.number))
        .order_by(events.c.number)
    )
    if change_id is not None:
        query = query.where(events.c.change_id == change_id)
    return [
        RecordedEvent(event_from_row(row), row["draft_digest"])
        for row in connection.execute(query).mappings().all()
    ]


def read_links(connection: Connection) -> list[Link]:
    """Return all links of the log's chain, in order."""
    query = sa.select(schema.chain).order_by(schema.chain.c.number)
    return [link_from_row(row) for row in connection.execute(query).mappings().all()]


def _last_link(connection: Connection) -> Link | None:
    """Return the last link of the log's chain; None in a new ledger."""
    query = sa.select(schema.chain).order_by(schema.chain.c.number.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else link_from_row(row)
