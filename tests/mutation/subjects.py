"""The modules that are mutated, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass

_PUSH = (
    "tests/writeback/test_push.py",
    "tests/writeback/test_push_doubt.py",
    "tests/writeback/test_resend.py",
    "tests/writeback/test_lost_ledger.py::test_altered_events_stop_a_push",
)


@dataclass(frozen=True)
class Subject:
    """A module to mutate.

    Args:
        path: The module.
        tests: Its tests, files or single tests.
        is_quick: Whether its tests need no fixture of `conftest.py`, no server and no process.
    """

    path: str
    tests: tuple[str, ...]
    is_quick: bool = True


def _pure(path: str, *names: str) -> Subject:
    """Return a pure module with these files of unit tests."""
    return Subject(path, tuple(f"tests/unit/test_{name}.py" for name in names))


SUBJECTS = (
    _pure("pipelines/writeback/plan.py", "plan"),
    _pure("pipelines/writeback/settlement.py", "plan"),
    _pure("pipelines/writeback/account_state.py", "plan"),
    _pure("pipelines/writeback/resend.py", "resend"),
    _pure("pipelines/writeback/milestone.py", "milestone", "plan"),
    _pure("warehouse/ledger/chain.py", "chain"),
    _pure("warehouse/ledger/trust.py", "trust"),
    _pure("warehouse/ledger/change.py", "change", "plan", "ledger_lookup"),
    _pure("sources/kantata/transform/milestone_diff.py", "diff"),
    _pure("sources/kantata/transform/side_diff.py", "diff"),
    Subject("warehouse/ledger/recovery.py", ("tests/writeback/test_recovery.py",)),
    Subject(
        "warehouse/ledger/rows.py", ("tests/unit/test_rows.py", "tests/writeback/test_recovery.py")
    ),
    Subject("pipelines/writeback/reconcile.py", _PUSH, is_quick=False),
    Subject("pipelines/writeback/push.py", _PUSH, is_quick=False),
    Subject(
        "pipelines/writeback/delivery.py",
        (*_PUSH, "tests/writeback/test_push_batches.py"),
        is_quick=False,
    ),
    Subject("pipelines/writeback/push_session.py", _PUSH, is_quick=False),
    Subject("pipelines/writeback/manual_settlement.py", _PUSH[::-1], is_quick=False),
    Subject(
        "warehouse/ledger/store.py",
        ("tests/writeback/test_ledger.py", "tests/writeback/test_decide.py", *_PUSH),
        is_quick=False,
    ),
)
