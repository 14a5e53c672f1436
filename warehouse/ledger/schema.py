"""The ledger's tables, the triggers that protect them, and migrations of older ledgers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from warehouse.errors import WarehouseMisconfigured

from .chain import anchor
from .change import OPEN, Status
from .engine import ledger_damaged
from .rows import event_from_row, link_values
from .triggers import SCHEMA, TRIGGERS, create_triggers

LEDGER_VERSION = 4  # version of the tables
PUSH_LOCK_KEY = (0x6D696C65, 2)  # "mile" in ASCII, and the number of this lock


def _has_status(statuses: Collection[Status]) -> sa.TextClause:
    """Return a partial index's condition in the ledger's schema: the status is one of these."""
    return sa.text(f"status in ({', '.join(repr(str(status)) for status in sorted(statuses))})")


_IS_OPEN = _has_status(OPEN)
_IS_OPEN_OR_APPLIED = _has_status({*OPEN, Status.APPLIED})
_CLIENT = ("client_id", "client", "currency")
_BRIDGE = ("opening", "new", "increased", "decreased", "invoiced", "deleted", "closing")
_metadata = sa.MetaData(schema=SCHEMA)
_version = sa.Table("ledger_version", _metadata, sa.Column("version", sa.Integer, nullable=False))
changes = sa.Table(
    "changes",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),  # in order of proposal
    sa.Column("change_id", sa.Text, nullable=False, unique=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("milestone_id", sa.Text),
    sa.Column("workspace_id", sa.Text, nullable=False),
    sa.Column("currency", sa.Text),
    sa.Column("fields_after", sa.Text, nullable=False),  # JSON
    sa.Column("fields_before", sa.Text, nullable=False),  # JSON
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("proposer", sa.Text, nullable=False),
    sa.Column("duplicate", sa.Integer, nullable=False),  # 1 if a create may equal another one
    sa.Column("twin_key", sa.Text),
    sa.Column("proposed_at", sa.Text, nullable=False),  # times are ISO 8601, UTC
    sa.Column("approver", sa.Text),
    sa.Column("approved_digest", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("sent_at", sa.Text),
    sa.Column("twins", sa.Text, nullable=False),  # JSON
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("seen_updated_at", sa.Text),  # of the milestone, before sending; since version 2
    sa.Column("looked_at", sa.Text),  # first time it was not found; since version 3
    sa.Column("resends", sa.Integer, nullable=False, server_default="0"),  # since version 3
    sa.Index(
        "one_open_change_of_a_milestone", "milestone_id", unique=True,
        postgresql_where=_IS_OPEN, sqlite_where=_IS_OPEN,
    ),
    sa.Index(
        "one_create_of_a_kind", "twin_key", unique=True,
        postgresql_where=_IS_OPEN_OR_APPLIED, sqlite_where=_IS_OPEN_OR_APPLIED,
    ),
    sqlite_autoincrement=True,
)  # fmt: skip
events = sa.Table(
    "events",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("change_id", sa.Text, sa.ForeignKey(changes.c.change_id), nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("status_before", sa.Text),
    sa.Column("status_after", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
    sa.Column("db_user", sa.Text),
    sa.Index("events_of_a_change", "change_id", "number"),
    sqlite_autoincrement=True,
)
chain = sa.Table(  # the links of the chain over the events; since version 3
    "event_chain",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # of the event
    sa.Column("draft_digest", sa.Text),
    sa.Column("hash", sa.Text, nullable=False),
)
account = sa.Table(  # one row at most; since version 2
    "account",
    _metadata,
    sa.Column("only_one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("account_id", sa.Text),
    sa.Column("bound_at", sa.Text, nullable=False),
    sa.CheckConstraint("only_one = 1", name="one_account"),
)
# Closed months; since version 4. Amounts are text, since SQLite has no exact decimals.
period_closes = sa.Table(
    "period_closes",
    _metadata,
    sa.Column("close_number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("month", sa.Text, nullable=False),
    sa.Column("closed_by", sa.Text, nullable=False),
    sa.Column("closed_at", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("observed_until", sa.Text),
    sa.Column("reporting_timezone", sa.Text, nullable=False),
    sa.Column("db_user", sa.Text),
    sa.Column("digest", sa.Text, nullable=False),
)
period_figures = sa.Table(
    "period_close_figures",
    _metadata,
    sa.Column("close_number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row_number", sa.Integer, primary_key=True, autoincrement=False),
    *[sa.Column(name, sa.Text, nullable=name != "currency") for name in _CLIENT],
    sa.Column("decimals", sa.Integer, nullable=False),
    *[sa.Column(name, sa.Text) for name in _BRIDGE],
    sa.Column("dated_milestones", sa.Integer, nullable=False),
    sa.Column("dated", sa.Text),
    sa.Column("billed_milestones", sa.Integer, nullable=False),
    sa.Column("billed", sa.Text),
)
period_milestones = sa.Table(
    "period_close_milestones",
    _metadata,
    sa.Column("close_number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("milestone_id", sa.Text, primary_key=True),
    *[sa.Column(name, sa.Text, nullable=name != "currency") for name in _CLIENT],
    sa.Column("amount_in_cents", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.Text),
    sa.Column("date_to_invoice", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("invoice_id", sa.Text),
    sa.Column("invoice_date", sa.Text),
    sa.Column("invoice_state", sa.Text),
)
period_reopens = sa.Table(
    "period_reopens",
    _metadata,
    sa.Column("close_number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("reopened_by", sa.Text, nullable=False),
    sa.Column("reopened_at", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("db_user", sa.Text),
)
PERIOD_TABLES = (period_closes, period_figures, period_milestones, period_reopens)


def prepare_ledger(connection: Connection) -> None:
    """Create the tables of the ledger's schema, or migrate them to this release.

    Raises:
        WarehouseMisconfigured: If a later release wrote the ledger.
    """
    if not exists(connection):
        _create_tables(connection)
    with connection.begin():
        version = _stored_version(connection)
        if version < LEDGER_VERSION:
            _lock_table_changes(connection)
            version = _stored_version(connection)  # another process may have migrated it meanwhile
        for step in range(version + 1, LEDGER_VERSION + 1):
            _MIGRATIONS[step](connection)
            create_triggers(connection, step)
        if version < LEDGER_VERSION:
            connection.execute(_version.update().values(version=LEDGER_VERSION))


def exists(connection: Connection) -> bool:
    """Return whether the ledger's schema exists in a database, if only in part."""
    names = sa.inspect(connection).get_table_names(schema=_schema_of(connection))
    connection.rollback()
    return bool({_version.name, changes.name, events.name} & set(names))


