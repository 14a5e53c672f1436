"""Strict conversion: the exact value, or the reason why not; never a rounded number."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.kantata.schema import BILLING_MILESTONES, Kind, reserved_columns
from sources.kantata.transform.conversion import arrow_type, as_text, convert_column, kind_of, shown
from sources.kantata.transform.fingerprint import digest
from sources.kantata.transform.records import ObservedRecord
from sources.kantata.transform.rows import RowBuilder
from sources.kantata.transform.undeclared import column_name

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
    """Whether a column holds exactly this value, by rules independent of the code."""
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
def test_columns_hold_values_exactly_or_report_misfits(kind: Kind, values: list[Any]) -> None:
    """Each value is held exactly or reported as a misfit, alone and among others."""
    array, misfits = convert_column(kind, values)
    for row, (value, held) in enumerate(zip(values, array.to_pylist(), strict=True)):
        if value is None or row in misfits:
            assert held is None
        else:
            assert _is_exactly(kind, value, held)
        assert (row in misfits) == bool(convert_column(kind, [value])[1])


HELD = {  # kind, value, held
    "a whole number": (Kind.BIGINT, 1000, 1000),
    "a whole number with a zero fraction": (Kind.BIGINT, 1000.0, 1000),
    "a whole number as text": (Kind.BIGINT, "1000", 1000),
    "a negative one as text": (Kind.BIGINT, "-1000", -1000),
    "the largest of 64 bits": (Kind.BIGINT, 2**63 - 1, 2**63 - 1),
    "the largest as text": (Kind.BIGINT, "9223372036854775807", 2**63 - 1),
    "the smallest as text": (Kind.BIGINT, "-9223372036854775808", -(2**63)),
    "the smallest of 64 bits": (Kind.BIGINT, -(2**63), -(2**63)),
    "the largest fraction that is exact": (Kind.BIGINT, 2.0**53 - 1, 2**53 - 1),
    "a fraction": (Kind.DOUBLE, 1.5, 1.5),
    "a whole number among fractions": (Kind.DOUBLE, 1, 1.0),
    "true": (Kind.BOOL, True, True),
    "an id as a number": (Kind.ID, 17, "17"),
    "an id as text": (Kind.ID, "17", "17"),
    "text": (Kind.TEXT, "a", "a"),
    "empty text": (Kind.TEXT, "", ""),
    "a date": (Kind.DATE, "2026-02-03", date(2026, 2, 3)),
    "the first date": (Kind.DATE, "0001-01-01", date.min),
    "a time": (Kind.TIMESTAMP, "2026-02-03T00:00:00Z", datetime(2026, 2, 3, tzinfo=UTC)),
    "a time elsewhere": (
        Kind.TIMESTAMP, "2026-02-03T01:00:00+01:00", datetime(2026, 2, 3, tzinfo=UTC),
    ),
    "a time to the microsecond": (
        Kind.TIMESTAMP, "2026-02-03T00:00:00.000001Z", datetime(2026, 2, 3, 0, 0, 0, 1, UTC),
    ),
    "an object": (Kind.JSON, {"a": [1]}, '{"a":[1]}'),
    "a list of ids": (Kind.IDS, ["1", 2], '["1",2]'),
    "an empty list of ids": (Kind.IDS, [], "[]"),
    "the value of a cent": (Kind.UNIT, Decimal("0.01"), Decimal("0.010000")),
}  # fmt: skip
MISFITS = {
    "an amount with decimals as text": (Kind.BIGINT, "12.50"),
    "an amount with decimals": (Kind.BIGINT, 1000.5),
    "an amount with thousands": (Kind.BIGINT, "1,000"),
    "an amount with an underscore, which Python takes": (Kind.BIGINT, "1_000"),
    "an amount with a space, which Python takes": (Kind.BIGINT, " 1000"),
    "true for a number": (Kind.BIGINT, True),
    "one more than 64 bits": (Kind.BIGINT, 2**63),
    "one more than 64 bits as text": (Kind.BIGINT, "9223372036854775808"),
    "one less than 64 bits as text": (Kind.BIGINT, "-9223372036854775809"),
    "a fraction that was rounded before": (Kind.BIGINT, 2.0**53),
    "infinity for a number": (Kind.BIGINT, float("inf")),
    "a list for a number": (Kind.BIGINT, [1]),
    "a number that a fraction cannot hold": (Kind.DOUBLE, 2**53),
    "text for a fraction": (Kind.DOUBLE, "1.5"),
    "true for a fraction": (Kind.DOUBLE, True),
    "text for a truth": (Kind.BOOL, "true"),
    "1 for a truth": (Kind.BOOL, 1),
    "a number for text": (Kind.TEXT, 17),
    "text with a NUL": (Kind.TEXT, "a\0b"),
    "an id with a NUL": (Kind.ID, "1\0"),
    "true for an id": (Kind.ID, True),
    "a fraction for an id": (Kind.ID, 17.0),
    "a date that does not exist": (Kind.DATE, "2026-02-30"),
    "a time for a date": (Kind.DATE, "2026-02-03T00:00:00Z"),
    "a date without dashes, which Python takes": (Kind.DATE, "20260203"),
    "a date of the year 0": (Kind.DATE, "0000-01-01"),
    "a date beyond the calendar, which Arrow takes": (Kind.DATE, "10000-01-01"),
    "a number for a date": (Kind.DATE, 20_260_203),
    "a time without an offset": (Kind.TIMESTAMP, "2026-02-03T00:00:00"),
    "a date for a time": (Kind.TIMESTAMP, "2026-02-03"),
    "a time to the nanosecond": (Kind.TIMESTAMP, "2026-02-03T00:00:00.000000001Z"),
    "a time that does not exist": (Kind.TIMESTAMP, "2026-02-03T25:00:00Z"),
    "a time that its offset moves before the first year": (
        Kind.TIMESTAMP, "0001-01-01T00:00:00+01:00",
    ),
    "a time that its offset moves beyond the last year": (
        Kind.TIMESTAMP, "9999-12-31T23:59:59-01:00",
    ),
    "a list with a null for ids": (Kind.IDS, ["1", None]),
    "a list with an empty id": (Kind.IDS, [""]),
    "a list with a comma in an id": (Kind.IDS, ["1,2"]),
    "a list with true": (Kind.IDS, [True]),
    "a text for ids": (Kind.IDS, "1,2"),
    "a number for the value of a cent": (Kind.UNIT, 0.01),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "held"), HELD.values(), ids=HELD)
def test_value_that_is_held(kind: Kind, value: object, held: object) -> None:
    """The column holds exactly this value, also next to nulls."""
    array, misfits = convert_column(kind, [None, value])
    assert (array.to_pylist(), misfits) == ([None, held], {})
    assert array.type == arrow_type(kind)
    assert type(array.to_pylist()[1]) is type(held)


@pytest.mark.parametrize(("kind", "value"), MISFITS.values(), ids=MISFITS)
def test_value_that_does_not_fit(kind: Kind, value: object) -> None:
    """A misfit is null, and its row has a reason; the other values are held."""
    fitting = {Kind.IDS: ["1"], Kind.UNIT: Decimal("0.01"), Kind.DATE: "2026-02-03"}
    fitting |= {Kind.BOOL: True, Kind.TIMESTAMP: "2026-02-03T00:00:00Z"}
    good = fitting.get(kind, "1" if kind in (Kind.ID, Kind.TEXT) else 1)
    array, misfits = convert_column(kind, [good, value, good])
    assert [held is None for held in array.to_pylist()] == [False, True, False]
    assert list(misfits) == [1]
    assert len(misfits[1]) < 100


@pytest.mark.parametrize("kind", Kind)
def test_column_of_nulls_has_its_type(kind: Kind) -> None:
    """A column of nulls, or without rows, has the declared type."""
    for values in ([], [None, None]):
        array, misfits = convert_column(kind, values)
        assert (array.type, array.null_count, misfits) == (arrow_type(kind), len(values), {})


KINDS = {
    "true": (True, Kind.BOOL),
    "a whole number": (1, Kind.BIGINT),
    "the largest of 64 bits": (2**63 - 1, Kind.BIGINT),
    "one more is text": (2**63, Kind.TEXT),
    "one less is text": (-(2**63) - 1, Kind.TEXT),
    "a fraction": (1.0, Kind.DOUBLE),
    "text": ("1", Kind.TEXT),
    "a date stays text": ("2026-02-03", Kind.TEXT),
    "a list": ([1], Kind.TEXT),
    "an object": ({}, Kind.TEXT),
}


@pytest.mark.parametrize(("value", "kind"), KINDS.values(), ids=KINDS)
def test_kind_of_a_field_nobody_declared(value: object, kind: Kind) -> None:
    """The first value decides the kind of an undeclared field."""
    assert kind_of(value) is kind


TEXTS = {
    "null": (None, None),
    "text": ("a", "a"),
    "text that looks like JSON": ('"a"', '"a"'),
    "a NUL": ("a\0b", "a\ufffdb"),
    "a number": (1, "1"),
    "true": (True, "true"),
    "an object": ({"a": [None]}, '{"a":[null]}'),
}


@pytest.mark.parametrize(("value", "text"), TEXTS.values(), ids=TEXTS)
def test_any_value_as_text(value: object, text: str | None) -> None:
    """Text stays as it is; everything else becomes JSON."""
    assert as_text(value) == text


@pytest.mark.parametrize(("length", "longest"), [(38, 40), (39, 40), (4_000, 40)])
def test_value_as_a_message_shows_it(length: int, longest: int) -> None:
    """A message shows a short value whole, and the beginning of a long one."""
    text = shown("x" * length)
    assert len(text) == longest
    assert text.endswith('"' if length == 38 else "...")


def test_digest_is_of_the_content() -> None:
    """Nulls and the order of keys and id lists do not affect the digest; everything else does."""
    record = {"id": "1", "a": 1, "x_ids": ["2", "1"], "list": [2, 1]}
    same = {"x_ids": ["1", "2"], "list": [2, 1], "a": 1, "id": "1", "b": None}
    assert digest(record) == digest(same)
    for name, value in {"a": 2, "a ": 1, "list": [1, 2], "x_ids": ["1"], "id": 1}.items():
        assert digest(record) != digest(record | {name: value})


@given(st.lists(st.text(max_size=60), min_size=2, max_size=8, unique=True))
def test_column_names_never_meet(fields: list[str]) -> None:
    """Different fields have different columns; none clashes with ours or with a variant's."""
    taken = reserved_columns("billing_milestones")
    names = [column_name(field, taken) for field in fields]
    assert len(set(names)) == len(names)
    assert not taken & set(names)
    assert not any(name.endswith("__v_text") for name in names)


