"""Secrets that are configured, and texts without them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .settings import _resolve_kantata, _write_token, setting


def mask_secrets(text: str) -> str:
    """A text in which no secret that is configured stands."""
    for secret in _configured_secrets():
        text = text.replace(secret, "[secret]") if len(secret) >= 4 else text
    return text


def _configured_secrets() -> list[str]:
    """Every secret that can be read; an error is told whatever else is wrong."""
    asked: tuple[Callable[[], str], ...] = (
        lambda: _resolve_kantata().kantata_access_token,
        _write_token,
        lambda: setting("alerts.webhook_url", ""),  # whoever has it may write to the channel
    )
    found = []
    for ask in asked:
        with suppress(Exception):
            found.append(ask())
    return [secret for secret in found if secret]
