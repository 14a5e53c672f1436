"""What can go wrong with the warehouse, named by what to do next.

    WarehouseError              exit code
    |- WarehouseMisconfigured  2  the destination or the folder is wrong: mend the configuration
    |- WarehouseUnavailable   75  no connection, or lost: try again later
    |- WarehouseBusy          75  another run has it: wait for it
    |  |- LocksUnsupported     2  this system has no locks: run it in WSL or a container
    |  '- LockUnopened         1  its lock is another user's: mend the rights of the folder
    |- WarehouseUnwritable     1  no space, or no right to write there: make room, or mend it
    |- WarehouseUnproven       1  what was loaded is not what was read: nothing is published
    |- WarehouseChecksFailed   1  the marts would be wrong: they stay as they were
    '- ChangeRefused           2  a change cannot be proposed or decided so: mend what is named

Messages name the thing and the way out; never a password.
"""

from __future__ import annotations

from typing import ClassVar


class WarehouseError(Exception):
    """Something went wrong with the warehouse; ``exit_code`` is what to end the process with."""

    exit_code: ClassVar[int] = 1


class WarehouseMisconfigured(WarehouseError):
    """The configuration does not lead to a warehouse this release can use."""

    exit_code = 2


class WarehouseUnavailable(WarehouseError):
    """The database does not answer; it may later."""

    exit_code = 75


class WarehouseBusy(WarehouseError):
    """Another run has the warehouse."""

    exit_code = 75


class LocksUnsupported(WarehouseBusy):
    """This system has no file locks, so nobody can say whether a run is going."""

    exit_code = 2


class LockUnopened(WarehouseBusy):
    """The lock is another user's, so nobody can say whether a run is going."""

    exit_code = 1


class WarehouseUnwritable(WarehouseError):
    """A file or folder cannot be written."""


class WarehouseUnproven(WarehouseError):
    """The warehouse does not hold what was read."""


class WarehouseChecksFailed(WarehouseError):
    """A blocking check of the marts found something."""


class ChangeRefused(WarehouseError):
    """A change cannot be proposed, or decided on, in this way."""

    exit_code = 2
