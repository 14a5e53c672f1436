"""Mutants that no test can notice, each with the reason, by module and name of the mutant."""

from __future__ import annotations

_AS_FALSE = "its caller takes None as it takes False"
_NO_TIME = "neither text is a time, so both are compared as text"
_AFTER_ANCHOR = "an event after the last anchor has a link with a digest"

EQUIVALENT: dict[str, dict[str, str]] = {
    "pipelines/writeback/plan.py": {"_counts: return False -> return None": _AS_FALSE},
    "pipelines/writeback/settlement.py": {"_moment: '' -> 'mutated'": _NO_TIME},
    "warehouse/ledger/chain.py": {
        "chain_problems: link.draft_digest or '' -> link.draft_digest": _AFTER_ANCHOR,
        "chain_problems: '' -> 'mutated'": _AFTER_ANCHOR,
    },
}
