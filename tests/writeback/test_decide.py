"""What people see before they approve a change, and requests that are repeated."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from pipelines.cli.app import app
from tests.support.office import Office

on_duckdb = pytest.mark.parametrize("job", ["duckdb"], indirect=True)


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "option",
    [
        ["--as", "ann"],
        ["--reason", "r"],
        ["--json"],
        ["--allow-duplicate"],
        ["--destination", "duckdb"],
        ["--from", "changes.csv"],
    ],
)
def test_no_option_is_ignored(option: list[str]) -> None:
    """An option before update, create or delete is refused: it would have no effect."""
    code, output = _run("propose", *option, "update", "1", "--set", "title=a", "--reason", "r")
    assert (code, f"{option[0]} is before update" in output) == (2, True), output


@pytest.mark.long
@on_duckdb
def test_output_cannot_be_forged(office: Office) -> None:
    """Titles and projects are shown, with control characters escaped."""
    account = office.sandbox.account
    id_ = office.free()[0]
    forged = "Go :100: [red]live[/]\x1b[2K\nstatus: approved\u202e"
    account.update_milestone(id_, title=forged)
    office.job.sync(office.sandbox)
    proposed = office.json(
        "propose", "update", id_, "--set", "date_to_invoice=2027-01-31", "--reason", ":smile:",
        "--as", "ann",
    )  # fmt: skip
    project = account.workspaces[account.milestones[id_]["workspace_id"]]["title"]
    shown = "Go :100: [red]live[/]\\x1b[2K\\nstatus: approved\\u202e"
    for words in (["changes"], ["show", proposed["change_id"]]):
        code, output = _run(*words)
        assert code == 0
        for text in (shown, project, "→ 2027-01-31", ":smile:", "ann"):
            assert text in output, (text, output)
        assert not {"\x1b", "\u202e"} & set(output)
        assert all(len(line) <= 80 for line in output.splitlines() if shown not in line), output
    (listed,) = office.json("changes")
    assert (listed["project"], listed["before"]["title"]) == (project, forged)
    office.run("approve", proposed["change_id"], "--as", "bob")
    assert "proposed: :smile:" in _run("audit", proposed["change_id"])[1]
    for words in (["plan"], ["push"], ["audit", proposed["change_id"]]):
        assert not {"\x1b", "\u202e"} & set(_run(*words)[1])


@pytest.mark.long_on("postgres")
def test_each_invalid_line_is_named(office: Office, tmp_path: Path) -> None:
    """A file's errors are listed one to a line, including those that the ledger would refuse."""
    one, two, *_ = office.free()
    project = next(iter(office.sandbox.account.workspaces))
    create = ["create", "--set", f"workspace_id={project}", "--set", "title=open"]
    open_change = office.json("propose", "delete", one, "--reason", "r")["change_id"]
    equal = office.json("propose", *create, "--set", "amount_in_cents=1", "--reason", "r")
    file = tmp_path / "changes.csv"
    file.write_text(
        "action,id,workspace_id,title,amount_in_cents,billing_type\n"
        f"update,{one},,a,,\n"
        f"update,{two},,a,,\n"
        f"update,{two},,b,,\n"
        f"create,,{project},twice,1,\n"
        f"create,,{project},twice,1,\n"
        f"create,,{project},open,1,upon_completion\n"
        f"update,4711,,a,,\n"
        f"create,,{project},alone,1,\n"
    )
    result = CliRunner().invoke(
        app,
        ["propose", "--from", str(file), "--reason", "r", "--destination", office.job.name],
    )
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "line 2", "line 4", "line 6", "line 7", "line 8",
    ]  # fmt: skip
    for line, words in zip(
        lines[1:], (open_change, "line 3", "line 5", "story_id", "4711"), strict=True
    ):
        assert words in line
    assert len(office.json("changes")) == 2
    code, output = office.run("propose", "update", one, "--set", "title=a", "--reason", "r")
    assert (code, open_change in output) == (2, True)
    code, output = office.run("propose", *create, "--set", "amount_in_cents=1", "--reason", "other")
    assert (code, equal["change_id"] in output, "--allow-duplicate" in output) == (2, True, True)


def _apply(office: Office, file: Path) -> list[str]:
    results = office.json("propose", "--from", str(file), "--reason", "r", "--as", "ann")
    ids = [result["change_id"] for result in results]
    office.run("approve", *ids, "--as", "bob")
    assert office.json("push")["exit_code"] == 0
    return ids


@pytest.mark.long_on("duckdb")
@pytest.mark.long_on("postgres")
def test_an_old_file_undoes_nothing(office: Office, tmp_path: Path) -> None:
    """A line once applied is not proposed again from a file or query, only by a single command."""
    one, two, *_ = office.free()
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    title = office.sandbox.account.milestones[one]["title"]
    old.write_text(f"action,id,title,amount_in_cents\n,{one},{title},100\ndelete,{two},,\n")
    new.write_text(f"id,title,amount_in_cents\n{one},renamed,200\n")
    first, deleted = _apply(office, old)
    _apply(office, new)
    again = office.json("propose", "--from", str(old), "--reason", "r")
    assert [result["change_id"] for result in again] == [first, deleted]
    assert f"milestones propose update {one}" in again[0]["note"]
    assert again[1]["note"] == "already applied"
    rows = (
        f"select id, 'renamed' as title, 200 as amount_in_cents from ({_ROWS}) r where id = '{one}'"
    )
    (by_query,) = office.json("propose", "--query", rows, "--reason", "r")
    assert by_query["note"] == "already applied"
    assert office.json("changes") == []
    office.json("propose", "update", one, "--set", "amount_in_cents=100", "--reason", "really")
    assert len(office.json("changes")) == 1