def has_periods(connection: Connection) -> bool:
    """Return whether a database has the tables of closed months; it takes one short query."""
    query = f"select to_regclass('{SCHEMA}.{period_reopens.name}')"
    if connection.dialect.name == "sqlite":
        query = f"select 1 from sqlite_master where name = '{period_reopens.name}'"
    with connection.begin():
        return connection.execute(sa.text(query)).scalar() is not None


def _stored_version(connection: Connection) -> int:
    """Return the stored version of the ledger's schema; raise if a later release wrote it."""
    version = connection.execute(sa.select(_version.c.version)).scalar()
    if not isinstance(version, int):
        raise ledger_damaged("its version is missing")
    if version > LEDGER_VERSION:
        raise WarehouseMisconfigured(
            f"the ledger has version {version}, and this release supports {LEDGER_VERSION}: "
            "install the release that wrote it, or a later one"
        )
    return version


def _create_tables(connection: Connection) -> None:
    """Create the tables and triggers of the ledger's schema, unless another process did."""
    with connection.begin():
        _lock_table_changes(connection)
        if connection.dialect.name == "postgresql":
            query = "select count(*) from information_schema.schemata where schema_name = :name"
            if not connection.execute(sa.text(query), {"name": SCHEMA}).scalar():
                connection.execute(sa.text(f"create schema {SCHEMA}"))
        if sa.inspect(connection).has_table("ledger_version", schema=_schema_of(connection)):
            return  # another process created it meanwhile
        if connection.dialect.name == "sqlite" and sa.inspect(connection).get_table_names():
            raise WarehouseMisconfigured(
                "the file in LEDGER__URL is the database of something else: use another file"
            )
        _metadata.create_all(connection, checkfirst=False)
        for version in TRIGGERS:
            create_triggers(connection, version)
        connection.execute(_version.insert().values(version=LEDGER_VERSION))


def _lock_table_changes(connection: Connection) -> None:
    """Let only this process change the ledger's schema; on SQLite a transaction suffices."""
    if connection.dialect.name == "postgresql":
        first, second = (str(key) for key in PUSH_LOCK_KEY)
        connection.execute(sa.text(f"select pg_advisory_xact_lock({first}, {second} + 1)"))


def _migrate_to_2(connection: Connection) -> None:
    """Add the account, and a milestone's ``updated_at`` before sending, to the ledger's schema."""
    schema = _schema_of(connection)
    table = f"{schema}.changes" if schema else "changes"
    connection.execute(sa.text(f"alter table {table} add column seen_updated_at text"))
    account.create(connection, checkfirst=False)


def _migrate_to_3(connection: Connection) -> None:
    """Add the chain to the ledger's schema, with one link for all events that are there.

    The triggers see to it that these events are those that were written.
    """
    schema = _schema_of(connection)
    table = f"{schema}.changes" if schema else "changes"
    for column in ("looked_at text", "resends integer not null default 0"):
        connection.execute(sa.text(f"alter table {table} add column {column}"))
    chain.create(connection, checkfirst=False)
    rows = connection.execute(sa.select(events).order_by(events.c.number)).mappings().all()
    if old := [event_from_row(row) for row in rows]:
        connection.execute(chain.insert().values(link_values(anchor(old))))


def _migrate_to_4(connection: Connection) -> None:
    """Add closed months to the ledger's schema."""
    for table in PERIOD_TABLES:
        table.create(connection, checkfirst=False)


_MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {
    2: _migrate_to_2,
    3: _migrate_to_3,
    4: _migrate_to_4,
}


def _schema_of(connection: Connection) -> str | None:
    """Return the name of the ledger's schema in a database; None on SQLite."""
    return None if connection.dialect.name == "sqlite" else SCHEMA
