"""A local server that behaves like the Kantata OX API, traps included.

Written from what is known of the API (kantata/API.md), not from the client, so that one misreading
cannot hide on both sides. Where the API is unknown it does the worst that is plausible; comments
say so. Its state is in memory only, and it listens on 127.0.0.1 only.
"""

from .account import Account
from .app import Served
from .clock import Clock
from .faults import Fault, FaultKind
from .server import Sandbox, serve

__all__ = ["Account", "Clock", "Fault", "FaultKind", "Sandbox", "Served", "serve"]
