"""Exit codes of commands."""

from __future__ import annotations

ACTION_REQUIRED = 3
