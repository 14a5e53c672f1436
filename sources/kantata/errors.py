"""What can go wrong with Kantata: each class says what to do next.

    KantataError                 exit code
    |- KantataMisconfigured   2  a setting is missing or invalid: correct it
    |- KantataUnauthorized    2  the token is wrong or revoked: set a valid one
    |- KantataForbidden       2  the token's user lacks a permission: ask for it
    |- KantataMisaddressed    2  this address is not the API: correct kantata_api_url
    |- KantataRefused         1  a 4xx for this one request: record it and continue
    |- KantataUnavailable    75  no answer, or 5xx: try again later
    |  |- KantataThrottled   75  429: try again after the pause Kantata names
    |  '- KantataNeverArrived 75  a write that no server can have seen: send it again
    |- KantataOutcomeUnknown 75  a write that may have been done: read back first
    |- KantataMoving         75  the list changed too fast to be read completely
    |- KantataIncomplete      1  the list contradicts itself however often it is read
    '- KantataFieldLost       1  a field that sums need is missing from every record

Every message names the thing and what to do about it. None contains the token or a whole body.
"""

from __future__ import annotations

from typing import ClassVar


class KantataError(Exception):
    """A request to Kantata failed; ``exit_code`` is what the process should end with."""

    exit_code: ClassVar[int] = 1


class KantataMisconfigured(KantataError):
    """A setting is missing or invalid."""

    exit_code = 2


class KantataUnauthorized(KantataError):
    """The token is wrong, revoked or missing."""

    exit_code = 2


class KantataForbidden(KantataError):
    """The token is good, but its user lacks a permission."""

    exit_code = 2


class KantataMisaddressed(KantataError):
    """What answers at this address is not the Kantata API."""

    exit_code = 2


class KantataRefused(KantataError):
    """Kantata refused one request, and will refuse it again.

    Args:
        message: What was refused, and Kantata's reason.
        status: The HTTP status, 4xx.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class KantataUnavailable(KantataError):
    """No answer, or a server error: the same request may succeed later."""

    exit_code = 75


class KantataThrottled(KantataUnavailable):
    """Too many requests.

    Args:
        message: What was throttled.
        retry_after: Seconds that Kantata asks to wait, or None if it names no time.
    """

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KantataNeverArrived(KantataUnavailable):
    """A write certainly reached no server: it may be sent again."""


class KantataOutcomeUnknown(KantataError):
    """A write was sent, and its answer was lost or is unclear: it may have been done."""

    exit_code = 75


class KantataMoving(KantataError):
    """The list changed faster than it could be read; nothing was loaded."""

    exit_code = 75


class KantataIncomplete(KantataError):
    """The list counts more rows than it shows; nothing was loaded."""


class KantataFieldLost(KantataError):
    """A field that sums need is missing from every record: a permission was lost."""
