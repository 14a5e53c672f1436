"""The settings in effect: their values, with secrets masked, and where each comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.providers.provider import ConfigProvider

from pipelines.config.declared_settings import SETTINGS, STORAGE_VARIABLES, Setting
from pipelines.config.lake_settings import is_secret_option, storage_options
from pipelines.config.providers import dlt_providers
from pipelines.config.targets import ledger_in_effect
from warehouse.errors import WarehouseMisconfigured

_MASK = "[secret]"
_PASSWORD = re.compile(r"(?<=:)[^:/@]+(?=@)|(?<=password=)('(\\.|[^'])*'|[^&\s]+)", re.IGNORECASE)
_ENVIRONMENT = EnvironProvider().name


@dataclass(frozen=True, kw_only=True)
class EffectiveSetting:
    """A setting as a command would use it.

    Args:
        name: Its name in the environment.
        value: Its value; secrets and passwords are masked. None if it has none.
        origin: ``default``, ``environment``, or the file it was read from.
    """

    name: str
    value: str | None
    origin: str


def settings_in_effect() -> list[EffectiveSetting]:
    """Return every setting that exists, with its value in effect, in the order of REFERENCE."""
    return [*map(_in_effect, SETTINGS), *_storage_options()]


def _storage_options() -> Iterator[EffectiveSetting]:
    """Yield the storage options of the lake in effect."""
    for key, (value, origin) in sorted(storage_options().items()):
        yield EffectiveSetting(
            name=f"{STORAGE_VARIABLES}{key.upper()}",
            value=_MASK if is_secret_option(key) else value,
            origin=origin,
        )


def _in_effect(setting: Setting) -> EffectiveSetting:
    """Return one setting with its value in effect."""
    value, origin = _configured(setting)
    if value is None:
        value, origin = _default(setting), "default"
    return EffectiveSetting(
        name=setting.environment, value=value and _masked(setting, value), origin=origin
    )


def _default(setting: Setting) -> str | None:
    """Return the value of a setting that is not set: for the ledger, that of other settings."""
    if setting.name != "ledger.url":
        return setting.default or None
    try:
        return ledger_in_effect()
    except WarehouseMisconfigured:  # another command says so
        return None


def _configured(setting: Setting) -> tuple[str | None, str]:
    """Return a setting's value and its origin, as dlt finds it; None if it is not set."""
    sections = setting.section.split(".")
    for provider in dlt_providers():
        for known in (tuple(sections), tuple(sections[:1]), ()):
            value, _ = provider.get_value(setting.key, str, None, *known)
            if value is not None and not isinstance(value, dict):
                place = provider.get_value_location(setting.key, None, *known)
                return str(value).strip(), place or _origin(provider)
            if isinstance(value, dict):
                return "set in parts: [" + ".".join((*known, setting.key)) + "]", _origin(provider)
    return None, ""


def _origin(provider: ConfigProvider) -> str:
    """Return the name of the place where a setting's provider looks."""
    return "environment" if provider.name == _ENVIRONMENT else provider.name


def _masked(setting: Setting, value: str) -> str:
    """Return a setting's value without what is secret in it."""
    return _MASK if setting.is_secret else _PASSWORD.sub(_MASK, value)
