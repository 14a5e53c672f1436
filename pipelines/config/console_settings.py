"""The settings of ``[console]``: its users, and the proxies it believes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from sources.kantata.errors import KantataMisconfigured

from .settings import setting, shown_name

Network = IPv4Network | IPv6Network
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
# What a browser or every proxy sends: none of them says who somebody is.
_NO_IDENTITY = frozenset({"authorization", "cookie", "host", "x-forwarded-for", "forwarded"})


@dataclass(frozen=True, kw_only=True)
class ConsoleSettings:
    """The settings of ``[console]``.

    Args:
        users: The SQLite file with the users and their sessions.
        trusted_proxies: The networks of proxies that are believed.
        identity_header: The header in which they name the person; empty for none.
    """

    users: Path
    trusted_proxies: tuple[Network, ...] = ()
    identity_header: str = ""


def console_settings() -> ConsoleSettings:
    """Return the settings of ``[console]``, checked.

    Raises:
        KantataMisconfigured: If a setting is invalid.
    """
    header = setting("console.identity_header").lower()
    shown = shown_name("console.identity_header")
    if header and (not _HEADER.fullmatch(header) or header in _NO_IDENTITY):
        raise KantataMisconfigured(
            f"{shown} is {header!r}; write the name of the header in which your proxy names the "
            "person, such as X-Forwarded-User"
        )
    proxies = tuple(_networks(setting("console.trusted_proxies")))
    if header and not proxies:
        raise KantataMisconfigured(
            f"{shown} is set, but nobody may send it: set CONSOLE__TRUSTED_PROXIES to the "
            "addresses of your proxy"
        )
    users = setting("console.users")
    if not users:
        raise KantataMisconfigured(f"{shown_name('console.users')} is empty: name a SQLite file")
    return ConsoleSettings(
        users=Path(users).expanduser(), trusted_proxies=proxies, identity_header=header
    )


def _networks(text: str) -> Iterator[Network]:
    """Yield the networks in the setting of trusted proxies."""
    for word in re.split(r"[\s,]+", text.strip()):
        try:
            if word:
                yield ip_network(word)
        except ValueError:
            raise KantataMisconfigured(
                f"{shown_name('console.trusted_proxies')} has {word!r}; write addresses or "
                "networks, separated by commas, such as 10.0.0.0/8"
            ) from None
