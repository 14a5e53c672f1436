"""Forgetting the tokens for Kantata in a process that has no use for them."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any

from .declared_settings import SETTINGS
from .providers import NamedSettings, dlt_providers

_TOKENS = [setting for setting in SETTINGS if setting.key.endswith("_token")]


def forget_tokens() -> None:
    """Remove the tokens for Kantata from the settings and the environment of this process.

    What reads the settings from now on finds none, and no error or copy of the memory of this
    process shows one.
    """
    for setting in _TOKENS:
        for name in (setting.environment, setting.sectioned_variable, setting.key.upper()):
            os.environ.pop(name, None)
    for provider in dlt_providers():
        inner = provider.wrapped if isinstance(provider, NamedSettings) else provider
        for found in getattr(inner, "__dict__", {}).values():  # what it has read from files
            if isinstance(found, MutableMapping):
                _forget_in(found)


def _forget_in(document: MutableMapping[str, Any]) -> None:
    """Remove the tokens from the content of a file of settings, in whatever section they are."""
    names = {setting.key for setting in _TOKENS}
    for name in list(document):
        if name in names:
            del document[name]
        elif isinstance(document[name], MutableMapping):
            _forget_in(document[name])
