"""Values of writable fields: accepted exactly, or refused with the field's name."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pipelines.writeback.fields import check_text, minor_units_of, parse_field
from warehouse.errors import ChangeRefused

TAKEN = {
    "an amount": ("amount_in_cents", "50000", 50_000),
    "an amount with spaces around it": ("amount_in_cents", " 50000 ", 50_000),
    "an amount of nothing": ("amount_in_cents", "0", 0),
    "a negative amount": ("amount_in_cents", "-50000", -50_000),
    "an amount with leading zeros": ("amount_in_cents", "00050000", 50_000),
    "an amount with many leading zeros": ("amount_in_cents", "0" * 15 + "50000", 50_000),
    "the largest amount": ("amount_in_cents", "2147483647", 2_147_483_647),
    "the smallest amount": ("amount_in_cents", "-2147483647", -2_147_483_647),
    "a date": ("date_to_invoice", "2027-03-31", "2027-03-31"),
    "a date with the midnight of a spreadsheet": (
        "date_to_invoice",
        "2027-03-31 00:00:00",
        "2027-03-31",
    ),
    "an amount in money": ("amount", " 1234.50 ", "1234.50"),
    "a leap day": ("date_to_invoice", "2028-02-29", "2028-02-29"),
    "billing on a date": ("billing_type", "fixed_date", "fixed_date"),
    "billing on completion": ("billing_type", "upon_completion", "upon_completion"),
    "a task": ("story_id", "12", "12"),
    "a task with zeros before its id": ("story_id", "001005", "1005"),
    "a project": ("workspace_id", "3", "3"),
    "an id of twenty digits": ("workspace_id", "9" * 20, "9" * 20),
    "a title": ("title", "Go-live", "Go-live"),
    "a title with spaces around it": ("title", "  Go live ", "Go live"),
    "a title in another script": ("title", "مرحلة", "مرحلة"),
    "a title with a joiner that its script needs": ("title", "می\u200cشود", "می\u200cشود"),
    "a title that looks like an amount": ("title", "50000", "50000"),
    "a title that looks like a formula": ("title", "=1+1", "=1+1"),
}
REFUSED = {
    "an amount in money with a comma": ("amount", "1.234,56"),
    "an amount in money with thousands": ("amount", "1,234.56"),
    "an amount in money with an exponent": ("amount", "1E+05"),
    "a date with a time of day": ("date_to_invoice", "2027-03-31 12:00:00"),
    "an amount with decimals": ("amount_in_cents", "500.00"),
    "an amount with thousands": ("amount_in_cents", "50,000"),
    "an amount with an underscore, which Python takes": ("amount_in_cents", "50_000"),
    "an amount with a plus, which Python takes": ("amount_in_cents", "+50000"),
    "an amount in Arabic digits, which Python takes": ("amount_in_cents", "\u0665\u0660"),
    "an amount with an exponent": ("amount_in_cents", "5e4"),
    "an amount with a currency": ("amount_in_cents", "500 USD"),
    "an amount with a space inside": ("amount_in_cents", "50 000"),
    "a sign alone": ("amount_in_cents", "-"),
    "one more than the largest amount": ("amount_in_cents", "2147483648"),
    "one less than the smallest amount": ("amount_in_cents", "-2147483648"),
    "an amount of very many digits": ("amount_in_cents", "1" * 5_000),
    "an amount of very many zeros": ("amount_in_cents", "0" * 5_000),
    "a date as an American writes it": ("date_to_invoice", "03/31/2027"),
    "a date without dashes, which Python takes": ("date_to_invoice", "20270331"),
    "a date as a week, which Python takes": ("date_to_invoice", "2027-W13-3"),
    "a date with a time": ("date_to_invoice", "2027-03-31T00:00:00"),
    "a date that does not exist": ("date_to_invoice", "2027-02-29"),
    "a month that does not exist": ("date_to_invoice", "2027-13-01"),
    "a billing type that does not exist": ("billing_type", "monthly"),
    "a billing type in capitals": ("billing_type", "Fixed_Date"),
    "a task's name for its id": ("story_id", "Design"),
    "a project's name for its id": ("workspace_id", "Website"),
    "a negative id": ("workspace_id", "-3"),
    "an id of twenty-one digits": ("story_id", "9" * 21),
    "an id in Arabic digits": ("story_id", "\u0661\u0662"),
    "an empty title": ("title", ""),
    "a title of spaces": ("title", "   "),
    "an empty amount": ("amount_in_cents", ""),
    "an empty date": ("date_to_invoice", " "),
    "a title with a line end": ("title", "Go\nlive"),
    "a title with a line end after it": ("title", "Go-live\n"),
    "a title with a NUL": ("title", "Go\0live"),
    "a title that turns its direction": ("title", "Go \u202eevil"),
    "a title with an unseen space": ("title", "Go\u200blive"),
    "an amount with an unseen mark": ("amount_in_cents", "\ufeff50000"),
    "half of a character": ("title", "Go \udcff"),
}


@pytest.mark.parametrize(("name", "text", "value"), TAKEN.values(), ids=TAKEN)
def test_value_that_is_accepted(name: str, text: str, value: object) -> None:
    """The value and its type are those that Kantata accepts."""
    found = parse_field(name, text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(("name", "text"), REFUSED.values(), ids=REFUSED)
def test_value_that_is_refused(name: str, text: str) -> None:
    """The message names the field, and is short and printable for any input."""
    with pytest.raises(ChangeRefused, match=name) as refused:
        parse_field(name, text)
    message = str(refused.value)
    assert len(message) < 250
    assert not any(character in message for character in "\0\n\u202e\u200b\ufeff\udcff")


WRITTEN_OUT = {
    "a line end": ("a\nb", r"\\n"),
    "a tabulator": ("a\tb", r"\\t"),
    "a line separator": ("a\u2028b", r"\\u2028"),
    "a paragraph separator": ("a\u2029b", r"\\u2029"),
    "an escape, which a terminal obeys": ("\x1b[2J", r"\\x1b"),
    "two, each once": ("\t\n\t", r"\\t, \\n$"),
}


@pytest.mark.parametrize(("text", "shown"), WRITTEN_OUT.values(), ids=WRITTEN_OUT)
def test_characters_that_cannot_be_seen(text: str, shown: str) -> None:
    """Invisible characters are shown by their code points."""
    with pytest.raises(ChangeRefused, match=f"reason.*{shown}"):
        check_text("reason", text)


@pytest.mark.parametrize("text", ["", "as agreed", "naïve, ½ €", "🙂", "👩\u200d💻"])
def test_text_that_can_be_seen(text: str) -> None:
    """Printable text is returned unchanged."""
    assert check_text("reason", text) == text


UNITS = {
    "cents": ("1234.56", "0.01", 123_456),
    "one decimal": ("1234.5", "0.01", 123_450),
    "decimals of nothing": ("1234.5000", "0.01", 123_450),
    "yen": ("1234", "1", 1_234),
    "a thousandth": ("-1.234", "0.001", -1_234),
    "a fifth": ("1.4", "0.200000", 7),
    "the largest": ("21474836.47", "0.01", 2_147_483_647),
    "too fine": ("1234.567", "0.01", None),
    "too fine for yen": ("0.5", "1", None),
    "too fine for a fifth": ("1.5", "0.2", None),
    "too fine by its last digit": ("12345678901234567890.000000000001", "0.01", None),
    "too large": ("21474836.48", "0.01", None),
}


@pytest.mark.parametrize(("amount", "unit", "expected"), UNITS.values(), ids=UNITS)
def test_amount_in_money(amount: str, unit: str, expected: int | None) -> None:
    """An amount in money is a whole number of minor units, exactly, or refused."""
    if expected is None:
        with pytest.raises(ChangeRefused, match="amount is"):
            minor_units_of(amount, Decimal(unit), "EUR")
    else:
        assert minor_units_of(amount, Decimal(unit), "EUR") == expected
