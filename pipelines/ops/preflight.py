"""Check the account, the token and the warehouse before a run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipelines.config.account_binding import (
    check_warehouse_account,
    connected_account,
    expect_bound,
)
from pipelines.config.ledger_binding import bound_ledger_account
from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import KantataSettings
from pipelines.runtime.clock import CLOCK_TOLERANCE, clock_difference, utc_now
from pipelines.runtime.exit_codes import ExitCode
from pipelines.sync.session import ensure_lockable
from sources.kantata import KantataReader
from sources.kantata.api.transport import Parameters
from sources.kantata.errors import KantataError
from sources.kantata.settings import MILESTONE_INCLUDES
from warehouse import time_zones
from warehouse.account import bound_account
from warehouse.database import connect
from warehouse.errors import (
    LocksUnsupported,
    NoWarehouse,
    WarehouseBusy,
    WarehouseError,
    WarehouseMisconfigured,
    WarehouseUnwritable,
)
from warehouse.lineage import check_files, published_state
from warehouse.locks import file_lock
from warehouse.proposer_query import check_reader
from warehouse.publish import check_link
from warehouse.raw.account_binding import read_origin
from warehouse.raw.summary import count_milestones
from warehouse.reader import open_reader
from warehouse.target import Target
from warehouse.words import counted

from .check_result import CheckResult
from .configured_report import report_path
from .file_rights import file_rights
from .lake_check import check_lake
from .ledger_check import check_ledger
from .optional_reads import check_clients, check_rates
from .probes import run_probes
from .report import check_report
from .user_marts_check import check_user_marts

# Where the records of an include are found.
_INCLUDED_AS = {"workspace": "workspaces", "story": "stories"}


def preflight(
    kantata: Callable[[], KantataSettings], target: Target, probe: bool
) -> Iterator[CheckResult]:
    """Run the preflight: check everything a run depends on; yield a result for each check.

    Secrets are masked in the answers.

    Args:
        kantata: Returns the settings of the source, or fails: then the account is not asked.
        target: The warehouse.
        probe: Whether to also test how this account's API behaves; with GET requests only.
    """
    for result in _checks(kantata, target, probe):
        yield replace(result, answer=mask_secrets(result.answer))


def _checks(
    kantata: Callable[[], KantataSettings], target: Target, probe: bool
) -> Iterator[CheckResult]:
    """Yield the results of the preflight, as they are found."""
    try:
        reader = kantata().reader()
    except KantataError as error:
        yield CheckResult("settings", str(error), error.exit_code)
    else:
        yield from _account_checks(reader, target, probe)
    yield _warehouse(target)
    yield CheckResult("ledger", *check_ledger(target))
    yield _time_zone(target)
    yield from file_rights(target)
    if target.published:
        yield _published(target)
    if target.models:
        yield check_user_marts(target)
    if target.lake:
        yield check_lake(target, target.lake)
    if path := report_path():
        yield CheckResult("report", *check_report(path))


def _account_checks(reader: KantataReader, target: Target, probe: bool) -> Iterator[CheckResult]:
    """Yield the results of the preflight for the account; only the first if the token fails."""
    with suppress(WarehouseError), open_reader(target) as warehouse:  # checked later
        expect_bound(reader, bound_account(warehouse))
    user = _user(reader)
    yield user
    if user.exit_code:
        return
    yield _milestones(reader)
    yield _currencies(reader)
    yield _feed(reader)
    yield check_clients(reader)
    if target.reporting_currency:
        yield check_rates(reader, target)
    yield _account(reader, target)
    yield _clock(reader)
    yield from run_probes(reader) if probe else ()


def _user(reader: KantataReader) -> CheckResult:
    """Check in the preflight that the token is valid; report its user."""
    try:
        page = reader.page("users/me", {})
    except KantataError as error:
        return CheckResult("token", str(error), error.exit_code)
    id_, user = next(iter(page.records.items()), ("?", {}))
    name = user.get("full_name", "no name")
    role = (
        "an account administrator" if user.get("account_administrator") else "not an administrator"
    )
    return CheckResult("token", f"valid: it is the token of {name} (user {id_}), {role}")


def _milestones(reader: KantataReader) -> CheckResult:
    """Check in the preflight that the token can read milestones and what they refer to."""
    query: Parameters = {"per_page": 20, "include": MILESTONE_INCLUDES}
    try:
        page = reader.page("billing_milestones", query)
    except KantataError as error:
        return CheckResult("milestones", str(error), error.exit_code)
    wanted = [_INCLUDED_AS.get(name, name) for name in MILESTONE_INCLUDES.split(",")]
    missing = [name for name in wanted if name not in page.side_loaded]
    if missing and page.records:
        return CheckResult(
            "milestones",
            f"{page.count:,} readable, but without their {', '.join(missing)}: check the "
            "permissions of the token's user",
            ExitCode.ACTION_REQUIRED,
        )
    return CheckResult("milestones", f"{page.count:,} readable, with their {', '.join(wanted)}")


def _currencies(reader: KantataReader) -> CheckResult:
    """Check in the preflight that the token can read currencies."""
    try:
        page = reader.page("currencies", {"per_page": 200})
    except KantataError as error:
        return CheckResult(
            "currencies",
            f"not readable, so amounts stay in minor units: {error}",
            ExitCode.ACTION_REQUIRED,
        )
    return CheckResult("currencies", f"{page.count:,} readable")


def _feed(reader: KantataReader) -> CheckResult:
    """Check in the preflight that the token can read the event feed."""
    try:
        reader.json("subscribed_events/event_types", {})
    except KantataError as error:
        return CheckResult("event feed", f"not readable, so every run is a full scan: {error}")
    return CheckResult("event feed", "readable: runs between full scans read only what changed")


def _clock(reader: KantataReader) -> CheckResult:
    """Check in the preflight that this machine's clock agrees with Kantata's."""
    ahead = reader.machine_is_ahead
    if ahead is None:
        return CheckResult("clock", "Kantata does not state its time")
    if abs(ahead) <= CLOCK_TOLERANCE:
        return CheckResult("clock", "agrees with Kantata's")
    return CheckResult("clock", f"{clock_difference(ahead)}: correct it", ExitCode.ACTION_REQUIRED)


def _account(reader: KantataReader, target: Target) -> CheckResult:
    """Check in the preflight that the warehouse belongs to the connected account."""
    try:
        account = connected_account(reader)
        with open_reader(target) as warehouse:
            origin = read_origin(warehouse)
        check_warehouse_account(origin, account, reader, bound_ledger_account(target))
    except NoWarehouse:
        return CheckResult("account", f"{account}; the first run binds the warehouse to it")
    except WarehouseMisconfigured as error:
        return CheckResult("account", str(error), error.exit_code)
    except WarehouseError:  # the check of the warehouse says what is wrong
        return CheckResult("account", str(account))
    except KantataError as error:
        return CheckResult("account", str(error), error.exit_code)
    return CheckResult("account", f"{account}; the warehouse was filled from it")


def _warehouse(target: Target) -> CheckResult:
    """Check in the preflight that the warehouse can be locked and opened."""
    try:
        with file_lock(target.lock):
            if target.loader and not target.loader.exists():
                return CheckResult(
                    "warehouse", f"{target.loader} does not exist yet; the first run creates it"
                )
            with connect(target.destination) as database:
                database.check_rights()
                ensure_lockable(target, database)
                database.check_load_connection()
                check_reader(target)
                count = count_milestones(database)
    except LocksUnsupported as error:
        return CheckResult("warehouse", str(error), error.exit_code)
    except WarehouseBusy as error:
        return CheckResult("warehouse", str(error))
    except WarehouseError as error:
        return CheckResult("warehouse", str(error), error.exit_code)
    place = target.loader or f"Postgres ({target.address or 'configured in parts'})"
    return CheckResult("warehouse", f"{place} has {counted(count, 'milestone')}")


def _time_zone(target: Target) -> CheckResult:
    """Check in the preflight that databases and Python agree on the reporting time zone."""
    zone, now = target.timezone, utc_now()
    names = ["Python", "DuckDB"]
    try:
        different = time_zones.first_difference(time_zones.InMemoryDuckDB(), zone, now, "DuckDB")
        if different is None and target.loader is None:
            names.append("Postgres")
            with connect(target.destination) as database:
                different = time_zones.first_difference(database, zone, now, "Postgres")
    except WarehouseMisconfigured as error:
        return CheckResult("time zone", str(error), error.exit_code)
    except WarehouseError as error:
        return CheckResult("time zone", f"not compared with Postgres: {error}", error.exit_code)
    if different:
        return CheckResult(
            "time zone",
            f"{zone}: at {different.moment:%Y-%m-%d %H:%M:%S} UTC it is "
            f"{different.expected:%Y-%m-%d %H:%M} in Python and {different.found:%Y-%m-%d %H:%M} "
            f"in {names[-1]}. Update the older time zone data: tzdata of the system and of Python, "
            f"or {names[-1]}",
            WarehouseMisconfigured.exit_code,
        )
    coming = time_zones.changes(zone, now)
    listed = " and ".join([", ".join(names[:-1]), names[-1]])
    until = f"; next change {coming[0]:%Y-%m-%d %H:%M} UTC" if coming else ""
    return CheckResult("time zone", f"{listed} agree on {zone}{until}")


def _is_writable(folder: Path) -> bool:
    """Return whether a file can be written in a folder, which the preflight tries.

    The permissions alone do not say it: the file system may be read-only, or the user root.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _published(target: Target) -> CheckResult:
    """Check in the preflight that the published file can be written."""
    assert target.published  # noqa: S101 - checked by the caller
    try:
        check_files(target)
        check_link(target.published)
        published_state(target)
    except WarehouseError as error:
        return CheckResult("published file", str(error), error.exit_code)
    folder = target.published.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not _is_writable(folder):
        return CheckResult(
            "published file",
            f"cannot write {target.published.absolute()}: correct the permissions of {folder}, or "
            "set WAREHOUSE__PUBLISH_TO to another file",
            WarehouseUnwritable.exit_code,
        )
    return CheckResult("published file", f"{target.published} can be written")
