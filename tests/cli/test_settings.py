"""Settings: wrong ones are refused before anything is read, and generic names have no effect."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import duckdb
import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.processes import run_milestones

SCHEMAS = (
    "select distinct table_schema from information_schema.tables "
    "where table_schema like 'kantata%' order by 1"
)


def milestones(*words: str, **environment: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, its output and its errors."""
    result = run_milestones(*words, env=os.environ | environment, timeout=600)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WAREHOUSE__REPORTING_TIMEZON", "UTC", "use WAREHOUSE__REPORTING_TIMEZONE, or remove it"),
        ("KANTATA_TOKEN", "x", "use KANTATA_ACCESS_TOKEN"),
        ("SOURCES__KANTATA__SCAN_EVRY", "1h", "use SOURCES__KANTATA__SCAN_EVERY"),
        ("ALERTS__WEBHOOK", "https://x.example", "use ALERTS__WEBHOOK_URL"),
        ("warehouse__publish_to", "x.duckdb", "use WAREHOUSE__PUBLISH_TO"),
        ("PUSH__ENABLED", "maybe", "write it as true or false"),
        ("PUSH__MAX_CHANGES", "0", "at least 1"),
        ("PUSH__BATCH_CREATES", "101", "from 1 to 100"),
        ("ALERTS__WEBHOOK_URL", "notaurl", "not an https address"),
        ("ALERTS__ALERT_AFTER", "soon", "write it as 90m, 24h or 7d"),
        ("WAREHOUSE__MEMORY_LIMIT", "much", "write it as 512MB"),
        ("WAREHOUSE__DESTINATION", "snowflake", "write it as duckdb or postgres"),
        ("WAREHOUSE__PUBLISH_TO", " ", "is empty"),
        ("SOURCES__KANTATA__REQUESTS_IN_FLIGHT", "0", "must be 1 to 200"),
        ("SOURCES__KANTATA__REQUESTS_PER_SECOND", "-1", "must be 0 or more"),
        ("SOURCES__KANTATA__BACKOFF_SECONDS", "nan", "must be 0 or more"),
        ("SOURCES__KANTATA__SCAN_EVERY", "daily", "write it as 90m, 24h or 7d"),
        ("KANTATA_API_URL", "http://example.com", "Use https"),
        ("LEDGER__URL", "mysql://x", "LEDGER__URL must have the form"),
    ],
)
def test_a_wrong_setting_is_refused_by_every_command(name: str, value: str, message: str) -> None:
    """An unknown name or an invalid value ends with 2, also in a command that does not use it."""
    for command in ("check", "changes"):
        code, _, error = milestones(command, **{name: value})
        assert (code, message in error) == (2, True), error
        assert name in error or name.rpartition("__")[2].lower() in error
    assert not Path(".milestones").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SOURCES__KANTATA__PAGE", "1", "SOURCES__KANTATA__PAGE is not a setting: remove it"),
        ("PUSH__LIMIT", "1", "PUSH__LIMIT is not a setting: remove it"),
        ("WAREHOUSE__SCAN_EVERY", "1h", "use SOURCES__KANTATA__SCAN_EVERY, or remove it"),
        ("SOURCES__KANTATA__TOKEN", "x", "use KANTATA_ACCESS_TOKEN, or remove it"),
        ("PUSH__ENABLED", "maybe", "PUSH__ENABLED is 'maybe'"),
        ("SOURCES__KANTATA__REQUESTS_IN_FLIGHT", "x", "REQUESTS_IN_FLIGHT is 'x': write a number"),
        ("DESTINATION__DUCKDB__STAGING_DATASET_NAME_LAYOUT", "kantata", "the schema kantata of"),
        ("DESTINATION__POSTGRES__STAGING_DATASET_NAME_LAYOUT", "%s-STG", "the schema kantata_stg "),
        ("DESTINATION__STAGING_DATASET_NAME_LAYOUT", "%s_marts", "the schema kantata_marts of"),
    ],
)
def test_the_message_names_what_was_written(name: str, value: str, message: str) -> None:
    """A message names the variable that was set, and only settings that it may mean."""
    code, _, error = milestones("changes", **{name: value})
    assert (code, message in error, name in error) == (2, True, True), error


def test_a_setting_outside_its_section() -> None:
    """It would have no effect, so it is refused; `credentials` may be meant for others."""
    Path(".dlt").mkdir()
    Path(".dlt/config.toml").write_text('credentials = "x"\npath = "x"\nenabled = true\n')
    code, _, error = milestones("changes")
    assert (code, "enabled is outside its section: write it under [push]" in error) == (2, True)
    assert "credentials" not in error
    assert "path" not in error
    Path(".dlt/config.toml").write_text('credentials = "x"\n[push]\nenabled = "maybe"\n')
    code, _, error = milestones("changes")
    assert (code, "[push] enabled is 'maybe'" in error) == (2, True), error


def test_wrong_names_in_files() -> None:
    """A misspelled name or section in a file is refused with the nearest one and the file."""
    Path(".dlt").mkdir()
    Path(".dlt/config.toml").write_text(
        "[wherehouse]\nx = 1\n[push]\nenable = true\n[sources.kantatta]\nx = 1\n"
    )
    Path(".dlt/secrets.toml").write_text('kantata_token = "secret-value"\n')
    code, _, error = milestones("status")
    assert code == 2
    for part in (
        "config.toml: [wherehouse] is not a section of settings: use [warehouse]",
        "config.toml: [push] enable is not a setting: use enabled",
        "config.toml: [sources.kantatta] is not a section of settings: use [sources.kantata]",
        "secrets.toml: kantata_token is not a setting: use kantata_access_token",
    ):
        assert part in error
    assert "secret-value" not in error


