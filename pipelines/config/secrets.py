"""Secrets that are configured, and texts without them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .settings import resolve_kantata, resolve_write_token, setting


def mask_secrets(text: str) -> str:
    """A text in which no secret that is configured stands."""
    for secret in _configured_secrets():
        text = text.replace(secret, "[secret]") if len(secret) >= 4 else text
    return text


def _configured_secrets() -> list[str]:
    """Every secret that can be read; an error is told whatever else is wrong."""
    resolvers: tuple[Callable[[], str], ...] = (
        lambda: resolve_kantata().kantata_access_token,
        resolve_write_token,
        lambda: setting("alerts.webhook_url", ""),  # whoever has it may write to the channel
    )
    found = []
    for resolve in resolvers:
        with suppress(Exception):
            found.append(resolve())
    return [secret for secret in found if secret]
