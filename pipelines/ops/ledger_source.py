"""What a ledger is restored from. Without imports, for the command line's help."""

from __future__ import annotations

from enum import StrEnum


class LedgerSource(StrEnum):
    """What a ledger is restored from."""

    WAREHOUSE = "warehouse"  # its copy there
    LEDGER = "ledger"  # itself: it is kept, and copied to the warehouse
