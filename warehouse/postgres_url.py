"""Connections to a Postgres database, for warehouse and ledger: every name that libpq takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

import psycopg2
from psycopg2.extensions import parse_dsn

from .errors import WarehouseMisconfigured

POSTGRES_URL_FORM = (
    "postgresql://user:password@host:5432/database. In a password write @ as %40, / as %2F, "
    "? as %3F, # as %23, : as %3A and % as %25."
)
# A run waits for Kantata while its connections are idle, and the server must not end them. A
# machine that loses power does not close them: with these settings the server notices within a
# minute, and frees their locks. Servers before Postgres 14 do not know the first setting.
SESSION_SETTINGS = (
    "select set_config(name, wanted.value, false) from pg_settings join (values "
    "('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), "
    "('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), "
    "('tcp_keepalives_count', '3')) as wanted (name, value) using (name)"
)
_SCHEME = re.compile(r"postgres(ql)?(\+psycopg2)?://")
_UNKNOWN = re.compile(r'invalid (?:URI query parameter|connection option) ?"?:? ?"?([\w.]+)"')
# A name, an address, or the folder of a socket. Empty: the socket of this machine.
_HOST = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.%]+|[/@].*")


def check_postgres_url(url: str, setting: str) -> str:
    """Return the name of a Postgres database unchanged if libpq can read it.

    Args:
        url: A URL, or ``key=value`` pairs. Messages never contain it, since any part of it may be a
            password.
        setting: The name of the setting it comes from, for the message.

    Raises:
        WarehouseMisconfigured: If libpq cannot read it, or does not know one of its parameters.
    """
    postgres_parameters(url, setting)
    return url


def postgres_parameters(url: str, setting: str, other_form: str = "") -> dict[str, str]:
    """Return libpq's parameters in the name of a Postgres database, decoded.

    Args:
        url: As of ``check_postgres_url``.
        setting: As of ``check_postgres_url``.
        other_form: Another form that the setting may have, for the message.

    Raises:
        WarehouseMisconfigured: As ``check_postgres_url`` does.
    """
    wrong = WarehouseMisconfigured(f"{setting} must have the form {other_form}{POSTGRES_URL_FORM}")
    is_url = "://" in url
    # A second @ in a URL belongs to the password, and then no host follows.
    if not url or (is_url and (not _SCHEME.match(url) or url.count("@") > 1)):
        raise wrong
    try:
        found: dict[str, str] = parse_dsn(_SCHEME.sub("postgresql://", url, count=1))
    except UnicodeEncodeError:  # a byte in the environment that is not UTF-8
        raise wrong from None
    except psycopg2.ProgrammingError as error:
        if unknown := _UNKNOWN.search(str(error)):
            raise WarehouseMisconfigured(
                f"{setting} has the parameter {unknown[1]}, which Postgres does not know: remove it"
            ) from None
        raise wrong from None
    hosts, ports = found.get("host", "").split(","), found.get("port", "").split(",")
    is_valid = all(_HOST.fullmatch(host) for host in hosts) and all(
        not port or (port.isdecimal() and 0 < int(port) < 65536) for port in ports
    )
    if not is_valid or "@" in found.get("dbname", ""):
        raise wrong
    return found


def postgres_uri(parameters: Mapping[str, object]) -> str:
    """Return a URI with these parameters that every version of libpq reads alike."""
    pairs = (f"{name}={quote(str(value), safe='')}" for name, value in parameters.items())
    return "postgresql:///?" + "&".join(pairs)
