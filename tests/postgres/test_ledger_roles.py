"""With the roles of roles.sql, Postgres itself keeps proposers, approvers and the job apart."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from tests.support.job import Job
from tests.support.ledgers import draft
from warehouse.errors import ChangeRefused, WarehouseError
from warehouse.ledger.change import Status
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.verification import ledger_problems

EVENT = (
    "insert into kantata_ledger.events (change_id, at, status_before, status_after, who, what, "
    "db_user) values ('{id}', '2027-01-01T00:00:00+00:00', {before}, '{after}', 'bob', 'x', {user})"
)


CLOSE = (
    "insert into kantata_ledger.period_closes (close_number, month, closed_by, closed_at, run_id, "
    "reporting_timezone, digest, db_user) values (1, '2026-10-01', 'x', "
    "'2026-11-01T00:00:00+00:00', 'x', 'UTC', 'x', {user})"
)


def _login(job: Job, name: str, role: str) -> str:
    """Create the login of a person; return its URL."""
    job.run(f"create role {name} login password 'secret' in role milestones_{role}")
    return f"postgresql://{name}:secret@{job.url.partition('@')[2]}"


def _run(url: str, statement: str, *values: Any) -> None:  # noqa: ANN401 - values of SQL
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement), values or None)  # type: ignore[arg-type]
        connection.commit()


def test_each_role_does_its_part_only(postgres: Job, roles: str) -> None:
    """A proposer cannot approve, an approver not what the same login proposed, and neither send."""
    suffix = postgres.url.rpartition("_")[2]  # roles belong to the whole server
    ann = _login(postgres, f"ann_{suffix}", "proposer")
    bob = _login(postgres, f"bob_{suffix}", "approver")
    now = lambda: datetime.now(UTC)  # noqa: E731 - a clock
    with connect_ledger(roles, now):  # the job creates the ledger
        pass
    with connect_ledger(ann, now) as ledger:
        one, two = ledger.propose([draft("7"), draft("8")])
    with pytest.raises(WarehouseError, match="this role may not"), connect_ledger(ann, now) as own:
        own.approve(own.change(one), "bob")
    forged = EVENT.format(id=one, before="'proposed'", after="approved", user="session_user")
    for url, statement, words in (
        (ann, forged, "only members of milestones_approver"),
        (ann, forged.replace("session_user", f"'bob_{suffix}'"), "the name of the role"),
        (bob, forged.replace("'approved'", "'applied'"), "what was sent"),
        (bob, "update kantata_ledger.events set who = 'x'", "never altered|permission denied"),
        (ann, "delete from kantata_ledger.changes", "permission denied"),
        (ann, CLOSE.format(user="session_user"), "may close or reopen a month"),
        (bob, CLOSE.format(user="'ann'"), "the name of the role"),
        (bob, "update kantata_ledger.period_closes set run_id = 'y'", "never altered|permission"),
    ):
        with pytest.raises(psycopg2.Error, match=words):
            _run(url, statement)
    _run(bob, CLOSE.format(user="session_user"))
    with connect_ledger(bob, now) as ledger:
        assert ledger.approve(ledger.change(one), "bob").status is Status.APPROVED
        (third,) = ledger.propose([draft("9")])
    with pytest.raises(ChangeRefused, match="same role proposed"), connect_ledger(bob, now) as own:
        own.approve(own.change(third), "carl")
    with pytest.raises(WarehouseError, match="this role may not"), connect_ledger(ann, now) as own:
        own.transition(own.change(two), Status.WITHDRAWN, who="ann", what="no")
    with connect_ledger(roles, now) as ledger:
        assert ledger_problems(ledger) == [  # its digest is that of nothing
            "the closed month 2026-10: its frozen rows are not those that were closed"
        ]
        sent = ledger.mark_sending(ledger.change(one), who="push", what="sending", at=now())
        assert sent.status is Status.APPLYING
    for role in ("ann", "bob"):
        postgres.run(f"drop role {role}_{suffix}")
