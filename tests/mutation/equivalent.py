"""Mutants that nobody could notice, each with the reason, by module and name of the mutant."""

from __future__ import annotations

_AS_FALSE = "its caller takes None as it takes False"
_ONE_MORE = "a batch has one row more, and nothing else differs"
_NO_TIME = "neither text is a time, so both are compared as text"
_AFTER_ANCHOR = "an event after the last anchor has a link with a digest"

EQUIVALENT: dict[str, dict[str, str]] = {
    "pipelines/writeback/plan.py": {"_counts: return False -> return None": _AS_FALSE},
    "pipelines/writeback/settlement.py": {"parse_moment: '' -> 'mutated'": _NO_TIME},
    "warehouse/ledger/chain.py": {
        "chain_problems: link.draft_digest or '' -> link.draft_digest": _AFTER_ANCHOR,
        "chain_problems: '' -> 'mutated'": _AFTER_ANCHOR,
        "_hash: ':' -> 'mutated'": "what is hashed is lists, which have no colon",
    },
    "warehouse/ledger/trust.py": {
        "why_untrusted: is_same_person(approval.who, change.proposer) -> "
        "is_same_person(change.proposer, approval.who)": "two names are compared in either order",
    },
    "warehouse/ledger/rows.py": {
        "draft_values: False -> True": "JSON with or without escapes is the same when it is read",
        "change_values: '' -> 'mutated'": "every change in a ledger has the time of its proposal",
    },
    "sources/kantata/transform/milestone_diff.py": {
        "compare: 1000000 -> 1000001": "only the order of the moments counts",
        "compare: len(self._buffer) >= BATCH_ROWS -> len(self._buffer) > BATCH_ROWS": _ONE_MORE,
        "_compare: index.version_digest(id_, before) -> index.version_digest(before, id_)": (
            "unchanged records are typed before they are found to be equal: slower, and no more"
        ),
    },
    "sources/kantata/transform/side_diff.py": {
        "compare: len(self._buffer) >= BATCH_ROWS -> len(self._buffer) > BATCH_ROWS": _ONE_MORE,
    },
}
