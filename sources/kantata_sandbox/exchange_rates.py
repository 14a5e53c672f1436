"""The account's exchange tables and their rates (API.md#currencies-and-exchange-rates)."""

from .blank_records import Record
from .query import read_window
from .request import ApiRequest
from .responses import ApiResponse, envelope, forbidden, not_found
from .store import Store


def list_tables(request: ApiRequest) -> ApiResponse:
    """GET /foreign_exchange/exchange_tables."""
    _need_access(request.account)
    return _page(request, "exchange_tables", request.account.exchange_tables)


def list_rates(request: ApiRequest) -> ApiResponse:
    """GET /foreign_exchange/exchange_rates?exchange_table_id=…: one of two shapes."""
    _need_access(request.account)
    if request.account.nested_rates:
        raise not_found()
    return _rates_of(request, request.query.get("exchange_table_id", ""))


def list_rates_of_table(request: ApiRequest) -> ApiResponse:
    """GET /foreign_exchange/exchange_tables/{id}/exchange_rates: the other shape."""
    _need_access(request.account)
    if not request.account.nested_rates:
        raise not_found()
    return _rates_of(request, request.id)


def _rates_of(request: ApiRequest, table: str) -> ApiResponse:
    """Return a page of the rates of an exchange table."""
    rates = request.account.exchange_rates
    return _page(
        request,
        "exchange_rates",
        {id_: rate for id_, rate in rates.items() if rate["exchange_table_id"] == table},
    )


def _page(request: ApiRequest, key: str, records: dict[str, Record]) -> ApiResponse:
    """Return the page of records that the request names, by id."""
    page = read_window(request.query)
    ids = list(records)[page.start : page.stop]
    own = {id_: records[id_] for id_ in ids}
    return envelope(key, own, count=len(records), window=page)


def _need_access(store: Store) -> None:
    """Refuse users who do not belong to the access group for foreign exchange."""
    if not store.exchange_access:
        raise forbidden("You do not have access to foreign exchange.")
