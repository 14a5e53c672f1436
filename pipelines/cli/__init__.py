"""The command line: ``main`` is what ``milestones`` starts."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from .app import main as run  # imported when it is needed: importing a part of it stays cheap

    run()
