"""All that the snapshot reads from our own modules: edit this file when they move or are renamed.

Everything else in this folder uses the command line, files, HTTP and SQL.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from typing import Any

from pipelines.cli.options import LogFormat, Warehouse
from pipelines.config.settings import alert_settings, kantata_settings, push_settings
from pipelines.config.targets import configured_target
from pipelines.ops.alert_policy import Condition
from pipelines.ops.parts import Part
from pipelines.runtime.clock import utc_now
from pipelines.runtime.signals import Stopped
from pipelines.sync.session import locked
from pipelines.writeback.fields import FOR_CREATE, WRITABLE
from sources.kantata import kantata
from sources.kantata.errors import KantataError
from sources.kantata.schema import Kind
from sources.kantata.transform.fingerprint import digest, mark, row_hash, with_kept
from warehouse.errors import WarehouseError
from warehouse.ledger.change import TRANSITIONS, Action, Draft, Status, duplicate_fields
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.push_lock import push_lock
from warehouse.ledger.schema import LEDGER_VERSION, PUSH_LOCK_KEY
from warehouse.models.build import Severity
from warehouse.raw.runs import RunStatus
from warehouse.raw.schema import WAREHOUSE_VERSION

_ENUMS: Mapping[str, type[StrEnum]] = {
    "action": Action,
    "change status": Status,
    "run status": RunStatus,
    "alert condition": Condition,
    "check severity": Severity,
    "warehouse": Warehouse,
    "log format": LogFormat,
    "part of a run": Part,
    "type of a column": Kind,
}


def values() -> dict[str, object]:
    """The values that stored data, JSON and options may have, in the order of declaration."""
    found: dict[str, object] = {name: [v.value for v in enum] for name, enum in _ENUMS.items()}
    found["change status, onward"] = {
        status.value: sorted(onward) for status, onward in TRANSITIONS.items()
    }
    found["fields that may be written"] = sorted(WRITABLE)
    found["fields of a create"] = sorted(FOR_CREATE)
    return found


def exit_codes() -> dict[str, int]:
    """The exit code of each error, and of each signal that ends a run."""
    codes = {c.__name__: c.exit_code for root in (KantataError, WarehouseError) for c in _all(root)}
    for number in (signal.SIGINT, signal.SIGTERM):
        codes[number.name] = Stopped(number).exit_code
    return codes


def _all(error: Any) -> Iterator[Any]:  # noqa: ANN401 - a class with an exit code
    yield error
    for narrower in error.__subclasses__():
        yield from _all(narrower)


def versions() -> dict[str, int]:
    """The versions written into the warehouse and the ledger."""
    return {"warehouse": WAREHOUSE_VERSION, "ledger": LEDGER_VERSION}


# Every setting, with a value other than the default.
_OTHER = {
    "KANTATA_API_URL": "http://127.0.0.1:9/api/v1",
    "SOURCES__KANTATA__KANTATA_API_URL": "http://127.0.0.1:9/api/v1",
    "KANTATA_ACCESS_TOKEN": "another-token",
    "SOURCES__KANTATA__KANTATA_ACCESS_TOKEN": "another-token",
    "SOURCES__KANTATA__REQUESTS_IN_FLIGHT": "7",
    "SOURCES__KANTATA__REQUESTS_PER_SECOND": "7.5",
    "SOURCES__KANTATA__BACKOFF_SECONDS": "7.5",
    "SOURCES__KANTATA__SCAN_EVERY": "7h",
    "DESTINATION__DUCKDB__CREDENTIALS": "elsewhere/other.duckdb",
    "DESTINATION__POSTGRES__CREDENTIALS": "postgresql://user@127.0.0.1:9/other",
    "WAREHOUSE__PUBLISH_TO": "elsewhere/published.duckdb",
    "WAREHOUSE__MEMORY_LIMIT": "777MB",
    "WAREHOUSE__REPORTING_TIMEZONE": "Europe/Berlin",
    "WAREHOUSE__MODELS": "my_models/",
    "PUSH__ENABLED": "true",
    "PUSH__MAX_CHANGES": "7",
    "PUSH__BATCH_CREATES": "7",
    "PUSH__RECONCILE_AFTER": "7",
    "KANTATA_WRITE_TOKEN": "write-token",
    "PUSH__KANTATA_WRITE_TOKEN": "write-token",
    "ALERTS__WEBHOOK_URL": "https://example.org/hook",
    "ALERTS__ALERT_AFTER": "7h",
    "LEDGER__URL": "sqlite:///elsewhere/ledger.sqlite",
}


def settings() -> dict[str, object]:
    """The default of each setting, and its value for each name in the environment."""
    with _environment({"KANTATA_ACCESS_TOKEN": "a-token"}, *_OTHER):
        default = _settings()
        read = {}
        for name, value in _OTHER.items():
            with _environment({name: value}):
                now = _settings()
                read[f"{name}={value}"] = {n: v for n, v in now.items() if default[n] != v}
    return {"default": default, "from the environment": read}


@contextmanager
def _environment(names: Mapping[str, str], *without: str) -> Iterator[None]:
    before = dict(os.environ)
    for name in without:
        os.environ.pop(name, None)
    os.environ.update(names)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _settings() -> dict[str, object]:
    source, push, alerts, warehouse = (
        kantata_settings(), push_settings(), alert_settings(), configured_target("duckdb"),
    )  # fmt: skip
    credentials: Any = warehouse.destination.config_params["credentials"]
    with_postgres = "DESTINATION__POSTGRES__CREDENTIALS" in os.environ
    return {
        "the API's address": source.kantata_api_url,
        "the token": source.kantata_access_token,
        "requests in flight": source.requests_in_flight,
        "requests per second": source.requests_per_second,
        "backoff, seconds": source.backoff_seconds,
        "longest time without a scan, seconds": source.longest_without_scan().total_seconds(),
        "the loader's file": str(warehouse.loader),
        "the file for readers": str(warehouse.published),
        "the lock's file": str(warehouse.lock),
        "dlt's folder": str(warehouse.working),
        "DuckDB's memory": credentials.global_config["memory_limit"],
        "timezone": warehouse.timezone,
        "the folder of users' marts": str(warehouse.models or ""),
        "the ledger": warehouse.ledger_url,
        "the ledger with Postgres": configured_target("postgres").ledger_url
        if with_postgres
        else "",
        "pushing is enabled": push.enabled,
        "changes in one push": push.max_changes,
        "creates in one request": push.batch_creates,
        "seconds before an unknown change is read": push.reconcile_after,
        "the token for writing": push.write_token,
        "the webhook": alerts.webhook_url,
        "longest time without success, seconds": alerts.after.total_seconds(),
    }


def locks_on_postgres(locks_held: Callable[[], object]) -> dict[str, object]:
    """The keys of the advisory locks, as the server of the configured warehouse lists them.

    Args:
        locks_held: Returns the server's list, while a lock is held.
    """
    warehouse = configured_target("postgres")
    with locked(warehouse):
        of_the_warehouse = locks_held()
    with connect_ledger(warehouse.ledger_url, utc_now) as ledger, push_lock(ledger):
        of_the_ledger = locks_held()
    first, second = PUSH_LOCK_KEY
    return {
        "warehouse": of_the_warehouse,
        "ledger, while a push is going": of_the_ledger,
        "ledger, while its tables change": [first, second + 1],
        "the lock's file": str(warehouse.lock),
    }


def names_for_dlt() -> dict[str, object]:
    """The names that dlt stores or shows: of the pipeline, its dataset, source and resources."""
    pipeline = configured_target("duckdb").pipeline()
    source = kantata(kantata_access_token="a-token")  # noqa: S106 - it opens nothing
    return {
        "pipeline": pipeline.pipeline_name,
        "dataset": pipeline.dataset_name,
        "source": source.name,
        "schema": source.schema.name,
        "resources": sorted(source.resources),
        "section": source.section,
    }


_BEFORE = {
    "id": "17", "title": "Rückbehalt “日本”\u200b é e\u0301", "amount_in_cents": 1_234_567_890_123,
    "currency": "JPY", "date_to_invoice": None, "story_id": None,
}  # fmt: skip
_CREATE = Draft(
    action=Action.CREATE,
    milestone_id=None,
    workspace_id="4",
    currency="EUR",
    after={"workspace_id": "4", "title": 'Sign-off "Ä"\n', "amount_in_cents": -5},
    before={},
    reason="año",
    proposer="Ann",
)
_DRAFTS = {
    "create": _CREATE,
    "create with a date": replace(
        _CREATE, after={**_CREATE.after, "date_to_invoice": "2027-02-28", "story_id": None}
    ),
    "create that may be equal": replace(_CREATE, duplicate=True),
    "update": Draft(
        Action.UPDATE, "17", "4", "JPY", {"title": "日本 II", "date_to_invoice": None}, _BEFORE,
        "why\tnot", "Bob  Ünal",
    ),
    "delete": Draft(Action.DELETE, "17", "4", None, {}, _BEFORE, "", "ann"),
}  # fmt: skip

_RECORDS: Mapping[str, dict[str, Any]] = {
    "empty": {},
    "nulls": {"id": "1", "title": None},
    "unicode": {"title": "日本物産 é e\u0301 \U0001f600", "id": "1"},
    "nested": {"id": 1, "status": {"b": [1, None, 2.5, "x"], "a": {"z": None, "y": True}}},
    "ids in another order": {"id": "1", "invoice_ids": ["30", "4", "100"], "story_ids": [3, 1]},
    "lists that are no ids": {"id": "1", "tags": ["b", "a"]},
    "numbers": {"big": 2**63 - 1, "negative": -(2**63), "float": 0.1, "zero": -0.0},
}


def digests() -> dict[str, object]:
    """Digests and hashes of fixed inputs, as stored data holds them."""
    drafts = {
        name: {"digest": d.digest, "twin_key": d.twin_key, "twin": duplicate_fields(d.after)}
        for name, d in _DRAFTS.items()
    }
    records = {}
    for name, record in _RECORDS.items():
        content = digest(record)
        records[name] = {
            "row_hash": row_hash(content),
            "row_hash of a row with kept values": row_hash(with_kept(content, ["title", "é"])),
        }
    return {"drafts": drafts, "records": records, "mark": mark(["b", "a"]).hex()}


def digest_of(values: object) -> str:
    """A digest of any value with a stable repr; only for this snapshot."""
    return hashlib.sha256(repr(values).encode()).hexdigest()
