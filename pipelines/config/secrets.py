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

    A password can be an ordinary word, so it is replaced only where it is written as a password.
    """
    for secret in _configured(_TOKENS):
        if len(secret) >= _SHORTEST:
            for form in _forms(secret):
                text = text.replace(form, _MASK)
    for password in _configured(_PASSWORDS):
        for form in _forms(password):
            text = text.replace(f":{form}@", f":{_MASK}@")
            text = text.replace(f"password={form}", f"password={_MASK}")
    return text


def _forms(secret: str) -> list[str]:
    """Return the ways in which a secret is written, the longest first."""
    forms = {secret, quote(secret, safe=""), quote_plus(secret), f"'{secret}'"}
    return sorted(forms, key=len, reverse=True)


def _configured(resolvers: Iterable[Callable[[], Iterable[str]]]) -> list[str]:
    """Return the secrets that can be resolved; a setting that cannot be read is left out."""
    found: list[str] = []
    for resolve in resolvers:
        with suppress(Exception):
            found += resolve()
    return sorted({secret for secret in found if secret}, key=len, reverse=True)


def _password(url: str) -> str:
    """Return the secret password in the name of a Postgres database; empty if it has none."""
    return postgres_parameters(url, "").get("password", "")


_TOKENS: tuple[Callable[[], Iterable[str]], ...] = (
    lambda: [resolve_kantata().kantata_access_token],
    lambda: [resolve_write_token()],
    # It lets its holder write to the channel; libraries name its path without the host.
    lambda: [url := setting("alerts.webhook_url"), urlsplit(url).path],
)
_PASSWORDS: tuple[Callable[[], Iterable[str]], ...] = (
    lambda: [_password(str(dlt.config.get("destination.postgres.credentials")))],
    lambda: [_password(setting("ledger.url"))],
)