def test_settings_of_others_are_left_alone() -> None:
    """Settings of dlt, of other sources, of Kubernetes and of Airflow are never refused."""
    Path(".dlt").mkdir()
    Path(".dlt/config.toml").write_text(
        "[sources.other]\nx = 1\n[load]\nworkers = 1\n[extract]\nx = 1\n[somebody.else]\nx = 1\n"
        "[destination.filesystem]\nbucket_url = 'x'\n"
    )
    others = {
        "SOURCES__OTHER__KEY": "1", "DESTINATION__OTHER__KEY": "1", "RUNTIME__LOG_LEVEL": "ERROR",
        "LOAD__WORKERS": "1", "NORMALIZE__WORKERS": "1", "AIRFLOW__CORE__X": "1",
        "KANTATA_SERVICE_HOST": "10.0.0.1", "KANTATA_PORT": "tcp://x",
        "KANTATA_PORT_80_TCP_ADDR": "x", "WAREHOUSE_URL": "x", "PUSH": "x",
    }  # fmt: skip
    assert milestones("changes", **others)[0] == 0


def test_generic_names_never_reach_dlt() -> None:
    """Bare names that dlt would read, such as DEV_MODE, change nothing; spaces are stripped."""
    generic = {
        "DEV_MODE": "true", "DATASET_NAME": "other", "CREDENTIALS": "other.duckdb",
        "LOADER_FILE_FORMAT": "jsonl", "PIPELINE_NAME": "other", "DESTINATION_TYPE": "postgres",
        "SCAN_EVERY": "nonsense", "ENABLED": "true", "WRITE_DISPOSITION": "append",
        "REFRESH": "drop_sources", "WORKERS": "x", "PIPELINES_DIR": "/nowhere",
    }  # fmt: skip
    with Sandbox(milestones=30) as sandbox:
        access = {"KANTATA_API_URL": f"{sandbox.url}\n", "KANTATA_ACCESS_TOKEN": "sandbox-token\n"}
        home = {"WAREHOUSE__PUBLISH_TO": "~/published.duckdb\n"}
        for _ in range(2):
            code, _, error = milestones("sync", **generic, **access, **home)
            assert code == 0, error
    with duckdb.connect(str(Path.home() / "published.duckdb"), read_only=True) as connection:
        schemas = connection.execute(SCHEMAS).fetchall()
    assert [name for (name,) in schemas if name != "kantata_staging"] == [
        "kantata", "kantata_marts", "kantata_stg",
    ]  # fmt: skip
    assert not Path("~").exists()


def test_config_shows_settings_and_hides_secrets() -> None:
    """`config` names value and origin of every setting; no token or password is in it."""
    Path(".dlt").mkdir()
    Path(".dlt/config.toml").write_text("[push]\nmax_changes = 5\n")
    Path(".dlt/secrets.toml").write_text(
        '[destination.postgres]\ncredentials = "postgresql://ann:pa55word@db/x?password=pa55word"\n'
    )
    environment = {
        "KANTATA_ACCESS_TOKEN": "t0ken-x", "LEDGER__URL": "postgresql://ann:pa55word@db/x",
        "ALERTS__WEBHOOK_URL": "https://hooks.example/pa55word",
    }  # fmt: skip
    code, output, error = milestones("config", "--json", **environment)
    assert code == 0, error
    shown = {setting["name"]: setting for setting in json.loads(output)}
    assert shown["PUSH__MAX_CHANGES"] | {"name": ""} == {
        "name": "", "value": "5", "origin": "config.toml",
    }  # fmt: skip
    assert shown["KANTATA_ACCESS_TOKEN"]["origin"] == "environment"
    assert shown["WAREHOUSE__DESTINATION"]["origin"] == "default"
    output_without, ledger = milestones("config")[1], "LEDGER__URL +sqlite:///.milestones/ledger"
    assert re.search(ledger, output_without)
    assert re.search("KANTATA_WRITE_TOKEN +not set\n", output_without)
    on_postgres = milestones("config", WAREHOUSE__DESTINATION="postgres")[1]
    assert "the schema kantata_ledger in the Postgres warehouse  (default)" in on_postgres
    assert shown["LEDGER__URL"]["value"] == "postgresql://ann:[secret]@db/x"
    text = milestones("config", **environment)[1]
    for printed in (output, text):
        assert "t0ken" not in printed
        assert "pa55word" not in printed


def test_the_destination_is_said_once() -> None:
    """The setting decides for every command; `--destination` overrides it."""
    with Sandbox(milestones=30) as sandbox:
        access = {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": sandbox.token}
        code, _, error = milestones("sync", WAREHOUSE__DESTINATION="postgres", **access)
        assert (code, "Postgres is not configured" in error) == (2, True)
        code, _, error = milestones(
            "sync", "--destination", "duckdb", WAREHOUSE__DESTINATION="postgres", **access
        )
        assert code == 0, error
