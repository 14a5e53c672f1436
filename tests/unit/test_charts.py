"""Charts: bars are as long as their amounts, are stacked, and fit into the drawing."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ops.charts import Column, axis_ticks, column_chart, short_amount

AMOUNTS = st.decimals(min_value=-(10**13), max_value=10**13, places=3)


def column(name: str, *amounts: int) -> Column:
    """A column with the amounts stacked."""
    return Column(name=name, parts={f"k{n}": Decimal(a) for n, a in enumerate(amounts)})


def test_bars_are_stacked_to_scale() -> None:
    """Twice the amount is twice as high, the second part begins where the first one ends."""
    chart = column_chart([column("a", 100, 50), column("b", 200)], width=500, height=200)
    first, second, other = chart.rectangles
    assert other.height == pytest.approx(2 * first.height, abs=0.2)
    assert second.height == pytest.approx(first.height / 2, abs=0.2)
    assert second.y + second.height == pytest.approx(first.y, abs=0.1)
    assert first.y + first.height == pytest.approx(chart.zero, abs=0.1)
    assert other.x > first.x + first.width


def test_negative_amounts_hang_below_zero() -> None:
    """Credits and invoices hang below zero, each kind from the end of the one before."""
    chart = column_chart([column("a", 100, -40, -20)], width=500, height=200)
    up, down, further = chart.rectangles
    assert up.y + up.height == pytest.approx(chart.zero, abs=0.1)
    assert down.y == pytest.approx(chart.zero, abs=0.1)
    assert further.y == pytest.approx(down.y + down.height, abs=0.1)


def test_waterfall_continues_where_the_step_before_ended() -> None:
    """A step down begins at the level that it lowers."""
    steps = [
        column("opening", 100),
        Column(name="less", parts={"down": Decimal(-30)}, start=Decimal(100)),
    ]
    level, down = column_chart(steps, width=500, height=200).rectangles
    assert down.y == pytest.approx(level.y, abs=0.1)
    assert down.height == pytest.approx(level.height * 0.3, abs=0.2)


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS), min_size=1, max_size=30))
def test_everything_fits(columns: list[tuple[Decimal, ...]]) -> None:
    """Whatever the amounts are, each bar and each label is inside the drawing."""
    chart = column_chart(
        [
            Column(name=f"{n}", parts={f"k{k}": a for k, a in enumerate(amounts)})
            for n, amounts in enumerate(columns)
        ],
        width=340,
        height=220,
    )
    for bar in chart.rectangles:
        assert chart.left <= bar.x
        assert bar.x + bar.width <= chart.right
        assert bar.y >= 0
        assert bar.y + bar.height <= chart.height
    assert all(0 <= label.at <= chart.height for label in chart.amounts)
    assert 3 <= len(chart.amounts) <= 12


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ("0", "0", ["0", "0.5", "1.0"]),
        ("0", "100", ["0", "50", "100"]),
        ("-30", "90", ["-50", "0", "50", "100"]),
        ("0", "0.004", ["0.000", "0.001", "0.002", "0.003", "0.004"]),
    ],
)
def test_ticks_are_round(low: str, high: str, expected: list[str]) -> None:
    """The axis has round amounts, and 0 among them."""
    assert axis_ticks(Decimal(low), Decimal(high)) == list(map(Decimal, expected))


def test_short_amounts() -> None:
    """Labels are short, and as exact as their ticks."""
    shown = [short_amount(Decimal(a)) for a in ("0", "0.5", "950", "1500", "-2000000", "5e9")]
    assert shown == ["0", "0.5", "950", "1.5k", "-2M", "5bn"]
