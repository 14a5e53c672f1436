"""Mask the configured secrets in text that others wrote: drivers, proxies, the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from urllib.parse import quote, quote_plus, urlsplit

import dlt

from warehouse.postgres_url import postgres_parameters

from .settings import resolve_kantata, resolve_write_token, setting

_MASK = "[secret]"
_SHORTEST = 8  # characters; a shorter secret could be part of an ordinary word


def mask_secrets(text: str) -> str:
    """Return the text with every configured secret replaced, however it is encoded.

    A password shorter than 8 characters is replaced only where it stands in a URL.
    """
    for secret in _configured_secrets():
        for form in sorted({secret, quote(secret, safe=""), quote_plus(secret)}, key=len):
            if len(secret) >= _SHORTEST:
                text = text.replace(form, _MASK)
            else:
                text = text.replace(f":{form}@", f":{_MASK}@")
    return text


def _configured_secrets() -> list[str]:
    """Return every secret that can be resolved; a setting that cannot be read is left out."""
    resolvers: tuple[Callable[[], Iterable[str]], ...] = (
        lambda: [resolve_kantata().kantata_access_token],
        lambda: [resolve_write_token()],
        # It lets its holder write to the channel; libraries name its path without the host.
        lambda: [url := setting("alerts.webhook_url"), urlsplit(url).path],
        lambda: [_password(str(dlt.config.get("destination.postgres.credentials")))],
        lambda: [_password(setting("ledger.url"))],
    )
    found: list[str] = []
    for resolve in resolvers:
        with suppress(Exception):
            found += resolve()
    return sorted({secret for secret in found if secret}, key=len, reverse=True)


def _password(url: str) -> str:
    """Return the secret password in the name of a Postgres database; empty if it has none."""
    return postgres_parameters(url, "").get("password", "")