NAMES = {  # field -> beginning of the column's name, whether it is the field's name
    "a plain name": ("weight", "weight", True),
    "a plain name with digits": ("weight_2", "weight_2", True),
    "a plain name of 50 characters": ("w" * 50, "w" * 50, True),
    "a longer one": ("w" * 51, "w" * 40, False),
    "a column of ours": ("row_hash", "row_hash", False),
    "a column of the loader": ("_dlt_id", "dlt_id", False),
    "capitals": ("netWeight", "net_weight", False),
    "two lines, which mark a variant": ("w__v_text", "w_v_text", False),
    "a digit first": ("2nd", "field_2nd", False),
    "no letter at all": ("%", "field", False),
}


@pytest.mark.parametrize(("name", "begins", "own"), NAMES.values(), ids=NAMES)
def test_column_name(name: str, begins: str, own: bool) -> None:
    """A plain name stays as it is; any other gets part of its hash."""
    found = column_name(name, reserved_columns("billing_milestones"))
    assert found.partition("__x")[0] == begins
    assert (found == name) == own


def _milestone(**fields: object) -> ObservedRecord:
    record = {
        "id": "1", "amount_in_cents": 1, "currency": "USD", "workspace_id": "2",
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", **fields,
    }  # fmt: skip
    return ObservedRecord("1", record, digest(record), _NOW)


