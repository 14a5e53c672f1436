"""The command that runs the sandbox."""

from __future__ import annotations

import gc

from sources.kantata.errors import KantataError
from sources.kantata_sandbox import serve
from warehouse.words import counted

from .errors import handle_errors


def sandbox(*, port: int, milestones: int, seed: int, latency: float, token: str) -> None:
    """Implement the command `sandbox`: serve a sandbox until a signal comes."""

    def ready(url: str) -> None:
        print(f"A sandbox of {counted(milestones, 'milestone')} is running. In another terminal:\n")
        print(f"export KANTATA_API_URL={url}")
        print(f"export KANTATA_ACCESS_TOKEN={token}", flush=True)

    gc.enable()  # the command line has disabled it
    with handle_errors(as_json=False, checks_settings=False):
        try:
            serve(port, milestones, seed, latency, token, ready)
        except OSError as error:
            raise KantataError(f"cannot listen on port {port}: {error.strerror}") from None
