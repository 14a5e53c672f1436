"""The geometry of the report's charts: bars and axes in the units of an SVG drawing.

Pure: amounts in, coordinates out. ``report.html`` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, floor, log10

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 20, 10, 24  # margins for the labels of the axes
_TICKS = 4  # at least so many intervals on the axis of amounts
_GAP = 0.28  # of the width of a bar's place
_CHARACTER = 7  # the width of one in a label, at most


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a chart shows at one place of its horizontal axis.

    Args:
        name: The label.
        parts: The amounts to stack, by kind; negative ones hang below zero.
        start: Where the stack begins, for a step of a waterfall.
    """

    name: str
    parts: Mapping[str, Decimal]
    start: Decimal = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """A part of a chart's column: its place, its kind and its amount."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    name: str
    amount: Decimal


@dataclass(frozen=True)
class Label:
    """A label of a chart's axis: its place along the axis, and its text."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of columns.

    Args:
        width, height: The size of the drawing.
        left, right: Where the lines of the axis of amounts begin and end.
        zero: The height of the amount 0.
        rectangles: The parts of all columns.
        amounts: The labels of the axis of amounts, each at its height.
        names: The labels of the columns that have room for one, each at its middle.
    """

    width: int
    height: int
    left: float
    right: float
    zero: float
    rectangles: Sequence[Rectangle]
    amounts: Sequence[Label]
    names: Sequence[Label]


def column_chart(columns: Sequence[Column], *, width: int, height: int) -> Chart:
    """Return the geometry of a chart with a column for each name.

    Args:
        columns: The columns, from left to right; at least one.
        width: The width of the drawing.
        height: Its height.
    """
    ends = [end for column in columns for end in _ends(column)]
    ticks = axis_ticks(min(ends), max(ends))
    low, high = float(ticks[0]), float(ticks[-1])
    place = (width - _LEFT - _RIGHT) / len(columns)

    def y(amount: Decimal) -> float:
        share = (float(amount) - low) / (high - low)
        return round(height - _BOTTOM - share * (height - _TOP - _BOTTOM), 1)

    rectangles = []
    for index, column in enumerate(columns):
        x = _LEFT + place * (index + _GAP / 2)
        above = below = column.start
        for kind, amount in column.parts.items():
            start = above if amount >= 0 else below
            top, bottom = sorted((y(start), y(start + amount)))
            rectangles.append(
                Rectangle(
                    x=round(x, 1),
                    y=top,
                    width=round(place * (1 - _GAP), 1),
                    height=round(bottom - top, 1),
                    kind=kind,
                    name=column.name,
                    amount=amount,
                )
            )
            if amount >= 0:
                above += amount
            else:
                below += amount
    longest = max(len(column.name) for column in columns) * _CHARACTER
    every = max(1, ceil(longest / place))
    return Chart(
        width=width,
        height=height,
        left=_LEFT,
        right=width - _RIGHT,
        zero=y(Decimal(0)),
        rectangles=[each for each in rectangles if each.amount],
        amounts=[Label(y(tick), short_amount(tick)) for tick in ticks],
        names=[
            Label(round(_LEFT + place * (index + 0.5), 1), column.name)
            for index, column in enumerate(columns)
            if index % every == 0
        ],
    )


def _ends(column: Column) -> list[Decimal]:
    """Return the heights that a chart must have room for to show a column."""
    above = sum((part for part in column.parts.values() if part > 0), column.start)
    below = sum((part for part in column.parts.values() if part < 0), column.start)
    return [Decimal(0), column.start, above, below]


def axis_ticks(low: Decimal, high: Decimal) -> list[Decimal]:
    """Return round amounts for a chart's axis: from at most the lowest to at least the highest."""
    if low == high:
        high = low + 1
    step = _round_step(float(high - low) / _TICKS)
    first, last = floor(low / step), ceil(high / step)
    return [step * index for index in range(first, last + 1)]


def _round_step(least: float) -> Decimal:
    """Return the smallest of 1, 2, 5, 10, 20 … that is at least a chart's interval."""
    power = Decimal(10) ** floor(log10(least))
    steps = (Decimal(factor) * power for factor in (1, 2, 5, 10))
    return next(step for step in steps if float(step) >= least * 0.999)


def short_amount(amount: Decimal) -> str:
    """Return an amount for a chart's axis, such as 1.5M."""
    for power, unit in ((12, "tn"), (9, "bn"), (6, "M"), (3, "k")):
        if abs(amount) >= 10**power:
            return f"{(amount / 10**power).normalize():f}{unit}"
    return f"{amount.normalize():f}"
