"""Mask the configured secrets in messages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .settings import resolve_kantata, resolve_write_token, setting


def mask_secrets(text: str) -> str:
    """Return the text with every configured secret replaced."""
    for secret in _configured_secrets():
        text = text.replace(secret, "[secret]") if len(secret) >= 4 else text
    return text


def _configured_secrets() -> list[str]:
    """Return every secret that can be resolved; a setting that cannot be read is left out."""
    resolvers: tuple[Callable[[], str], ...] = (
        lambda: resolve_kantata().kantata_access_token,
        resolve_write_token,
        lambda: setting("alerts.webhook_url"),  # it lets its holder write to the channel
    )
    found = []
    for resolve in resolvers:
        with suppress(Exception):
            found.append(resolve())
    return [secret for secret in found if secret]
