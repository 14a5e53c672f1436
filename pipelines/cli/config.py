"""The command that shows the settings in effect."""

from __future__ import annotations

from pipelines.ops.settings_in_effect import settings_in_effect

from .errors import handle_errors
from .output import print_json, print_out


def config(as_json: bool) -> None:
    """Implement the command `config`: print all settings in effect."""
    with handle_errors(as_json):
        settings = settings_in_effect()
        if as_json:
            print_json([vars(setting) for setting in settings])
            return
        width = max(len(setting.name) for setting in settings)
        for setting in settings:
            shown = f"{setting.value}  ({setting.origin})" if setting.value else "not set"
            print_out(f"{setting.name:{width}}  {shown}")
