"""The command line; ``milestones`` starts ``main``."""

from __future__ import annotations

import gc
import os
import signal


def main() -> None:
    """Run the command line."""
    _end_on_sigterm()
    gc.disable()  # a tenth of a short command's time; servers enable it again
    from .streams import open_closed_streams, use_lossy_streams

    open_closed_streams()  # before what is imported next opens files
    use_lossy_streams()
    from .app import command  # here, so that importing one module of it stays cheap

    command()()


def _end_on_sigterm() -> None:
    """Let SIGTERM end the command line from its start as the first process of a container, too.

    Linux discards a signal to the first process unless that has a handler for it.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
