"""The endpoints by method and path, and how a request gets to one."""

from collections.abc import Callable

from . import exchange_rates, get_endpoints, write_endpoints
from .account import Account
from .cache import VersionedCache
from .request import ApiRequest
from .responses import ApiError, ApiResponse, not_found, unauthorized

Endpoint = Callable[[ApiRequest], ApiResponse]

ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/billing_milestones"): get_endpoints.list_milestones,
    ("POST", "/billing_milestones"): write_endpoints.create_milestones,
    ("GET", "/billing_milestones/{id}"): get_endpoints.show_milestone,
    ("PUT", "/billing_milestones/{id}"): write_endpoints.update_milestone,
    ("DELETE", "/billing_milestones/{id}"): write_endpoints.delete_milestone,
    ("GET", "/workspaces"): get_endpoints.list_workspaces,
    ("GET", "/workspaces/{id}"): get_endpoints.show_workspace,
    ("GET", "/stories"): get_endpoints.list_stories,
    ("GET", "/stories/{id}"): get_endpoints.show_story,
    ("GET", "/invoices"): get_endpoints.list_invoices,
    ("GET", "/invoices/{id}"): get_endpoints.show_invoice,
    ("PUT", "/invoices/{id}/cancel"): write_endpoints.cancel_invoice,
    ("DELETE", "/invoices/{id}"): write_endpoints.delete_invoice,
    ("GET", "/external_references"): get_endpoints.list_references,
    ("POST", "/external_references/create_or_update"): write_endpoints.save_reference,
    ("DELETE", "/external_references/{id}"): write_endpoints.delete_reference,
    ("GET", "/currencies"): get_endpoints.list_currencies,
    ("GET", "/foreign_exchange/exchange_tables"): exchange_rates.list_tables,
    ("GET", "/foreign_exchange/exchange_tables/{id}/exchange_rates"): (
        exchange_rates.list_rates_of_table
    ),
    ("GET", "/foreign_exchange/exchange_rates"): exchange_rates.list_rates,
    ("GET", "/users/me"): get_endpoints.show_me,
    ("GET", "/subscribed_events"): get_endpoints.list_events,
    ("GET", "/subscribed_events/event_types"): get_endpoints.list_event_types,
}

_CACHED_BYTES = 256 * 1024 * 1024


class Api:
    """Routes requests to endpoints of one account, and caches finished pages until it changes."""

    def __init__(self, account: Account, token: str) -> None:
        self.account = account
        self._bearer = f"Bearer {token}"
        self._pages: VersionedCache[ApiResponse] = VersionedCache(
            _CACHED_BYTES, lambda page: len(page.body)
        )
        self._selections: VersionedCache[list[str]] = VersionedCache(32)

    def request(
        self, method: str, path: str, *, query: dict[str, str], body: bytes, content_type: str
    ) -> ApiRequest:
        """Build a request to this account, to be routed by its method and path."""
        return ApiRequest(
            account=self.account,
            method=method,
            path=path,
            query=query,
            body=body,
            content_type=content_type,
            selections=self._selections,
        )

    def answer(self, request: ApiRequest, authorization: str) -> ApiResponse:
        """Return the response of the endpoint the request is routed to, refusals included."""
        with self.account.lock:
            try:
                if authorization != self._bearer:
                    raise unauthorized()
                return self._cached(request) if request.method == "GET" else _route(request)
            except ApiError as error:
                return error.response()

    def _cached(self, request: ApiRequest) -> ApiResponse:
        """Return the response to a GET request: the cached one, or that of its route."""
        if request.path.startswith("/subscribed_events"):  # changes with the time as well
            return _route(request)
        version = self.account.version
        key = (request.path, *sorted(request.query.items()))
        return self._pages.get(version, key) or self._pages.put(version, key, _route(request))


def _route(request: ApiRequest) -> ApiResponse:
    """Return the response of the endpoint for the request's method and path; 404 without one."""
    endpoint = ENDPOINTS.get((request.method, request.pattern))
    if endpoint is None:
        raise not_found()
    return endpoint(request)
