"""The endpoints by method and path, and the way of a request to its answer."""

from collections.abc import Callable

from . import reads, writes
from .account import Account
from .answers import Answer, Refused, not_found, unauthorized
from .call import Call, Kept

Endpoint = Callable[[Call], Answer]

ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/billing_milestones"): reads.list_milestones,
    ("POST", "/billing_milestones"): writes.create_milestones,
    ("GET", "/billing_milestones/{id}"): reads.show_milestone,
    ("PUT", "/billing_milestones/{id}"): writes.update_milestone,
    ("DELETE", "/billing_milestones/{id}"): writes.delete_milestone,
    ("GET", "/workspaces"): reads.list_workspaces,
    ("GET", "/workspaces/{id}"): reads.show_workspace,
    ("GET", "/stories"): reads.list_stories,
    ("GET", "/stories/{id}"): reads.show_story,
    ("GET", "/invoices"): reads.list_invoices,
    ("GET", "/invoices/{id}"): reads.show_invoice,
    ("PUT", "/invoices/{id}/cancel"): writes.cancel_invoice,
    ("DELETE", "/invoices/{id}"): writes.delete_invoice,
    ("GET", "/external_references"): reads.list_references,
    ("POST", "/external_references/create_or_update"): writes.save_reference,
    ("DELETE", "/external_references/{id}"): writes.delete_reference,
    ("GET", "/currencies"): reads.list_currencies,
    ("GET", "/users/me"): reads.show_me,
    ("GET", "/subscribed_events"): reads.list_events,
    ("GET", "/subscribed_events/event_types"): reads.list_event_types,
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
