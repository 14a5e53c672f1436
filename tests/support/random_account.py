"""A warehouse after a random life of its account: everything that a mart shows has changed."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from sources.kantata_sandbox import Account
from tests.support.office import Office

DAY = 86_400
ROUNDS = 4
CHANGES = 10
# Texts that are easily lost in SQL or JSON.
STATUSES = ('In "Progress"', "a\\b", "NUL\u0000here", "\\u0000", "größer", "it's", "")
Record = dict[str, Any]


def live(office: Office, rng: Random) -> None:
    """Let an account change, with syncs between, a change request and a closed month.

    The account must be synced already. What is deleted may return in a later round.
    """
    account, job = office.sandbox.account, office.job
    deleted: list[Record] = []
    for _ in range(CHANGES):
        _change(account, rng, deleted)
    job.sync(office.sandbox)
    month = _next_month(account, ZoneInfo(job.target.timezone))
    job.sync(office.sandbox)
    code, said = office.run("close", month, "--as", "kim")
    assert code == 0, said
    _push(office)
    for number in range(ROUNDS):
        for _ in range(CHANGES):
            _change(account, rng, deleted)
        account.advance(rng.choice((3600, DAY, 20 * DAY)))
        if number == 1:
            _change_minor_unit(office)
        job.sync(office.sandbox, full=number % 2 == 1)


def _change(account: Account, rng: Random, deleted: list[Record]) -> None:
    """Change something that a mart shows."""
    milestones, invoices = account.true_milestones, account.invoices.values()
    id_ = rng.choice(sorted(milestones))
    free = sorted(i for i, m in milestones.items() if not m["invoice_id"] and m["amount_in_cents"])
    open_ = sorted(
        i["id"]
        for i in invoices
        if not i["draft"] and i["status"] == "new" and i["balance_in_cents"] > 1
    )
    project, group = (
        rng.choice(sorted(account.workspaces)),
        rng.choice(sorted(account.workspace_groups)),
    )
    today = datetime.fromtimestamp(account.clock.now(), UTC).date()

    def delete() -> None:
        deleted.append(dict(milestones[id_]))
        account.delete_milestone(id_)

    def restore() -> None:
        account.restore_milestone(deleted.pop(rng.randrange(len(deleted))))

    actions = [
        lambda: account.update_milestone(id_, amount_in_cents=rng.choice((0, -5, 7, 10**15))),
        lambda: account.update_milestone(id_, date_to_invoice=_date(rng, today)),
        lambda: account.update_milestone(id_, title=rng.choice(STATUSES)),
        lambda: account.silently_update_milestone(
            id_, currency=rng.choice(("USD", "EUR", "JPY", "KWD"))
        ),
        delete, restore, restore,
        lambda: account.create_milestone(
            title="New", amount_in_cents=777, date_to_invoice=_date(rng, today)
        ),
        lambda: account.invoice_milestone(rng.choice(free), draft=rng.random() < 0.3),
        lambda: account.pay_invoice(rng.choice(open_)),
        lambda: account.pay_invoice(rng.choice(open_), 1),
        lambda: account.cancel_invoice(rng.choice(open_)),
        lambda: account.update_invoice(rng.choice(open_), due_date=None),
        lambda: account.update_invoice(rng.choice(open_), invoice_date=_date(rng, today)),
        lambda: account.update_workspace(project, status={"message": rng.choice(STATUSES)}),
        lambda: account.update_optional_fields(project, primary_workspace_group_id=group),
        lambda: account.rename_client(group, f"client {rng.random()}"),
        lambda: account.hide_fields(*rng.sample(["stage", "client_lead_name"], rng.randint(0, 2))),
        lambda: account.hide_workspace(project) if rng.random() < 0.3 else None,
    ]  # fmt: skip
    with suppress(IndexError, ValueError):  # there is no such invoice, or nothing is deleted
        rng.choice(actions)()


def _date(rng: Random, today: date) -> str | None:
    """A date near the edges of this month, or none."""
    days = (-400, -40, -31, -1, 0, 1, 31, 90)
    return rng.choice([None, *(f"{today + timedelta(days=n)}" for n in days)])


def _change_minor_unit(office: Office) -> None:
    """Let a currency have another minor unit, which a person accepts."""
    office.sandbox.account.update_currency("KWD", 100)
    office.job.sync(office.sandbox, accepted_minor_units=frozenset({"KWD"}))


def _push(office: Office) -> None:
    """Apply a change request, and propose another one."""
    first, second, *_ = filter(office.sandbox.account.sees_milestone, office.free())
    words = ("--set", "amount_in_cents=12345", "--reason", "it's\\n", "--as", "ann")
    change = office.json("propose", "update", first, *words)["change_id"]
    office.json("approve", change, "--as", "bob")
    code, said = office.run("push")
    assert code in (0, 3), said  # 3 if access to another project was lost
    assert "1 applied, 0 not applied" in said
    office.run("propose", "update", second, *words)


def _next_month(account: Account, zone: ZoneInfo) -> str:
    """Let the month of a time zone end, and at least some hours pass; return its name."""
    now = datetime.fromtimestamp(account.clock.now(), zone)
    following = (now.date().replace(day=1) + timedelta(days=31)).replace(day=1)
    noon = datetime(following.year, following.month, 1, 12, tzinfo=UTC)
    account.advance((noon - now).total_seconds())
    return f"{now:%Y-%m}"
