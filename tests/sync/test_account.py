"""A warehouse is filled from one account only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.config.settings import kantata_settings
from pipelines.ops.rebind import Rebinding, rebind
from pipelines.runtime.clock import utc_now
from sources.kantata.errors import KantataFieldLost, KantataUnavailable
from sources.kantata_sandbox import Fault, Sandbox
from tests.support.job import Job
from warehouse.account import AccountBinding
from warehouse.errors import WarehouseError, WarehouseMisconfigured
from warehouse.ledger.account_binding import bind_account
from warehouse.ledger.connection import connect_ledger

BINDINGS = "select address, account_id from kantata.account_bindings order by bound_at"
FIGURES = "select count(*), sum(amount_in_cents), count(deleted_at) from kantata.billing_milestones"

RUNS = "select run_id, status, error from kantata.sync_runs order by run_id"


@pytest.fixture
def first() -> Iterator[Sandbox]:
    """The account that fills the warehouse."""
    with Sandbox(milestones=30) as sandbox:
        yield sandbox


@pytest.fixture
def second() -> Iterator[Sandbox]:
    """Another account."""
    with Sandbox(milestones=30, seed=2) as sandbox:
        yield sandbox


def _show_id(sandbox: Sandbox, account_id: int | None) -> None:
    with sandbox.account.change():
        sandbox.account.user["account_id"] = account_id


def _assert_refused(job: Job, other: Sandbox, filled_from: str) -> None:
    """A sync of another account fails before it reads anything but the user, and loads nothing."""
    figures, bindings, runs = job.rows(FIGURES), job.rows(BINDINGS), job.rows(RUNS)
    other.requests.clear()
    with pytest.raises(WarehouseMisconfigured, match=f"filled from .*{filled_from}.* connected"):
        job.sync(other)
    assert {r.path.partition("?")[0] for r in other.requests} <= {
        "/users/me", "/billing_milestones",
    }  # fmt: skip
    assert (job.rows(FIGURES), job.rows(BINDINGS)) == (figures, bindings)
    assert job.rows(RUNS) == runs  # it is no run of this warehouse


@pytest.mark.long_on("postgres")
def test_another_account_is_refused(job: Job, first: Sandbox, second: Sandbox) -> None:
    """The account that filled the warehouse still syncs; another one is refused by name."""
    job.synced(first)
    assert job.rows(BINDINGS) == [("this machine/api/v1", "4711")]
    _assert_refused(job, second, "account 4711")
    first.requests.clear()
    job.sync(first)
    assert sum(r.path.startswith("/users/me") for r in first.requests) == 1
    assert len(job.rows(BINDINGS)) == 1


@pytest.mark.long_on("postgres")
def test_an_empty_warehouse_is_not_bound(job: Job, first: Sandbox, second: Sandbox) -> None:
    """A first run that fails before it loads binds nothing."""
    first.account.remove_field("currency")
    with pytest.raises(KantataFieldLost, match="currency"):
        job.sync(first)
    job.sync(second)
    assert job.rows(BINDINGS) == [("this machine/api/v1", "4712")]


@pytest.mark.long
@pytest.mark.long_on("postgres")
def test_a_hidden_id_is_added_when_it_is_seen(job: Job, first: Sandbox, second: Sandbox) -> None:
    """If the token may not read the account's id, the host decides; later the id is added."""
    _show_id(first, None)
    job.sync(first)
    assert job.rows(BINDINGS) == [("this machine/api/v1", None)]
    _show_id(first, 4711)
    job.sync(first)
    assert job.rows(BINDINGS)[1:] == [("this machine/api/v1", "4711")]
    _show_id(first, None)
    job.sync(first)
    assert len(job.rows(BINDINGS)) == 2
    _assert_refused(job, second, "account 4711")


def test_unbound_by_its_ledger(job: Job, first: Sandbox, second: Sandbox) -> None:
    """A warehouse of an older release belongs to the account of its ledger."""
    job.synced(first)
    job.run("delete from kantata.account_bindings")
    with connect_ledger(job.target.ledger_url, utc_now) as ledger:
        bind_account(ledger, AccountBinding("this machine/api/v1", "99"))
    _assert_refused(job, second, "account 99")


@pytest.mark.long_on("postgres")
def test_unbound_by_its_projects(job: Job, first: Sandbox, second: Sandbox) -> None:
    """A warehouse of an older release belongs to the account that its projects name."""
    job.synced(first)
    job.run("drop table kantata.account_bindings")
    with pytest.raises(WarehouseMisconfigured, match="filled from account 4711"):
        job.sync(second)
    job.sync(first)
    assert job.rows(BINDINGS) == [("this machine/api/v1", "4711")]


@pytest.mark.long_on("postgres")
def test_unbound_by_its_milestones(job: Job, first: Sandbox, second: Sandbox) -> None:
    """If nothing names an account, one that knows none of the milestones is refused."""
    job.synced(first)
    job.run("delete from kantata.account_bindings")
    job.run("update kantata.workspaces set account_id = null")
    second.account.hidden |= set(second.account.workspaces)
    _assert_refused(job, second, "an account with the milestone")
    job.sync(first)
    assert job.rows(BINDINGS) == [("this machine/api/v1", "4711")]


@pytest.mark.long_on("postgres")
def test_rebind(job: Job, first: Sandbox, second: Sandbox) -> None:
    """After a rebind the warehouse belongs to the connected account; the reason is kept."""
    with pytest.raises(WarehouseError, match="run `milestones sync`"):
        _rebind(job, second)
    job.synced(first)
    rebound = _rebind(job, second)
    assert str(rebound.warehouse_before) == "account 4711 at this machine/api/v1"
    assert job.rows(BINDINGS)[-1] == ("this machine/api/v1", "4712")
    assert job.rows("select reason from kantata.account_bindings order by bound_at")[-1] == (
        "moved",
    )
    with pytest.raises(WarehouseMisconfigured, match="filled from account 4712"):
        job.sync(first)


def _rebind(job: Job, sandbox: Sandbox) -> Rebinding:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KANTATA_API_URL", sandbox.url)
        patch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
        return rebind(kantata_settings(), job.target, "moved", utc_now)


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_a_gateway_in_front_of_a_known_account_may_pass(job: Job) -> None:
    """If the first answer is a page of HTML, the address is right all the same: 75, not 2."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
    with Sandbox(milestones=30) as sandbox:  # the same account, at an address not asked before
        sandbox.misbehave(Fault("html"))
        with pytest.raises(KantataUnavailable) as raised:
            job.sync(sandbox)
        assert raised.value.exit_code == 75
        assert len(sandbox.requests) > 1  # it was tried again
        sandbox.behave()
        assert job.sync(sandbox).exit_code == 0
