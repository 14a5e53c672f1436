"""Settings from the environment, .dlt/config.toml and .dlt/secrets.toml, as dlt resolves them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import dlt
from dlt.common.configuration import configspec, resolve_configuration
from dlt.common.configuration.exceptions import (
    ConfigurationException,
    ConfigValueCannotBeCoercedException,
)
from dlt.common.configuration.providers.toml import TomlProviderReadException
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.typing import TSecretStrValue

from sources.kantata import KantataReader
from sources.kantata.api.transport import OnRequest, check_token, check_url, is_loopback
from sources.kantata.errors import KantataMisconfigured
from sources.kantata.settings import MOST_CREATES, MOST_IN_FLIGHT

from .declared_settings import DEFAULTS, NAMED

_DURATION = re.compile(r"(\d{1,6})([smhd])")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@configspec
class KantataSettings(BaseConfiguration):
    """The settings of ``[sources.kantata]``."""

    kantata_api_url: str = DEFAULTS["sources.kantata.kantata_api_url"]
    kantata_access_token: TSecretStrValue = ""
    requests_in_flight: int = int(DEFAULTS["sources.kantata.requests_in_flight"])
    requests_per_second: float = float(DEFAULTS["sources.kantata.requests_per_second"])
    backoff_seconds: float = float(DEFAULTS["sources.kantata.backoff_seconds"])
    scan_every: str = DEFAULTS["sources.kantata.scan_every"]

    def check(self) -> None:
        """Check the Kantata settings; the token may be missing.

        Raises:
            KantataError: If one is invalid.
        """
        self.longest_without_scan()
        check_url(self.kantata_api_url)
        if self.kantata_access_token:
            check_token(self.kantata_access_token)
        if not 1 <= self.requests_in_flight <= MOST_IN_FLIGHT:
            raise KantataMisconfigured(
                f"{shown_name('sources.kantata.requests_in_flight')} is {self.requests_in_flight}; "
                f"it must be 1 to {MOST_IN_FLIGHT}"
            )
        for name in ("requests_per_second", "backoff_seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                shown = shown_name(f"sources.kantata.{name}")
                raise KantataMisconfigured(
                    f"{shown} is {getattr(self, name)}; it must be 0 or more"
                )

    def longest_without_scan(self) -> timedelta:
        """Return the setting ``scan_every`` as a timedelta.

        Raises:
            KantataMisconfigured: If it is not a duration such as 24h.
        """
        return parse_duration(self.scan_every, shown_name("sources.kantata.scan_every"))

    def reader(
        self,
        attempts: int = 1,
        on_request: OnRequest | None = None,
        on_retry: Callable[[str], None] | None = None,
    ) -> KantataReader:
        """Return a new reader with the Kantata settings."""
        return KantataReader(
            self.kantata_api_url,
            self.kantata_access_token,
            requests_per_second=self.requests_per_second,
            backoff_seconds=self.backoff_seconds,
            attempts=attempts,
            on_request=on_request,
            on_retry=on_retry,
        )


def kantata_settings() -> KantataSettings:
    """Return the settings of ``[sources.kantata]``, checked.

    Raises:
        KantataError: If there is no token, or a setting is invalid.
    """
    settings = resolve_kantata()
    if not settings.kantata_access_token:
        raise KantataMisconfigured(
            "no token: set KANTATA_ACCESS_TOKEN, or kantata_access_token under [sources.kantata] "
            "in .dlt/secrets.toml. To try milestones without a token: milestones demo"
        )
    settings.check()
    return settings


def resolve_kantata() -> KantataSettings:
    """Return the settings of ``[sources.kantata]``, which may lack the token.

    Raises:
        KantataMisconfigured: If they cannot be read.
    """
    with one_line_errors("sources.kantata"):
        return resolve_configuration(KantataSettings(), sections=("sources", "kantata"))


def parse_duration(text: str, name: str) -> timedelta:
    """Return a duration of a setting, written as 90m, 24h or 7d.

    Args:
        text: A number and s, m, h or d.
        name: The setting or option, for the error.

    Raises:
        KantataMisconfigured: If the text is not a duration.
    """
    if not (found := _DURATION.fullmatch(text)):
        raise KantataMisconfigured(f"{name} is {text!r}; write it as 90m, 24h or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@configspec
class _WriteToken(BaseConfiguration):
    """``[push] kantata_write_token`` or KANTATA_WRITE_TOKEN."""

    kantata_write_token: TSecretStrValue = ""


@dataclass(frozen=True, kw_only=True)
class PushSettings:
    """The settings of ``[push]``.

    Args:
        enabled: Whether push may write to Kantata.
        max_changes: The largest number of changes in one push.
        batch_creates: The largest number of creates in one request.
        reconcile_after: Seconds to wait before reading back a write of unknown outcome: the server
            may work on a request for three minutes.
        require_verified_approval: Whether push sends only what a person approved whom the console
            verified.
        write_token: The token for writing; empty to write with the token that reads.
    """

    enabled: bool = False
    max_changes: int = int(DEFAULTS["push.max_changes"])
    batch_creates: int = int(DEFAULTS["push.batch_creates"])
    reconcile_after: int = int(DEFAULTS["push.reconcile_after"])
    require_verified_approval: bool = False
    write_token: str = ""


def push_settings() -> PushSettings:
    """Return the settings of ``[push]``, checked.

    Raises:
        KantataMisconfigured: If a setting is invalid.
    """
    # Not resolved as a configspec: dlt would fall back to a bare ENABLED in the environment.
    enabled = _is_true("push.enabled")
    token = resolve_write_token()
    if token:
        check_token(token, "KANTATA_WRITE_TOKEN")
    return PushSettings(
        enabled=enabled,
        require_verified_approval=_is_true("push.require_verified_approval"),
        max_changes=_whole_number("push.max_changes", minimum=1),
        batch_creates=_whole_number("push.batch_creates", minimum=1, most=MOST_CREATES),
        reconcile_after=_whole_number("push.reconcile_after", minimum=0),
        write_token=token,
    )


def _is_true(name: str) -> bool:
    """Return whether one of the settings ``[push]`` is true."""
    value = setting(name).lower()
    if value not in ("true", "false"):
        raise KantataMisconfigured(f"{shown_name(name)} is {value!r}; write it as true or false")
    return value == "true"


def resolve_write_token() -> str:
    """Return the setting of the token for writing; empty if none is configured.

    Raises:
        KantataMisconfigured: If the settings cannot be read.
    """
    with one_line_errors("push"):
        found = resolve_configuration(_WriteToken(), sections=("push",))
    return found.kantata_write_token or ""


def _whole_number(name: str, minimum: int, most: int | None = None) -> int:
    """Return a whole number of the settings ``[push]``."""
    text = setting(name)
    is_number = re.fullmatch(r"[0-9]{1,9}", text)
    if not is_number or int(text) < minimum or (most and int(text) > most):
        limits = f"from {minimum} to {most}" if most else f"at least {minimum}"
        raise KantataMisconfigured(
            f"{shown_name(name)} is {text!r}; write a whole number, {limits}"
        )
    return int(text)


@dataclass(frozen=True)
class AlertSettings:
    """The settings of ``[alerts]``.

    Args:
        webhook_url: The URL alerts are posted to; empty to send none.
        after: The longest time without a successful run before an alert is sent.
        digest: The day of the week on which a digest is sent; empty for none.
    """

    webhook_url: str = ""
    after: timedelta = timedelta(hours=6)
    digest: str = ""


def alert_settings() -> AlertSettings:
    """Return the settings of ``[alerts]``, checked.

    Raises:
        KantataMisconfigured: If a setting is invalid.
    """
    url = setting("alerts.webhook_url")
    if url and not _is_safe(url):
        raise KantataMisconfigured(f"{shown_name('alerts.webhook_url')} is not an https address")
    after = parse_duration(setting("alerts.alert_after"), shown_name("alerts.alert_after"))
    digest = setting("alerts.digest").lower()
    if digest and digest not in WEEKDAYS:
        raise KantataMisconfigured(
            f"{shown_name('alerts.digest')} is {digest!r}; write a day of the week, such as monday"
        )
    return AlertSettings(webhook_url=url, after=after, digest=digest)


def _is_safe(url: str) -> bool:
    """Return whether the URL in a setting is https, or http on this machine."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        return False
    is_local = is_loopback(parts.hostname or "")
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_local)
    )


