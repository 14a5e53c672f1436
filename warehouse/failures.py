"""What a database's failure means: the error of ours that says what to do next.

The drivers, dlt and the servers say it in words only.
"""

from __future__ import annotations

import errno
import re

from .errors import (
    OpenElsewhere,
    WarehouseDamaged,
    WarehouseError,
    WarehouseMisconfigured,
    WarehouseUnavailable,
)

_PERMISSION_ERRORS = ("read-only transaction", "permission denied")
_MEMORY_ERRORS = ("Out of Memory Error", "could not allocate block")
_DAMAGED_FILE = (
    "Corrupt database file", "Could not read enough bytes", "while replaying WAL",
    "Serialization Error",
)  # fmt: skip
_OPEN_ELSEWHERE = re.compile(
    r'Could not set lock on file "(?P<file>[^"]+)"'
    r"(: Conflicting lock is held in (?P<process>.*?PID \d+\)?))?"
)
#: What remains if neither the loader's file nor the published one can be read.
WITHOUT_EITHER = (
    "Restore a backup: milestones restore --from FILE --reason TEXT. Without a backup, remove both "
    "files and run `milestones sync`: it reads the account again, but earlier versions of "
    "milestones are lost"
)
# What no later run can fix, in the words of libpq and of the server.
_CONNECTION_ERRORS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not support SSL",
    "certificate",
    "invalid sslmode value",
    "invalid value for parameter",
    "unrecognized configuration parameter",
    "unsupported startup parameter",
    "is not currently accepting connections",
)
CONFIGURATION_ERRORS = (
    *_CONNECTION_ERRORS,
    "does not exist",
    "not a valid DuckDB",
    *_PERMISSION_ERRORS,
)


def database_failure(message: str) -> WarehouseError:
    """Return the warehouse error for a database's message: what it says decides what to do."""
    if any(words in message for words in _MEMORY_ERRORS):
        return WarehouseMisconfigured(
            f"{message}. Raise DuckDB's memory limit, for example WAREHOUSE__MEMORY_LIMIT=1GB"
        )
    if any(words in message for words in _CONNECTION_ERRORS):
        return WarehouseMisconfigured(message)
    if any(words in message for words in _PERMISSION_ERRORS):
        return WarehouseMisconfigured(
            f"{message}. The destination must be the primary server, and its role must own the "
            "schemas"
        )
    return WarehouseUnavailable(message)


def load_failure(error: BaseException) -> WarehouseError:
    """Return the warehouse error for a failed dlt load into the database.

    It quotes the server, not the driver, whose message may contain the password.
    """
    if failure := open_elsewhere(error) or damaged(error):
        return failure
    from_server = re.findall(r"(?:ERROR|FATAL): +(.+)", str(error))
    from_driver = (
        driver_message(error) if "Failed to connect" not in str(error) else "no connection"
    )
    message = from_server[-1] if from_server else from_driver
    return database_failure(f"loading failed: {message}")


def open_elsewhere(error: BaseException) -> OpenElsewhere | None:
    """Return the warehouse error if another process has the database's file open, else None."""
    if not (found := _OPEN_ELSEWHERE.search(str(innermost_cause(error)))):
        return None
    return OpenElsewhere(
        f"{found['file']} is open in another process: {found['process'] or 'which is not known'}. "
        "Close it there, and open only the published file, read-only"
    )


def damaged(error: BaseException) -> WarehouseDamaged | None:
    """Return the warehouse error if the database's file is damaged, else None."""
    message = driver_message(error)
    if not any(words in message for words in _DAMAGED_FILE):
        return None
    return WarehouseDamaged(
        f"the warehouse's file is damaged: {message}. Restore it from the published file, or from "
        "a backup: milestones restore --from published --reason TEXT"
    )


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error of a database or file means that the disk is full or unwritable."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return True
    return isinstance(error, PermissionError) or any(
        words in str(error) for words in ("No space left on device", "Read-only file system")
    )


def driver_message(error: BaseException) -> str:
    """Return the first line of the database driver's message in an error; it has no password."""
    error = innermost_cause(error)
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def innermost_cause(error: BaseException) -> BaseException:
    """Return the first error of the chain that ended in this one: the database driver's."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
