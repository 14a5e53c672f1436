"""Which bindings mean the same account."""

from __future__ import annotations

import pytest

from warehouse.account import AccountBinding

HERE, THERE = "api.mavenlink.com/api/v1", "example.com/api/v1"


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ((HERE, "1"), (HERE, "1"), True),
        ((HERE, "1"), (HERE, "2"), False),
        ((HERE, "1"), (THERE, "1"), True),  # Kantata moved to another host
        ((HERE, None), (HERE, "1"), True),  # the id was hidden by a permission
        ((HERE, None), (THERE, "1"), False),
        ((HERE, None), ("api.mavenlink.com/api/v2", None), True),
    ],
)
def test_same_account(
    first: tuple[str, str | None], second: tuple[str, str | None], is_same: bool
) -> None:
    """Ids decide if both are known, else the host."""
    assert AccountBinding(*first).is_same_account(AccountBinding(*second)) is is_same
    assert AccountBinding(*second).is_same_account(AccountBinding(*first)) is is_same
