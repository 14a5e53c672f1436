"""Check all settings when a command starts, whatever the command uses."""

from __future__ import annotations

from .console_settings import console_settings
from .settings import alert_settings, one_line_errors, push_settings, resolve_kantata
from .targets import check_warehouse_settings
from .unknown_names import check_names


def check_settings() -> None:
    """Check the names and the values of all settings.

    Raises:
        KantataMisconfigured, WarehouseMisconfigured: If a setting does not exist or is invalid.
    """
    with one_line_errors("the settings"):
        check_names()
    resolve_kantata().check()
    check_warehouse_settings()
    push_settings()
    alert_settings()
    console_settings()


def check_console_settings() -> None:
    """Check the names of all settings, and the values of those that the console uses.

    The token for Kantata is not among them: the console does not read it.

    Raises:
        KantataMisconfigured, WarehouseMisconfigured: If a setting does not exist or is invalid.
    """
    with one_line_errors("the settings"):
        check_names()
    check_warehouse_settings()
    console_settings()
