"""Strict conversion: exactly the value, or the reason why not; never a rounded number."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.kantata.content import digest
from sources.kantata.records import Read, Rows, column_name
from sources.kantata.settings import BILLING_MILESTONES, Kind, reserved
from sources.kantata.values import column

_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dates().map(str),
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.lists(st.integers(0, 9), max_size=2),
)


def _is_exactly(kind: Kind, value: Any, held: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether a column holds exactly this value, by rules written apart from the code."""
    if kind in (Kind.BIGINT, Kind.DOUBLE):
        return (
            not isinstance(value, bool)
            and float(value) == float(held)
            and (isinstance(value, float) or int(value) == held)
        )
    if kind is Kind.DATE:
        return bool(date.fromisoformat(value) == held)
    if kind is Kind.TIMESTAMP:
        return bool(datetime.fromisoformat(value) == held)
    if kind is Kind.ID:
        return bool(str(value) == held)
    return bool(value == held) and type(value) is type(held)


@given(
    st.sampled_from([Kind.BIGINT, Kind.DOUBLE, Kind.BOOL, Kind.TEXT, Kind.ID, Kind.DATE,
                     Kind.TIMESTAMP]),
    st.lists(_JSON, min_size=1, max_size=5),
)  # fmt: skip
def test_columns_hold_values_exactly_or_tell(kind: Kind, values: list[Any]) -> None:
    """Each value is either held exactly or named as a misfit, alone and among others."""
    array, misfits = column(kind, values)
    for row, (value, held) in enumerate(zip(values, array.to_pylist(), strict=True)):
        if value is None or row in misfits:
            assert held is None
        else:
            assert _is_exactly(kind, value, held)
        assert (row in misfits) == bool(column(kind, [value])[1])


@pytest.mark.parametrize(
    ("kind", "value", "held"),
    [
        (Kind.BIGINT, 1000.0, 1000),
        (Kind.BIGINT, "1000", 1000),
        (Kind.BIGINT, "12.50", None),
        (Kind.BIGINT, 1000.5, None),
        (Kind.BIGINT, True, None),
        (Kind.BIGINT, 2**63, None),
        (Kind.BIGINT, 1e17, None),
        (Kind.ID, 17, "17"),
        (Kind.TEXT, 17, None),
        (Kind.TEXT, "a\0b", None),
        (Kind.DATE, "2026-02-30", None),
        (Kind.DATE, "2026-02-03T00:00:00Z", None),
        (Kind.TIMESTAMP, "2026-02-03T00:00:00", None),
        (Kind.TIMESTAMP, "2026-02-03T01:00:00+01:00", datetime(2026, 2, 3, tzinfo=UTC)),
        (Kind.BOOL, "true", None),
    ],
)
def test_conversions(kind: Kind, value: object, held: object) -> None:
    """What is converted, and what is refused."""
    array, misfits = column(kind, [value])
    assert array.to_pylist() == [held]
    assert bool(misfits) == (held is None)


def test_digest_is_of_the_content() -> None:
    """Nulls, the order of keys and of id lists do not count; everything else does."""
    record = {"id": "1", "a": 1, "x_ids": ["2", "1"], "list": [2, 1]}
    same = {"x_ids": ["1", "2"], "list": [2, 1], "a": 1, "id": "1", "b": None}
    assert digest(record) == digest(same)
    for name, value in {"a": 2, "a ": 1, "list": [1, 2], "x_ids": ["1"], "id": 1}.items():
        assert digest(record) != digest(record | {name: value})


@given(st.lists(st.text(max_size=60), min_size=2, max_size=8, unique=True))
def test_column_names_never_meet(fields: list[str]) -> None:
    """Different fields have different columns, and none of them is ours or a variant's."""
    taken = reserved("billing_milestones")
    names = [column_name(field, taken) for field in fields]
    assert len(set(names)) == len(names)
    assert not taken & set(names)
    assert not any(name.endswith("__v_text") for name in names)


def _milestone(**fields: object) -> Read:
    record = {
        "id": "1", "amount_in_cents": 1, "currency": "USD", "workspace_id": "2",
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", **fields,
    }  # fmt: skip
    return Read("1", record, digest(record), _NOW)


def test_type_that_changes_between_batches() -> None:
    """A value of another type than the column goes beside it, in this batch and in the next."""
    rows = Rows(BILLING_MILESTONES, {})
    tables = [rows.build([_milestone(w=value)])[0] for value in (1, "x", 2.5, None, 3)]
    found = [(t.to_pylist()[0].get("w"), t.to_pylist()[0].get("w__v_text")) for t in tables if t]
    assert found == [(1, None), (None, "x"), (None, "2.5"), (None, None), (3, None)]
    assert {t.schema.field("w").type for t in tables if t} == {pa.int64()}


def test_known_column_keeps_its_type() -> None:
    """A column of an earlier run decides, not the first value of this one."""
    rows = Rows(BILLING_MILESTONES, {"w": "bool", "w__v_text": "text"})
    table = rows.build([_milestone(w="yes")])[0]
    assert table is not None
    assert table.select(["w", "w__v_text"]).to_pylist() == [{"w": None, "w__v_text": "yes"}]


def test_reject_names_every_reason() -> None:
    """A rejected record tells all that is wrong with it."""
    table, good, rejects = Rows(BILLING_MILESTONES, {}).build(
        [_milestone(amount_in_cents="x", currency=None, title=7)]
    )
    assert (table, good) == (None, [])
    for part in ('amount_in_cents: "x" is not a whole number', "currency is null", "title: 7"):
        assert part in rejects[0].reason
