"""What people do in Kantata's screens with exchange rates."""

from .clock import day_text
from .store import Store

_DEFAULT_TABLE = "1"
_MONTHS = 72
_PARTS = {"USD": 9_200, "JPY": 61, "KWD": 29_900, "GBP": 11_700}  # ten thousandths of a euro


class ExchangeActions(Store):
    """Mutators of the account's exchange tables."""

    def add_rate(self, source: str, target: str, day: str, rate: object) -> str:
        """Add a rate to the default exchange table, and return its id; the API shows it as text."""
        with self.change():
            return _add_rate(self, source, target, day, rate)

    def update_rate(self, id: str, rate: object) -> None:
        """Correct a rate of the account. No event reports it."""
        with self.change():
            self.exchange_rates[id]["rate"] = rate

    def set_exchange(self, access: bool = True, nested_rates: bool = True) -> None:
        """Let the token's user read exchange tables or not, and choose where their rates are.

        Unknown: whether the rates are below the path of their table, or a list of their own.
        """
        with self.change():
            self.exchange_access = access
            self.nested_rates = nested_rates


def seed_rates(store: Store, today: int) -> None:
    """Seed a default table with monthly rates of some currencies to the euro, and an empty one."""
    store.exchange_tables = {
        _DEFAULT_TABLE: {"id": _DEFAULT_TABLE, "name": "Corporate rates", "account_default": True},
        "2": {"id": "2", "name": "Budget 2020", "account_default": False},
    }
    first = today // 86_400 - 30 * _MONTHS
    for month in range(_MONTHS):
        for currency, parts in _PARTS.items():
            rate = parts * 100 + (month * 37 + parts) % 400
            _add_rate(store, currency, "EUR", day_text(first + 30 * month), f"{rate / 1e6:.6f}")


def _add_rate(store: Store, source: str, target: str, day: str, rate: object) -> str:
    """Add a rate to the default exchange table of the store."""
    id_ = store.new_id("exchange_rate")
    store.exchange_rates[id_] = {
        "id": id_,
        "exchange_table_id": _DEFAULT_TABLE,
        "source_currency": source,
        "target_currency": target,
        "effective_date": day,
        "rate": rate,
    }
    return id_
