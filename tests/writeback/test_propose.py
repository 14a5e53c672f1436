"""Commands that propose changes, decide on them and push them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.equality import assert_equal
from tests.support.office import Office


@pytest.mark.long_on("postgres")
def test_a_change_from_proposal_to_audit(office: Office) -> None:
    """A change is proposed, approved and pushed by commands; the warehouse then shows it."""
    id_ = office.free()[0]
    made = office.json(
        "propose", "update", id_, "--set", "amount_in_cents=120000", "--set",
        "date_to_invoice=2027-01-31", "--reason", "slipped", "--as", "ann",
    )  # fmt: skip
    change_id = made["change_id"]
    (listed,) = office.json("changes")
    assert (listed["change_id"], listed["status"], listed["action"], listed["milestone_id"]) == (
        change_id, "proposed", "update", id_,
    )  # fmt: skip
    code, output = office.run("show", change_id)
    assert code == 0
    assert "2027-01-31" in output
    assert "→" in output
    assert office.run("approve", change_id, "--as", "Ann")[0] == 2
    assert office.json("push")["changes"] == []
    assert office.run("approve", change_id, "--as", "bob")[0] == 0
    assert office.json("plan")[0]["step"] == office.json("push", "--dry-run")[0]["step"] == "write"
    before = dict(office.sandbox.account.milestones[id_])
    pushed = office.json("push")
    assert [c["status"] for c in pushed["changes"]] == ["applied"]
    after = office.sandbox.account.milestones[id_]
    assert (after["amount_in_cents"], after["date_to_invoice"]) == (120000, "2027-01-31")
    assert {n for n in after if after[n] != before[n]} <= {
        "amount_in_cents", "date_to_invoice", "updated_at",
    }  # fmt: skip
    assert office.json("changes") == []
    assert [c["status"] for c in office.json("changes", "--all")] == ["applied"]
    statuses = [event["after"] for event in office.json("audit", change_id)]
    assert statuses == ["proposed", "approved", "applying", "applied"]
    assert_equal(office.job, office.sandbox.account, side_tables=False)
    audit = office.job.rows(
        "select status_after, who, amount_after * 1000 from kantata_marts.push_audit "
        "order by event_number"
    )
    assert [row[:2] for row in audit] == [
        ("proposed", "ann"), ("approved", "bob"), ("applying", "milestones push"),
        ("applied", "milestones push"),
    ]  # fmt: skip


@pytest.mark.long_on("duckdb")
def test_a_sync_after_a_push_misses_nothing(office: Office) -> None:
    """The sync after a push still finds the changes that others made before it."""
    first, second, third, *_ = office.free()
    office.sandbox.account.update_milestone(second, title="changed elsewhere")
    for words in (["delete", first], ["update", third, "--set", "title=pushed"]):
        change = office.json("propose", *words, "--reason", "r", "--as", "ann")["change_id"]
        office.run("approve", change, "--as", "bob")
    project = next(iter(office.sandbox.account.workspaces))
    create = office.json(
        "propose", "create", "--set", f"workspace_id={project}",
        "--set", "title=made", "--set", "amount_in_cents=-5", "--reason", "r", "--as", "ann",
    )["change_id"]  # fmt: skip
    office.run("approve", create, "--as", "bob")
    assert office.json("push")["exit_code"] == 0
    assert office.job.rows(
        f"select count(*) from kantata.billing_milestones where id = '{first}' "
        "and deleted_at is not null"
    ) == [(1,)]
    assert office.job.rows(
        "select count(*) from kantata.billing_milestones where title = 'made'"
    ) == [(1,)]
    result = office.job.sync(office.sandbox, full=False)
    assert (result.run.mode, result.run.changed) == ("feed", 1)
    assert_equal(office.job, office.sandbox.account)


@pytest.mark.long_on("postgres")
def test_many_approved_deletes(office: Office, tmp_path: Path) -> None:
    """Approved deletes are not held back by the deletion guard, however many they are."""
    ids = office.free()
    assert len(ids) > 20, "more than the deletion guard allows"
    file = tmp_path / "changes.csv"
    file.write_text("action,id\n" + "".join(f"delete,{id_}\n" for id_ in ids))
    results = office.json("propose", "--from", str(file), "--reason", "cleaned up", "--as", "ann")
    office.run("approve", *(result["change_id"] for result in results), "--as", "bob")
    assert office.json("push")["exit_code"] == 0
    assert office.job.rows(
        "select count(*) from kantata.billing_milestones where deleted_at is not null"
    ) == [(len(ids),)]
    assert_equal(office.job, office.sandbox.account)


NEW = ["--set", "title=a", "--set", "amount_in_cents=1"]
WRONG = [
    (["update", "{free}", "--set", "amount_in_cents=12.50"], "whole number"),
    (["update", "{free}", "--set", "amount_in_cents=1e3"], "whole number"),
    (["update", "{free}", "--set", "amount_in_cents=2147483648"], "2147483647"),
    (["update", "{free}", "--set", "amount_in_cents=١٢"], "whole number"),
    (["update", "{free}", "--set", f"amount_in_cents={'9' * 5000}"], "whole number"),
    (["update", "{free}", "--set", f"amount_in_cents={'0' * 5000}"], "whole number"),
    (["update", "{free}", "--set", "title=a\x1b[2Kb"], "\\x1b"),
    (["update", "{free}", "--set", "title=a\nb"], "\\n"),
    (["update", "{free}", "--set", "title=a\u202eb"], "\\u202e"),
    (["update", "{free}", "--set", "title=a", "--as", "ann\u200b"], "\\u200b"),
    (["update", "{free}", "--set", "title=a", "--set", " title=b"], "once"),
    (["update", "{free}", "--set", "date_to_invoice=2027-02-30"], "real date"),
    (["update", "{free}", "--set", "date_to_invoice=31.01.2027"], "real date"),
    (["update", "{free}", "--set", "date_to_invoice=3/4/2027"], "year-month-day"),
    (["update", "{free}", "--set", "date_to_invoice=1927-01-31"], "--unusual"),
    (["update", "{free}", "--set", "date_to_invoice=2027-01-31 12:00:00"], "real date"),
    (["update", "{free}", "--set", "amount=1.234,56"], "1234.50"),
    (["update", "{free}", "--set", "amount=1,234.56"], "1234.50"),
    (["update", "{free}", "--set", "amount=1e3"], "1234.50"),
    (["update", "{free}", "--set", "amount=0.0000001"], "finer than the minor unit"),
    (["update", "{free}", "--set", "amount=99999999999999999999"], "at most"),
    (["update", "{free}", "--set", "amount=1", "--set", "amount_in_cents=7"], "give one of them"),
    (["update", "4711", "--set", "amount=1"], "no milestone 4711"),
    (["update", "1.23E+05", "--set", "title=a"], "rounded"),
    (["create", "--set", "title=a", "--set", "amount=1"], "workspace_id must be set"),
    (["update", "{free}", "--set", "date_to_invoice="], "clear"),
    (["update", "{free}", "--set", "title= "], "clear"),
    (["update", "{free}", "--set", "currency=EUR"], "cannot be written"),
    (["update", "{free}", "--set", "invoice_id=1"], "cannot be written"),
    (["update", "{free}", "--set", "workspace_id=1"], "another project"),
    (["update", "{free}", "--set", "billing_type=weekly"], "upon_completion"),
    (["update", "{free}", "--set", "billing_type=upon_completion"], "story_id"),
    (["update", "{free}", "--set", "title"], "NAME=VALUE"),
    (["update", "{free}", "--set", "title=a", "--set", "title=b"], "once"),
    (["update", "{free}"], "nothing is set"),
    (["update", "4711", "--set", "title=a"], "no milestone 4711"),
    (["update", "1' or '1'='1", "--set", "title=a"], "no milestone"),
    (["update", "{invoiced}", "--set", "title=a"], "invoice"),
    (["delete", "{invoiced}"], "invoice"),
    (["delete", "4711"], "no milestone 4711"),
    (["create", *NEW], "workspace_id must be set"),
    (["create", *NEW, "--set", "workspace_id=4711"], "no project"),
    (["create", *NEW, "--set", "workspace_id=x"], "not a number"),
]  # fmt: skip


@pytest.mark.long_on("postgres")
def test_invalid_proposals_are_refused(office: Office) -> None:
    """Each invalid proposal gives exit code 2 and names what is wrong; nothing is proposed."""
    account = office.sandbox.account
    invoiced = next(i for i, record in account.milestones.items() if record["invoice_id"])
    names = {"free": office.free()[0], "invoiced": invoiced}
    for words, expected in WRONG:
        filled = [word.format(**names) for word in words]
        code, output = office.run("propose", *filled, "--reason", "r")
        assert (code, expected in output) == (2, True), (filled, output)
    assert (
        office.run("propose", "update", names["free"], "--set", "title=a", "--reason", " ")[0] == 2
    )
    assert "\\t" in office.run("propose", "delete", names["free"], "--reason", "a\tb")[1]
    assert office.json("changes", "--all") == []


@pytest.mark.long_on("postgres")
def test_a_file_is_proposed_as_a_whole(office: Office, tmp_path: Path) -> None:
    """Invalid lines are named and nothing is proposed; a valid file proposes each line once."""
    one, two, three, *_ = office.free()
    project = next(iter(office.sandbox.account.workspaces))
    file = tmp_path / "changes.csv"
    head = "action,milestone_id,workspace_id,title,amount_in_cents,date_to_invoice,reason\n"
    file.write_text(
        f"{head}update,{one},,,100,,r\nupdate,{two},,,1.5,,r\n,,,,,,\nupdate,4711,,a,,,r\n"
    )
    code, output = office.run("propose", "--from", str(file), "--as", "ann")
    assert code == 2
    assert all(line in output for line in ("line 3", "line 5"))
    assert not any(line in output for line in ("line 2", "line 4"))
    assert office.json("changes", "--all") == []
    good = (
        f'{head}update,{one},,,100,,r\n,{two},,"Größe, neu",,2027-01-31,r\n'
        f"delete,{three},,,,,gone\ncreate,,{project},made,7,,new\n"
    )
    file.write_text("\ufeff" + good, encoding="utf-8")
    results = office.json("propose", "--from", str(file), "--as", "ann")
    assert len({result["change_id"] for result in results}) == 4
    again = office.json("propose", "--from", str(file), "--as", "ann")
    assert [r["change_id"] for r in again] == [r["change_id"] for r in results]
    assert len(office.json("changes", "--all")) == 4
    for result in results:
        office.run("approve", result["change_id"], "--as", "bob")
    assert office.json("push")["exit_code"] == 0
    assert office.sandbox.account.milestones[two]["title"] == "Größe, neu"
    assert all(result["note"] for result in office.json("propose", "--from", str(file)))
    assert len(office.json("changes", "--all")) == 4


FILES = [
    ("milestone_id,Amount\n1,2\n", "'Amount'"),
    ("milestone_id;title\n4711;a\n", "no milestone 4711"),
    ("milestone_id,title\n1,a,b\n", "as many values"),
    ("milestone_id,title\n1\n", "as many values"),
    ("action,milestone_id\nupsert,1\n", "upsert"),
    ("id,milestone_id,title\n1,2,a\n", "two milestones"),
    ('milestone_id,title\n1,"a\n', "line"),
    ("milestone_id,amount_in_cents,title,amount_in_cents\n1,100,a,999\n", "'amount_in_cents'"),
    ("", "holds no changes"),
    ("milestone_id,title\n", "holds no changes"),
]


@pytest.mark.long_on("postgres")
def test_invalid_files(office: Office, tmp_path: Path) -> None:
    """An invalid or empty file is refused, and the message says what is wrong."""
    file = tmp_path / "changes.csv"
    for text, expected in FILES:
        file.write_text(text)
        code, output = office.run("propose", "--from", str(file), "--reason", "r")
        assert (code, expected in output) == (2, True), (text, output)
    assert office.json("changes") == []
    assert office.run("propose", "--from", str(tmp_path / "none.csv"))[0] == 2
    file.write_bytes(b"milestone_id,title\n1,\xff\n")
    assert "UTF-8" in office.run("propose", "--from", str(file))[1]


def test_by_query(office: Office) -> None:
    """Rows of the warehouse become changes; a query that writes or fails changes nothing."""
    sql = (
        "select id, amount_in_cents + 1 as amount_in_cents from kantata.billing_milestones "
        f"where id in ('{office.free()[0]}', '{office.free()[1]}')"
    )
    assert len(office.json("propose", "--query", sql, "--reason", "r")) == 2
    table = "kantata.billing_milestones"
    for wrong, expected in (
        ("select nothing", "failed"),
        (f"select id, title, title from {table}", "'title' is a column more than once"),
        (f"select id, title from {table} where id is null", "no rows"),
    ):
        code, output = office.run("propose", "--query", wrong, "--reason", "r")
        assert (code, expected in output) == (2, True), output
    code, _ = office.run(
        "propose", "--query", "delete from kantata.billing_milestones", "--reason", "r"
    )
    assert code == 2
    assert_equal(office.job, office.sandbox.account)


@pytest.mark.long_on("postgres")
def test_duplicates_and_decisions(office: Office) -> None:
    """A create equal to a milestone needs --allow-duplicate; a rejected change stays rejected."""
    account = office.sandbox.account
    live = account.milestones[office.free()[0]]
    words = ["create", "--reason", "r", "--as", "ann", *(
        f"--set={n}={live[n]}"
        for n in ("workspace_id", "title", "amount_in_cents", "date_to_invoice")
    )]  # fmt: skip
    code, output = office.run("propose", *words)
    assert (code, "--allow-duplicate" in output) == (2, True)
    first = office.json("propose", *words, "--allow-duplicate")["change_id"]
    assert office.run("reject", first, "--reason", "no", "--as", "bob")[0] == 0
    assert office.run("approve", first, "--as", "bob")[0] == 2
    second = office.json("propose", *words, "--allow-duplicate")["change_id"]
    assert office.run("approve", second, "--as", "bob")[0] == 0
    assert office.run("withdraw", second, "--as", "ann")[0] == 0
    assert office.json("push")["changes"] == []
    assert office.run("show", "nothing")[0] == office.run("audit", "nothing")[0] == 2


@pytest.mark.long_on("postgres")
def test_writing_is_off_by_default(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PUSH__ENABLED nothing is sent; writes use KANTATA_WRITE_TOKEN if it is set."""
    id_ = office.free()[0]
    change = office.json("propose", "update", id_, "--set", "title=x", "--reason", "r", "--as", "a")
    office.run("approve", change["change_id"], "--as", "b")
    monkeypatch.delenv("PUSH__ENABLED")
    monkeypatch.setenv("ENABLED", "true")  # another program's: dlt would read it as ours
    code, output = office.run("push")
    assert (code, "PUSH__ENABLED=true" in output) == (2, True)
    monkeypatch.setenv("PUSH__ENABLED", "true")
    monkeypatch.setenv("KANTATA_WRITE_TOKEN", "a-token-for-writing")
    code, output = office.run("push")
    assert code == 2
    assert "KANTATA_WRITE_TOKEN" in output
    assert "a-token-for-writing" not in output
    monkeypatch.setenv("KANTATA_WRITE_TOKEN", office.sandbox.token)
    assert office.run("push")[0] == 0
    assert office.sandbox.account.milestones[id_]["title"] == "x"


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_CHANGES", "0"),
        ("RECONCILE_AFTER", "-1"),
        ("RECONCILE_AFTER", "soon"),
        ("ENABLED", "perhaps"),
    ],
)
def test_wrong_settings(
    office: Office, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """An invalid setting gives exit code 2."""
    monkeypatch.setenv(f"PUSH__{name}", value)
    assert office.run("push")[0] == 2


def test_amounts_in_money(office: Office, tmp_path: Path) -> None:
    """An amount in money is exact minor units of its currency, and shown before and after."""
    account = office.sandbox.account
    rows = [(id_, account.milestones[id_]["currency"]) for id_ in office.free()[:6]]
    units = {
        code: int(1 / unit)
        for code, unit in office.job.rows(
            "select iso_code, unit_per_subunit from kantata.currencies"
        )
    }
    file = tmp_path / "changes.csv"
    lines = [f"{id_},{'1234.56' if units[code] > 1 else '1234'},x" for id_, code in rows]
    file.write_text("\n".join(["milestone_id,amount,project", *lines]))
    code, output = office.run("propose", "--from", str(file), "--reason", "r", "--as", "ann")
    assert code == 0, output
    assert "ignored the columns project" in output
    assert "→ 1,234" in output
    proposed = {c["milestone_id"]: c["after"] for c in office.json("changes")}
    for id_, code in rows:
        wanted = 123456 * units[code] // 100 if units[code] > 1 else 1234
        assert proposed[id_] == {"amount_in_cents": wanted}
    project = account.milestones[rows[0][0]]["workspace_id"]
    created = office.json(
        "propose", "create", f"--set=workspace_id={project}", "--set=title=in money",
        "--set=amount=12", "--reason", "r",
    )["change_id"]  # fmt: skip
    (made,) = (c for c in office.json("changes") if c["change_id"] == created)
    assert made["after"]["amount_in_cents"] == 12 * units[made["currency"]]


@pytest.mark.long_on("postgres")
def test_a_currency_is_checked(office: Office, tmp_path: Path) -> None:
    """A line whose currency is not its milestone's or project's is refused, in a file and a query.

    Else an amount would mean another one than the file says.
    """
    account = office.sandbox.account
    one, two, three, *_ = office.free()
    project = account.milestones[one]["workspace_id"]
    right = [account.milestones[id_]["currency"] for id_ in (one, two, three)]
    of_project = account.workspaces[project]["currency"]
    file = tmp_path / "changes.csv"
    head = "action,milestone_id,workspace_id,title,amount,currency\n"
    file.write_text(
        f"{head}update,{one},,,1,XYZ\nupdate,{two},,,2,{right[1]}\n"
        f"create,,{project},new,3,XYZ\ndelete,{three},,,,XYZ\nupdate,4711,,,1,XYZ\n"
    )
    code, output = office.run("propose", "--from", str(file), "--reason", "r")
    words = " ".join(output.split())
    assert code == 2
    for line, name, currency in (
        (2, f"milestone {one}", right[0]),
        (4, f"project {project}", of_project),
        (5, f"milestone {three}", right[2]),
    ):
        wrong = f"line {line}: currency is 'XYZ', but that of {name} is {currency}: correct"
        assert wrong in words, words
    assert "line 3" not in words
    assert "line 6: the warehouse has no milestone 4711" in words
    query = f"select '{one}' as id, 1 as amount, 'XYZ' as currency"
    code, output = office.run("propose", "--query", query, "--reason", "r")
    assert (code, "row 1: currency is 'XYZ'" in output) == (2, True), output
    assert office.json("changes") == []
    file.write_text(
        f"{head}update,{one},,,1, {right[0].lower()} \nupdate,{two},,,2,\n"
        f"create,,{project},new,3,{of_project}\ndelete,{three},,,,{right[2]}\n"
    )
    assert len(office.json("propose", "--from", str(file), "--reason", "r")) == 4
    assert len(office.json("changes")) == 4


def test_unusual_dates_and_midnight(office: Office) -> None:
    """A date more than ten years away needs a confirmation; midnight is part of a date."""
    one, two, *_ = office.free()
    words = ("--reason", "r", "--set", "date_to_invoice=1927-01-31")
    assert "--unusual" in office.run("propose", "update", one, *words)[1]
    office.json("propose", "update", one, *words, "--unusual")
    midnight = "date_to_invoice=2027-01-31 00:00:00"
    code, output = office.run("propose", "update", two, "--set", midnight, "--reason", "r")
    assert code == 0
    assert "→ 2027-01-31" in output
