"""The addresses of clients and proxies. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from pipelines.config.console_settings import Network


def peer_address(scope: Mapping[str, Any]) -> str:
    """Return the address at the other end of a request's connection; empty if there is none."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def is_trusted(address: str, networks: Iterable[Network]) -> bool:
    """Return whether an address is in one of the trusted networks."""
    found = _parsed(address)
    return found is not None and any(found in network for network in networks)


def is_loopback_host(host: str) -> bool:
    """Return whether a host or address is this machine only."""
    found = _parsed(host)
    return host == "localhost" if found is None else found.is_loopback


def client_address(peer: str, forwarded_for: str, networks: tuple[Network, ...]) -> str:
    """Return the address of the client, for the limit on logins.

    Behind a trusted proxy it is the last address that no trusted proxy has: all before it may be
    made up.
    """
    if not is_trusted(peer, networks):
        return peer
    for word in reversed(forwarded_for.split(",")):
        found = _parsed(word.strip())
        if found is None:
            break
        if not is_trusted(str(found), networks):
            return str(found)
    return peer


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address; IPv4 within IPv6 as IPv4; None if it is no address."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