def test_type_that_changes_between_batches() -> None:
    """A value of another type goes to the variant column, in this batch and in the next."""
    rows = RowBuilder(BILLING_MILESTONES, {})
    tables = [rows.build([_milestone(w=value)]).table for value in (1, "x", 2.5, None, "3", 3)]
    found = [(t.to_pylist()[0].get("w"), t.to_pylist()[0].get("w__v_text")) for t in tables if t]
    assert found == [(1, None), (None, "x"), (None, "2.5"), (None, None), (None, "3"), (3, None)]
    assert {t.schema.field("w").type for t in tables if t} == {pa.int64()}


def test_known_column_keeps_its_type() -> None:
    """An existing column decides the type, not the first value of this run."""
    rows = RowBuilder(BILLING_MILESTONES, {"w": "bool", "w__v_text": "text"})
    table = rows.build([_milestone(w="yes")]).table
    assert table is not None
    assert table.select(["w", "w__v_text"]).to_pylist() == [{"w": None, "w__v_text": "yes"}]


def test_variant_is_loaded_also_when_all_values_fit() -> None:
    """A value that fits again clears the variant column."""
    rows = RowBuilder(BILLING_MILESTONES, {"w": "bigint", "w__v_text": "text"})
    table = rows.build([_milestone(w=1)]).table
    assert table is not None
    assert table.select(["w", "w__v_text"]).to_pylist() == [{"w": 1, "w__v_text": None}]


def test_reject_names_every_reason() -> None:
    """The reason of a rejected record names every error."""
    typed = RowBuilder(BILLING_MILESTONES, {}).build(
        [_milestone(amount_in_cents="x", currency=None, title=7)]
    )
    assert (typed.table, typed.records) == (None, [])
    for part in ('amount_in_cents: "x" is not a whole number', "currency is null", "title: 7"):
        assert part in typed.rejects[0].reason
