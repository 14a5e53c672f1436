"""The faults that a write can meet."""

from __future__ import annotations

from typing import Any

# How often a write must be sent in all, and the fault that it meets first. A fault with `executed`
# carries the write out and then answers with the fault.
FAULTS: list[tuple[int, dict[str, Any]]] = [
    (1, {"kind": "refuse"}),
    (1, {"kind": "refuse", "executed": True}),
    (1, {"kind": "refuse", "status": 403}),
    (1, {"kind": "refuse", "status": 404}),
    (2, {"kind": "refuse", "status": 408}),
    (1, {"kind": "refuse", "status": 408, "executed": True}),
    (2, {"kind": "refuse", "status": 401}),
    (3, {"kind": "throttle", "times": 2, "retry_after": 0}),
    (3, {"kind": "throttle", "times": 2}),
    (6, {"kind": "throttle", "times": 20, "retry_after": 0}),
    (1, {"kind": "throttle", "executed": True, "retry_after": 0}),
    (2, {"kind": "error"}),
    (1, {"kind": "error", "executed": True}),
    (2, {"kind": "error", "status": 502, "html": True}),
    (1, {"kind": "error", "status": 502, "html": True, "executed": True}),
    (1, {"kind": "error", "status": 504, "html": True, "executed": True}),
    (2, {"kind": "html"}),
    (1, {"kind": "html", "executed": True}),
    (2, {"kind": "drop_before"}),
    (1, {"kind": "drop_after"}),
    (2, {"kind": "redirect"}),
    (1, {"kind": "redirect", "executed": True}),
    (1, {"kind": "garbage"}),
    (1, {"kind": "delay", "seconds": 0.02}),
]
