"""Errors of the warehouse and the ledger, named by what to do next.

    WarehouseError             exit code
    |- WarehouseMisconfigured  2  the destination or the folder is wrong: correct the configuration
    |  |- NoWarehouse         2  there is no warehouse here: sync first, or use its folder
    |  |- AnotherAccount      2  it was filled from another account: connect that one
    |  |- WarehouseMoved      2  it was moved to Postgres: use it there
    |  '- LakeMisconfigured   2  the copy in open tables needs the extra `lake`: install it
    |- WarehouseUnavailable   75  no connection, or it was lost: try again later
    |  '- OpenElsewhere       75  another process has the DuckDB file open: close it there
    |- WarehouseBusy          75  another run holds the lock: wait for it
    |  |- LocksUnsupported    2  this system has no file locks: run milestones in WSL or a container
    |  '- LockUnopened         1  the lock file belongs to another user: correct the folder's rights
    |- WarehouseUnwritable     1  no space, or no right to write: make room, or correct the rights
    |- WarehouseDamaged        1  the DuckDB file cannot be read: restore it
    |- WarehouseUnproven       1  what was loaded differs from what was read: nothing is published
    |- MinorUnitChanged        3  amounts would be worth something else: a person must accept it
    |- LedgerDamaged           1  the ledger is damaged, altered or older than its copy: restore it
    |- LedgerRestored          3  a lost ledger was restored from its copy: look at it, then go on
    |- WarehouseChecksFailed   1  the marts would be wrong: they stay as they were
    |- PeriodRefused           2  the month cannot be closed or reopened: see its message
    '- ChangeRefused           2  the change request or decision is not allowed: see its message
       |- NoLedger             2  nothing was ever proposed or closed here
       |- UnknownChange        2  there is no change with this id: list them
       |- OwnChange            2  the person proposed it, or did not: another one must decide on it
       '- ChangedSince         2  it is not as it was seen, or is decided on: look at it again

Messages say what happened, to what, and what to do. They never contain a password.
"""

from __future__ import annotations

from typing import ClassVar


class WarehouseError(Exception):
    """A failure of the warehouse; ``exit_code`` is the exit code of the process."""

    exit_code: ClassVar[int] = 1


class WarehouseMisconfigured(WarehouseError):
    """The configuration names no warehouse or ledger that this release can use."""

    exit_code = 2


class NoWarehouse(WarehouseMisconfigured):
    """No run has created a warehouse at this place."""


class AnotherAccount(WarehouseMisconfigured):
    """The warehouse was filled from another account than the one that is connected."""


class WarehouseMoved(WarehouseMisconfigured):
    """The DuckDB warehouse was moved to Postgres, and nothing reads this one any more."""


class LakeMisconfigured(WarehouseMisconfigured):
    """The copy in open tables is configured, and what it needs is not installed."""


class WarehouseUnavailable(WarehouseError):
    """The database does not answer; it may later."""

    exit_code = 75


class OpenElsewhere(WarehouseUnavailable):
    """Another process, such as a person's DuckDB, has a file of the warehouse open."""


class WarehouseBusy(WarehouseError):
    """Another process holds the lock."""

    exit_code = 75


class LocksUnsupported(WarehouseBusy):
    """The system or file system has no file locks, so nobody knows whether a run is in progress."""

    exit_code = 2


class LockUnopened(WarehouseBusy):
    """The lock file belongs to another user, so it is not known whether a run is in progress."""

    exit_code = 1


class WarehouseUnwritable(WarehouseError):
    """A file or folder cannot be written."""


class WarehouseDamaged(WarehouseError):
    """A DuckDB file is damaged: no later run can read it."""


class WarehouseUnproven(WarehouseError):
    """The totals in the warehouse differ from those that were read."""


class MinorUnitChanged(WarehouseError):
    """Kantata gives another minor unit for a currency; nothing is loaded until it is accepted."""

    exit_code = 3


class LedgerDamaged(WarehouseError):
    """The ledger cannot be read, somebody altered it, or its copy in the warehouse knows more."""


class LedgerRestored(WarehouseError):
    """The ledger was missing or empty, so it was restored from its copy; nothing else was done."""

    exit_code = 3


class WarehouseChecksFailed(WarehouseError):
    """A blocking check of the marts found wrong rows."""


class PeriodRefused(WarehouseError):
    """A month cannot be closed or reopened, or not yet."""

    exit_code = 2


class ChangeRefused(WarehouseError):
    """A change cannot be proposed, or decided on, in this way; each argument is a line."""

    exit_code = 2

    def __str__(self) -> str:
        """Return the lines as one text."""
        return "\n  ".join(map(str, self.args))


class NoLedger(ChangeRefused):
    """There is no ledger of changes yet."""


class UnknownChange(ChangeRefused):
    """There is no change with this id."""


class OwnChange(ChangeRefused):
    """The person may not decide on it: they proposed it, or for a withdrawal they did not."""


class ChangedSince(ChangeRefused):
    """The change is not the one that was seen: another digest, or somebody decided on it."""
