"""The examples in the source's README run unchanged against a sandbox."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from sources.kantata import errors, kantata
from sources.kantata_sandbox import Sandbox

ROOT = Path(__file__).parents[2]
README = (ROOT / "sources/kantata/README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(INCREMENTAL,) = [example for example in EXAMPLES if "LoadedState" in example]
PIPELINE = EXAMPLES[0].partition("load_info")[0]
FILE = "kantata_account.duckdb"
BAD = "1.5 is not a whole number"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An account with one milestone whose amount its column cannot store."""
    with Sandbox(milestones=120) as sandbox:
        sandbox.account.set_raw(broken(sandbox), "amount_in_cents", 1.5)
        yield sandbox


def broken(sandbox: Sandbox) -> str:
    """The milestone with the bad value."""
    return next(iter(sandbox.account.true_milestones))


def run(script: str, sandbox: Sandbox, token: str) -> str:
    """Run Python code in an empty folder, as a reader would; return what it prints."""
    environment = os.environ | {
        "KANTATA_API_URL": sandbox.url,
        "KANTATA_ACCESS_TOKEN": token,
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DLT_DATA_DIR": str(Path.cwd() / "dlt"),
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=environment, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def rows(sql: str) -> list[tuple[object, ...]]:
    """Query the file that the example filled."""
    with duckdb.connect(FILE, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_examples_run(sandbox: Sandbox) -> None:
    """Those without ``state``, one after another, print and load what the account has."""
    examples = [example for example in EXAMPLES if example != INCREMENTAL]
    printed = run("\n".join(examples), sandbox, sandbox.token)
    check_printed(printed, sandbox)
    check_tables()
    (count,) = rows("select count(*) from kantata.billing_milestones")
    assert count == (len(sandbox.account.true_milestones) - 1,)


def test_incremental_example_loads_what_changed() -> None:
    """The first run loads everything; the next one, with the times of the first, what changed."""
    again = (
        "import requests\n"
        "requests.post('{control}/account/update_milestone', json={arguments}, timeout=10)\n"
        "report = sync(report.server_time, report.server_time)\n"
        "print(report.mode, report.added, report.changed)\n"
    )
    with Sandbox(milestones=120) as sandbox:
        arguments = {"id": next(iter(sandbox.account.true_milestones)), "title": "Changed"}
        change = again.format(control=sandbox.control_url, arguments=arguments)
        printed = run("\n".join([PIPELINE, INCREMENTAL, change]), sandbox, sandbox.token)
    assert printed == "scan: 120 added, 0 changed\nfeed 0 1\n"
    found = rows("select count(*), max(version) from kantata.billing_milestone_versions")
    assert found == [(121, 2)]
    assert rows("select id from kantata.billing_milestones where title = 'Changed'") == [
        (arguments["id"],)
    ]


def check_printed(printed: str, sandbox: Sandbox) -> None:
    """Check that the sums are those of the sandbox, and that the bad record is named."""
    units = {c["iso_code"]: c["subunit_to_unit"] for c in sandbox.account.currencies.values()}
    good = [m for id_, m in sandbox.account.true_milestones.items() if id_ != broken(sandbox)]
    for code, count in Counter(m["currency"] for m in good).items():
        amount = sum(m["amount_in_cents"] for m in good if m["currency"] == code)
        assert f"{count} milestones in {code}: {Decimal(amount) / units[code]:,.2f}\n" in printed
        assert f"{code}: {count} milestones, {amount} minor units\n" in printed
    assert f"billing_milestones {broken(sandbox)} was rejected: amount_in_cents: {BAD}" in printed


def check_tables() -> None:
    """Check that the tables are those of the README, and keys unique after three loads."""
    section = README.partition("## Tables")[2].partition("\n## ")[0]
    listed = {
        table: re.findall(r"`(\w+)`", keys)
        for table, keys in re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", section, re.MULTILINE)
    }
    found = rows(
        "select table_name from information_schema.tables "
        "where table_schema = 'kantata' and table_name not like '\\_dlt%' escape '\\'"
    )
    assert {name for (name,) in found} == set(listed)
    for table, keys in listed.items():
        ((count, distinct),) = rows(
            f"select count(*), count(distinct ({', '.join(keys)})) from kantata.{table}"
        )
        assert count == distinct != 0, table


def test_example_of_errors_prints_what_to_do(sandbox: Sandbox) -> None:
    """With a wrong token the last example prints the error's class and how to fix it."""
    printed = run(PIPELINE + EXAMPLES[-1], sandbox, "wrong")
    assert printed.startswith("KantataUnauthorized: ")
    assert "KANTATA_ACCESS_TOKEN" in printed


def test_settings_are_documented() -> None:
    """The table of parameters lists every setting of the source, in order, with its default."""
    settings = {
        name: parameter.default
        for name, parameter in inspect.signature(kantata).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    section = README.partition("## Parameters")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    assert [name for name, _ in documented[: len(settings)]] == list(settings)
    for name, default in documented:
        if default.isdigit():
            assert settings[name] == int(default)


def test_errors_are_documented() -> None:
    """The README names every error class; its table gives their exit codes."""
    classes = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.KantataError)
    }
    assert all(f"`{name}`" in README for name in classes)
    table = re.findall(r"^\| `(Kantata\w+)` \| (\d+) \|", README, re.MULTILINE)
    assert len(table) > 5
    for name, code in table:
        assert classes[name].exit_code == int(code)