def setting(name: str) -> str:
    """Return a setting of the environment, config.toml or secrets.toml, else its default.

    Raises:
        KantataMisconfigured: If one of the files cannot be read.
    """
    with one_line_errors(name):
        value: object = dlt.config.get(name)
    return DEFAULTS[name] if value is None else str(value).strip()


def shown_name(name: str) -> str:
    """Return the name of a setting for messages: that in the environment if it is set there.

    Args:
        name: Its section and key, such as ``push.enabled``.
    """
    if (declared := NAMED.get(name)) is None:  # a section
        return name
    for variable in (declared.sectioned_variable, declared.environment):
        if variable in os.environ:
            return variable
    return f"[{declared.section}] {declared.key}"


@contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Raise one line about a setting, or a file of settings, that cannot be read.

    Args:
        name: The setting, or the section of several.
    """
    try:
        yield
    except TomlProviderReadException as error:
        paths = [path for path in error.full_paths if Path(path).exists()] or error.full_paths
        raise KantataMisconfigured(
            f"cannot read the settings in {' or '.join(paths)}: "
            f"{str(error).strip().splitlines()[-1]}. Correct the file; it must be UTF-8 without a "
            "byte order mark."
        ) from None
    except ConfigValueCannotBeCoercedException as error:
        raise KantataMisconfigured(
            f"{shown_name(f'{name}.{error.field_name}')} is {error.field_value!r}: write a number"
        ) from None
    except (ConfigurationException, ValueError) as error:
        raise KantataMisconfigured(f"{name}: {str(error).strip().splitlines()[0]}") from None
