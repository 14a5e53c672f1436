"""The settings of ``[lake]``: where published runs are copied to as open tables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.providers.provider import ConfigProvider

from warehouse.errors import WarehouseMisconfigured
from warehouse.target import LakeTarget

from .declared_settings import STORAGE_SECTION, STORAGE_VARIABLES
from .providers import dlt_providers
from .settings import one_line_errors, parse_duration, setting, shown_name

_SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss")
# With those of delta-rs, one request that fails would delay a run by minutes.
_REQUESTS = {
    "timeout": "30s", "connect_timeout": "5s", "max_retries": "4", "retry_timeout": "60s",
}  # fmt: skip
# Options that cannot be secret. The value of every other one is masked.
_NOT_SECRET = re.compile(
    r"(aws_|azure_|google_)?(storage_)?(default_)?(allow_http|allow_invalid_certificates|region|"
    r"endpoint|endpoint_url|bucket|bucket_name|account_name|conditional_put|copy_if_not_exists|"
    r"virtual_hosted_style_request|unsigned_payload|checksum_algorithm|max_retries|retry_timeout|"
    r"timeout|connect_timeout|pool_idle_timeout|s3_allow_unsafe_rename|http1_only|http2_only)"
)


def configured_lake() -> LakeTarget | None:
    """Return where published runs are copied to; None for nowhere.

    Raises:
        KantataMisconfigured, WarehouseMisconfigured: If a setting is invalid.
    """
    every, url = setting("lake.every"), setting("lake.url")
    times = {name: _duration(name) for name in ("keep", "time_limit")}
    times["every"] = _duration("every") if every else timedelta()
    if not url:
        return None
    location = _location(url)
    given = {key: value for key, (value, _) in storage_options().items()}
    return LakeTarget(url=location, options=_REQUESTS | given if "://" in url else {}, **times)


def _duration(name: str) -> timedelta:
    """Return one of the lake's settings as a timedelta."""
    return parse_duration(setting(f"lake.{name}"), shown_name(f"lake.{name}"))


def _location(url: str) -> str:
    """Return the lake's folder or URL, checked.

    Raises:
        WarehouseMisconfigured: If it is neither, or contains a password.
    """
    shown, parts = shown_name("lake.url"), urlsplit(url)
    if "://" not in url:
        if "$" in url or re.match(r"[A-Za-z]:\\", url):
            raise WarehouseMisconfigured(
                f"{shown} is {url!r}: write the path of a folder on this machine, without "
                "variables, or a URL such as s3://bucket/prefix"
            )
        return str(Path(url).expanduser())
    if parts.password or parts.query or (parts.username and not parts.scheme.startswith("abfs")):
        raise WarehouseMisconfigured(
            f"{shown} has a user, a password or a query: write only the bucket and the prefix, and "
            "the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in "
            f"[{STORAGE_SECTION}]"
        )
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise WarehouseMisconfigured(
            f"{shown} is {url!r}; write a folder, or a URL such as s3://bucket/prefix, "
            "gs://bucket/prefix or abfss://container@account.dfs.core.windows.net/prefix"
        )
    return url.rstrip("/")


def storage_options() -> dict[str, tuple[str, str]]:
    """Return the storage options of the lake, each with where it comes from.

    Raises:
        KantataMisconfigured: If a file of settings cannot be read.
    """
    found: dict[str, tuple[str, str]] = {}
    with one_line_errors(STORAGE_SECTION):
        for provider in reversed(dlt_providers()):  # the first one counts most
            found |= _options_of(provider)
    return found


def _options_of(provider: ConfigProvider) -> dict[str, tuple[str, str]]:
    """Return the storage options of one of dlt's providers."""
    if provider.name == EnvironProvider().name:
        named = os.environ.items()
        options = {
            name.upper().removeprefix(STORAGE_VARIABLES): value
            for name, value in named
            if name.upper().startswith(STORAGE_VARIABLES)
        }
        return _written(options, "environment")
    section, _, key = STORAGE_SECTION.rpartition(".")
    value, _ = provider.get_value(key, dict, None, section)
    if not isinstance(value, Mapping):
        return {}
    place = provider.get_value_location(key, None, section)
    return _written(value, place or provider.name)


def _written(options: Mapping[str, object], origin: str) -> dict[str, tuple[str, str]]:
    """Return storage options as delta-rs takes them: text, with names in lower case."""
    return {
        key.lower(): (str(value).lower() if isinstance(value, bool) else str(value).strip(), origin)
        for key, value in options.items()
    }


def is_secret_option(key: str) -> bool:
    """Return whether the value of a storage option may be secret."""
    return not _NOT_SECRET.fullmatch(key)


def secret_storage_options() -> Iterable[str]:
    """Return the values of the storage options that may be secret."""
    return [value for key, (value, _) in storage_options().items() if is_secret_option(key)]
