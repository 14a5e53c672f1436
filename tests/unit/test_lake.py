"""The lake's settings, what errors of a store mean, and which runs remain readable."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from pipelines.config.lake_settings import configured_lake
from pipelines.config.secrets import mask_secrets
from pipelines.config.unknown_names import check_names
from pipelines.ops.settings_in_effect import settings_in_effect
from sources.kantata.errors import KantataMisconfigured
from warehouse.errors import WarehouseMisconfigured
from warehouse.lake.failures import lake_failure
from warehouse.lake.published_runs import PublishedTable, still_readable
from warehouse.lake.tables import decimal_type

_NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
_OPTION = "LAKE__STORAGE_OPTIONS__AWS_SECRET_ACCESS_KEY"


def _set(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def test_settings_of_a_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options come from the environment, and time limits of requests have defaults."""
    assert configured_lake() is None
    _set(monkeypatch, {"LAKE__URL": "s3://bucket/prefix/", "LAKE__EVERY": "6h"})
    _set(monkeypatch, {_OPTION: "hidden-key-of-mine", "LAKE__STORAGE_OPTIONS__TIMEOUT": "9s"})
    lake = configured_lake()
    assert lake
    assert (lake.url, lake.every, lake.keep) == (
        "s3://bucket/prefix",
        timedelta(hours=6),
        timedelta(days=2),
    )
    assert lake.options["timeout"] == "9s"
    assert lake.options["retry_timeout"] == "60s"
    assert lake.options["aws_secret_access_key"].startswith("hidden")
    assert "hidden" not in repr(lake)
    check_names()  # options are delta-rs's own
    shown = {s.name: s.value for s in settings_in_effect()}
    assert shown[_OPTION] == "[secret]"
    assert shown["LAKE__STORAGE_OPTIONS__TIMEOUT"] == "9s"
    assert "hidden" not in mask_secrets("the store said hidden-key-of-mine")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LAKE__URL", "s3://key:secret@bucket/x", "has a user, a password or a query"),
        ("LAKE__URL", "ftp://host/x", "write a folder, or a URL such as s3://bucket/prefix"),
        ("LAKE__URL", "s3://", "write a folder, or a URL such as s3://bucket/prefix"),
        ("LAKE__URL", "$HOME/lake", "without variables"),
        ("LAKE__EVERY", "daily", "write it as 90m, 24h or 7d"),
        ("LAKE__KEEP", "2", "write it as 90m, 24h or 7d"),
        ("LAKE__TIME_LIMIT", "", "write it as 90m, 24h or 7d"),
    ],
)
def test_wrong_settings_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    """A wrong value is refused, and never shows a password."""
    monkeypatch.setenv(name, value)
    with pytest.raises((KantataMisconfigured, WarehouseMisconfigured), match="LAKE__") as refused:
        configured_lake()
    assert says in str(refused.value)
    assert "key:secret" not in str(refused.value)


def test_unknown_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelled setting of the lake is named."""
    monkeypatch.setenv("LAKE__EVRY", "6h")
    with pytest.raises(KantataMisconfigured, match="LAKE__EVRY is not a setting: use LAKE__EVERY"):
        check_names()


_S3 = "Generic S3 error\n \x1b[31m↳\x1b[0m Error performing GET http://store:500/b/503 in 503.2ms "


@pytest.mark.parametrize(
    ("text", "is_passing", "says"),
    [
        (f"{_S3}- Server returned non-2xx status code\n ↳ 503 Slow Down", True, "503 Slow Down"),
        (f"{_S3}- HTTP error\n ↳ operation timed out", True, "operation timed out"),
        (f"{_S3}- HTTP error\n ↳ tcp connect error\n ↳ Connection refused", True, "refused"),
        (f"{_S3}\n ↳ 403 Forbidden\n ↳ <Code>AccessDenied</Code>", False, "the keys are wrong"),
        (f"{_S3}\n ↳ 404 Not Found\n ↳ <Code>NoSuchBucket</Code>", False, "no such bucket"),
        ("Error performing PUT http://169.254.169.254/latest", False, "no keys were found"),
        ("IO error: No space left on device (os error 28)", False, "the disk is full"),
        ("[Errno 13] Permission denied: '/lake'", False, "this user may not write there"),
        ("builder error\n ↳ URL scheme is not allowed", False, "allow_http"),
    ],
)
def test_what_errors_of_a_store_mean(text: str, is_passing: bool, says: str) -> None:
    """Only what the next run may find otherwise is passing; the line has no colours and times."""
    failure = lake_failure(OSError(text))
    assert failure.is_passing is is_passing
    assert says in str(failure)
    assert "\x1b" not in str(failure)
    assert "503.2ms" not in str(failure)
    assert len(str(failure).splitlines()) == 1


def test_which_runs_remain_readable() -> None:
    """A run remains readable for a while after the next one, and the last one always."""

    def row(run_id: str, days: float) -> PublishedTable:
        return PublishedTable(
            run_id=run_id, table_name="t", version=1, rows=1, amount_by_currency=None,
            published_at=_NOW - timedelta(days=days), account=None,
        )  # fmt: skip

    rows = [row("1", 90), row("2", 80), row("3", 40), row("4", 1), row("5", 0.5)]
    kept = still_readable(rows, now=_NOW, keep=timedelta(days=2))
    assert [r.run_id for r in kept] == ["3", "4", "5"]  # "3" was replaced a day ago
    kept = still_readable(rows[:3], now=_NOW, keep=timedelta(days=2))
    assert [r.run_id for r in kept] == ["3"]  # it is replaced now, though it is old
    assert still_readable([], now=_NOW, keep=timedelta(days=2)) == []


def test_types_of_decimals() -> None:
    """Money fits the NUMERIC of BigQuery: 29 digits before the point, nine after it."""
    assert decimal_type("amount") == decimal_type("age_0_30") == pa.decimal128(35, 6)
    assert decimal_type("amount_at_date_reporting") == pa.decimal128(35, 6)
    assert decimal_type("exact_today_reporting") == pa.decimal128(38, 16)
    assert decimal_type("rate_at_date") == decimal_type("rate") == pa.decimal128(20, 10)
    assert decimal_type("subunits") == pa.decimal128(29, 0)
    assert decimal_type("unit_per_subunit") == pa.decimal128(12, 6)
