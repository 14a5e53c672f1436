"""What each answer and each request of the console must keep to: headers, and a size."""

from __future__ import annotations

from anyio.to_thread import current_default_thread_limiter
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.config.console_settings import Network

from .addresses import is_loopback_host, is_trusted, peer_address

_MOST_AT_ONCE = 8  # requests: each needs memory
MOST_BYTES = 20_000_000  # of a request's body: a workbook of some hundred thousand rows
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_OVER_TLS = {"strict-transport-security": "max-age=31536000"}
_NOT_KEPT = {"cache-control": "no-store"}
_KEPT = {"cache-control": "public, max-age=3600"}
_ONLY_PROXY = (
    b"This console answers its proxy only. Open the address that your administrator gave you.\n"
)


class Guard:
    """Adds the headers of security to each answer, and limits each request.

    Args:
        app: The application.
        has_tls: Whether the console encrypts its connections itself.
        trusted: The networks of its proxies.
    """

    def __init__(self, app: ASGIApp, *, has_tls: bool, trusted: tuple[Network, ...]) -> None:
        self._app = app
        self._has_tls = has_tls
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, guarded."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        current_default_thread_limiter().total_tokens = _MOST_AT_ONCE
        extra = dict(_KEPT if scope["path"].startswith("/static/") else _NOT_KEPT)
        if self._has_tls:
            extra |= _OVER_TLS

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in (_HEADERS | extra).items()
                        if name.encode() not in own
                    ),
                ]
            await send(message)

        if self._is_outsider(scope):
            await _refuse(guarded_send)
            return
        await self._app(scope, _limited(receive), guarded_send)

    def _is_outsider(self, scope: Scope) -> bool:
        """Return whether a request reaches the console in clear from elsewhere, past its proxy."""
        address = peer_address(scope)
        is_near = is_loopback_host(address) or is_trusted(address, self._trusted)
        return not self._has_tls and not is_near


async def _refuse(send: Send) -> None:
    """Answer a request that comes past the guard's proxy."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    start: Message = {"type": "http.response.start", "status": 403, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": _ONLY_PROXY})


def _limited(receive: Receive) -> Receive:
    """Return a function that receives a request's body up to the guard's limit."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MOST_BYTES:
            raise HTTPException(
                413, f"The file is too large: the console takes up to {MOST_BYTES // 10**6} MB."
            )
        return message

    return limited
