"""Dashboards that read Postgres while the marts are rebuilt see one state or the other."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from datetime import date
from typing import Any

import psycopg2

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from warehouse.database import connect
from warehouse.models import build

EARLY = build.BuildContext(run_id="run", as_of=date(2026, 7, 20), timezone="UTC")
LATE = replace(EARLY, as_of=date(2027, 7, 20))
REFRESHES = 8
FIGURES = """
select
    (select as_of from kantata_marts.data_freshness),
    (select count(*) from kantata_marts.billing_milestones where status = 'overdue'),
    (select sum(milestones) from kantata_marts.billing_schedule_monthly where status = 'overdue'),
    (select count(*) from kantata_marts.milestone_slippage where status = 'overdue'),
    (select sum(milestones) from kantata_marts.billing_backlog),
    (select sum(milestones) from kantata_marts.billing_forecast),
    (select count(*) from kantata_marts.backlog_bridge),
    (select count(*) from kantata_marts.billing_milestone_history)
"""
State = tuple[Any, ...]


def refreshed(job: Job, day: build.BuildContext) -> State:
    """Build the marts for a day; return their figures."""
    with connect(job.target.destination) as database:
        assert build.build_marts(database, day, always=True) == []
    return job.rows(FIGURES)[0]


def poll(url: str, states: Counter[State], stop: threading.Event) -> None:
    """Read the figures repeatedly, each time in one statement."""
    dashboard = psycopg2.connect(url)
    dashboard.autocommit = True
    with dashboard.cursor() as cursor:
        while not stop.is_set():
            cursor.execute(FIGURES)
            states[cursor.fetchall()[0]] += 1
    dashboard.close()


def test_reader_sees_no_half_built_marts(postgres: Job) -> None:
    """At any moment, one statement sees all marts from the same build."""
    states: Counter[State] = Counter()
    stop = threading.Event()
    with Sandbox(milestones=400) as sandbox:
        postgres.synced(sandbox)
    early, late = refreshed(postgres, EARLY), refreshed(postgres, LATE)
    assert early != late
    dashboard = threading.Thread(target=poll, args=(postgres.url, states, stop))
    dashboard.start()
    try:
        for _ in range(REFRESHES // 2):
            assert refreshed(postgres, EARLY) == early
            assert refreshed(postgres, LATE) == late
    finally:
        stop.set()
        dashboard.join()
    assert states.keys() == {early, late}
    assert min(states.values()) > REFRESHES
