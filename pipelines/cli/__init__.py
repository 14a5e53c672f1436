"""The command line; ``milestones`` starts ``main``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from .app import main as run  # here, so that importing one module of it stays cheap

    run()