_ROWS = "select id from kantata.billing_milestones"


@pytest.mark.long_on("postgres")
@on_duckdb
def test_a_digest_binds_an_approval(office: Office) -> None:
    """With a digest exactly that change is approved, or none."""
    one, two, *_ = office.free()
    first, second = (
        office.json("propose", "delete", id_, "--reason", "r", "--as", "ann")["change_id"]
        for id_ in (one, two)
    )
    digests = {c["change_id"]: c["digest"] for c in office.json("changes")}
    assert f"digest {digests[first][:12]}" in _run("changes")[1]
    for words in ([second, "--digest", digests[first]], [first, "--digest", digests[first][:6]]):
        assert _run("approve", *words, "--as", "bob")[0] == 2
    assert _run("approve", first, second, "--digest", digests[first], "--as", "bob")[0] == 2
    assert {c["status"] for c in office.json("changes")} == {"proposed"}
    assert _run("approve", first, "--digest", digests[first][:12], "--as", "bob")[0] == 0


@on_duckdb
def test_a_decision_is_made_on_all_changes_or_on_none(office: Office) -> None:
    """If one of several changes is refused, none is approved, rejected or withdrawn."""
    first, second, third = (
        office.json("propose", "delete", id_, "--reason", "r", "--as", "ann")["change_id"]
        for id_ in office.free()[:3]
    )
    assert _run("approve", first, "--as", "bob")[0] == 0
    before = office.json("changes")
    code, output = _run("approve", second, first, "nothing", "--as", "bob", "--json")
    result = json.loads(output)
    assert (code, result["exit_code"], result["changes"]) == (2, 2, [])
    assert [refused["change_id"] for refused in result["refused"]] == [first, "nothing"]
    for words in (["reject", "--reason", "no"], ["withdraw"], ["approve"]):
        code, output = _run(*words, second, third, "nothing", "--as", "bob")
        assert (code, "nothing" in output) == (2, True)
    assert office.json("changes") == before
    assert len(office.json("audit", second)) == 1
    assert _run("approve", second, third, "--as", "bob")[0] == 0
    assert {change["status"] for change in office.json("changes")} == {"approved"}
    assert _run("reject", first, "--reason", " ", "--as", "bob")[0] == 2


@on_duckdb
def test_only_propose_makes_a_ledger(office: Office) -> None:
    """In a folder without a ledger, every other command says so and makes none; a run succeeds."""
    ledger = office.job.target.folder / "ledger.sqlite"
    for words, expected in (
        (["changes"], 0), (["plan"], 0), (["push"], 0), (["reconcile"], 0), (["run"], 0),
        (["show", "x"], 2), (["audit", "x"], 2), (["approve", "x"], 2), (["withdraw", "x"], 2),
    ):  # fmt: skip
        code, output = _run(*words)
        assert (code, f"there is no ledger at {ledger} yet" in output) == (expected, True), output
        assert not ledger.exists(), words
    assert office.json("push")["changes"] == office.json("changes") == []
    office.json("propose", "delete", office.free()[0], "--reason", "r")
    assert ledger.exists()


@on_duckdb
def test_changes_without_a_warehouse(office: Office) -> None:
    """Changes can be shown without a warehouse; proposing needs one that has been synced."""
    id_ = office.free()[0]
    office.json("propose", "update", id_, "--set", "amount_in_cents=5", "--reason", "r")
    loader = office.job.target.loader
    assert loader is not None
    loader.unlink()
    with duckdb.connect(str(loader)):
        pass
    code, said = _run("changes")
    assert (code, "minor units of USD: " in said, "→ 5, net effect" in said) == (0, True, True), (
        said
    )
    code, said = _run("propose", "delete", id_, "--reason", "r")
    assert (code, "milestones sync" in said) == (1, True), said
    loader.write_bytes(b"")
    assert _run("changes")[0] == 0


ADDRESSES = [
    "postgresql://u:top@secret@127.0.0.1:1/d",
    "postgresql://u:top@sec?ret@127.0.0.1:1/d",
    "postgresql://top/secret@127.0.0.1:1/d",
    "postgresql://u:topsecret@127.0.0.1:nota/d",
    "postgresql://u:topsecret@127.0.0.1:99999/d",
    "mysql://u:topsecret@127.0.0.1/d",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_wrong_address_is_reported_but_not_shown(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid address gives exit code 2; the message names the setting, not its value."""
    for name, words in (
        ("LEDGER__URL", ["changes"]),
        ("DESTINATION__POSTGRES__CREDENTIALS", ["status", "--destination", "postgres"]),
        ("DESTINATION__POSTGRES__CREDENTIALS", ["changes", "--destination", "postgres"]),
    ):
        with monkeypatch.context() as setting:
            setting.setenv(name, address)
            code, output = _run(*words)
        assert (code, name in output) == (2, True), output
        assert not any(part in output for part in ("top", "sec", "127.0.0.1")), output


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=1"])
def test_a_ledger_is_a_file(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger in memory is refused, since it would not be stored."""
    monkeypatch.setenv("LEDGER__URL", address)
    code, output = _run("changes")
    assert (code, "LEDGER__URL" in output) == (2, True), output


def test_credentials_in_parts(tmp_path: Path) -> None:
    """If the warehouse's credentials are a table, an error for the ledger names that table."""
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt/secrets.toml").write_text(
        '[destination.postgres.credentials]\nhost = "127.0.0.1"\npassword = "topsecret"\n'
    )
    code, output = _run("changes", "--destination", "postgres")
    assert (code, "[destination.postgres] credentials" in output) == (2, True), output
    assert "topsecret" not in output
