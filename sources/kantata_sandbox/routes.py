"""The endpoints by method and path, and the way of a request to its answer."""

from collections.abc import Callable

from . import get_endpoints, write_endpoints
from .account import Account
from .request import Call, Kept
from .responses import Answer, Refused, not_found, unauthorized

Endpoint = Callable[[Call], Answer]

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
    ("GET", "/users/me"): get_endpoints.show_me,
    ("GET", "/subscribed_events"): get_endpoints.list_events,
    ("GET", "/subscribed_events/event_types"): get_endpoints.list_event_types,
}

_KEPT_BYTES = 256 * 1024 * 1024


class Api:
    """Answers requests from one account, and keeps finished pages while nothing changes."""

    def __init__(self, account: Account, token: str) -> None:
        self.account = account
        self._bearer = f"Bearer {token}"
        self._pages: Kept[Answer] = Kept(_KEPT_BYTES, lambda answer: len(answer.body))
        self._selections: Kept[list[str]] = Kept(32)

    def call(
        self, method: str, path: str, query: dict[str, str], body: bytes, content_type: str
    ) -> Call:
        """Build a request to this account."""
        return Call(self.account, method, path, query, body, content_type, self._selections)

    def answer(self, call: Call, authorization: str) -> Answer:
        """Give the answer, refusals included."""
        with self.account.lock:
            try:
                if authorization != self._bearer:
                    raise unauthorized()
                return self._kept(call) if call.method == "GET" else self._fresh(call)
            except Refused as refused:
                return refused.answer()

    def _kept(self, call: Call) -> Answer:
        if call.path.startswith("/subscribed_events"):  # changes with the time as well
            return self._fresh(call)
        version = self.account.version
        key = (call.path, *sorted(call.query.items()))
        return self._pages.get(version, key) or self._pages.put(version, key, self._fresh(call))

    @staticmethod
    def _fresh(call: Call) -> Answer:
        endpoint = ENDPOINTS.get((call.method, call.pattern))
        if endpoint is None:
            raise not_found()
        return endpoint(call)
