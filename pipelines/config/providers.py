"""Where settings come from while a command runs: dlt's providers, but only names that are meant.

dlt falls back to bare names: ``DEV_MODE=true`` in the environment would make a new dataset with
each run. A command of ours reads only names with a section, and those of ours that have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers.provider import ConfigProvider
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from .declared_settings import SETTINGS

_BARE_NAMES = frozenset(setting.key for setting in SETTINGS if setting.variable)


class NamedSettings(ConfigProvider):
    """One of dlt's providers, without bare names, and without space around values.

    A newline at the end of a secret is a common mistake with Kubernetes.

    Args:
        provider: The provider of dlt.
    """

    def __init__(self, provider: ConfigProvider) -> None:
        self._provider = provider

    def get_value(
        self,
        key: str,
        hint: type[Any],
        pipeline_name: str | None,
        *sections: str,
    ) -> tuple[Any | None, str]:
        """Return the value of a setting and its full name in this provider; None if it has none."""
        has_section = bool(pipeline_name) or any(sections)
        if not has_section and key.lower() not in _BARE_NAMES:
            return None, key
        value, name = self._provider.get_value(key, hint, pipeline_name, *sections)
        return value.strip() if isinstance(value, str) else value, name

    def get_value_location(self, key: str, pipeline_name: str | None, *sections: str) -> str:
        """Return the file of a setting's value."""
        return self._provider.get_value_location(key, pipeline_name, *sections)

    @property
    def wrapped(self) -> ConfigProvider:
        """The provider of dlt whose names are limited."""
        return self._provider

    @property
    def name(self) -> str:
        """The provider's name."""
        return self._provider.name

    @property
    def supports_secrets(self) -> bool:
        """Whether the provider may hold secrets."""
        return self._provider.supports_secrets

    @property
    def supports_sections(self) -> bool:
        """Whether the provider is asked for names with sections."""
        return self._provider.supports_sections

    @property
    def is_empty(self) -> bool:
        """Whether the provider holds no value."""
        return self._provider.is_empty

    @property
    def locations(self) -> Sequence[str]:
        """The files that the provider may read."""
        return self._provider.locations

    @property
    def present_locations(self) -> Sequence[str]:
        """The files that the provider has read."""
        return self._provider.present_locations


def dlt_providers() -> list[ConfigProvider]:
    """Return dlt's providers of settings, in the order in which they are asked."""
    return list(Container()[PluggableRunContext].providers.providers)


def use_named_settings() -> None:
    """Let dlt read only settings with names that are meant, in this process from now on."""
    context = Container()[PluggableRunContext].providers
    context.providers = [
        provider if isinstance(provider, NamedSettings) else NamedSettings(provider)
        for provider in context.providers
    ]
