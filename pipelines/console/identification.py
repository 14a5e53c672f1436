"""Who sent a request: by the session of a login, or by the header of a trusted proxy."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

from pipelines.config.console_settings import ConsoleSettings
from warehouse.ledger.change import CONSOLE_LOGIN, PROXY_HEADER
from warehouse.ledger.trust import normalized_name

from .addresses import client_address, is_trusted, peer_address
from .roles import Identity
from .users import SESSION_LIFE, User, Users

_LOGIN_SECONDS = 3600  # for which a login page can be used


class NotAUser(Exception):
    """The proxy names a person who is no user of the console.

    Args:
        name: The name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Identification:
    """Finds out who sent a request.

    Args:
        settings: The proxies that are believed.
        users: The users and sessions.
        has_tls: Whether the console encrypts its connections itself.
    """

    def __init__(self, settings: ConsoleSettings, users: Users, *, has_tls: bool) -> None:
        self._settings = settings
        self._users = users
        self._has_tls = has_tls

    def identity(self, request: Request) -> Identity | None:
        """Return who sent a request; None if the console does not know it.

        Raises:
            NotAUser: If a trusted proxy names somebody who is no user.
        """
        if (name := self._named_by_proxy(request)) is not None:
            user = self._users.find(name)
            if user is None:
                raise NotAUser(name)
            return self._identity(user, PROXY_HEADER, f"proxy {normalized_name(name)}")
        token = request.cookies.get(self.cookie(request), "")
        found = self._users.session_user(token) if token else None
        return None if found is None else self._identity(found, CONSOLE_LOGIN, f"session {token}")

    def _identity(self, user: User, how: str, about: str) -> Identity:
        """Return the identity of a user, with the token that proves a form to be ours."""
        return Identity(name=user.name, role=user.role, how=how, csrf_token=self._signed(about))

    def _named_by_proxy(self, request: Request) -> str | None:
        """Return the person that a trusted proxy names; None if it is no such proxy, or names none.

        A header that is there twice names nobody: one of the two may be the client's.
        """
        header = self._settings.identity_header
        if not header or not self._is_proxied(request):
            return None
        values = request.headers.getlist(header)
        name = values[0].strip() if len(values) == 1 else ""
        return name or None

    def _is_proxied(self, request: Request) -> bool:
        """Return whether a request comes from a trusted proxy, so that its headers are believed."""
        return is_trusted(peer_address(request.scope), self._settings.trusted_proxies)

    def is_secure(self, request: Request) -> bool:
        """Return whether a request's browser uses https, so that its cookies may need it."""
        by_proxy = self._is_proxied(request) and "https" in request.headers.getlist(
            "x-forwarded-proto"
        )
        return self._has_tls or by_proxy

    def address(self, request: Request) -> str:
        """Return the address from which a request comes."""
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        peer = peer_address(request.scope)
        return client_address(peer, forwarded, self._settings.trusted_proxies)

    def cookie(self, request: Request) -> str:
        """Return the name of the cookie of sessions; its prefix keeps other hosts from setting it.

        A cookie of that name which came without https identifies nobody.
        """
        return "__Host-milestones" if self.is_secure(request) else "milestones"

    def log_in(self, request: Request, response: Response, user: User) -> None:
        """Begin a new session, whatever cookie the request has, and end the one it had."""
        if old := request.cookies.get(self.cookie(request)):
            self._users.end_session(old)
        token = self._users.start_session(user)
        self._set_cookie(
            request, response, self.cookie(request), token, int(SESSION_LIFE.total_seconds())
        )
        self._set_cookie(request, response, self._login_cookie(request), "", 0)

    def log_out(self, request: Request, response: Response) -> None:
        """End the session of a request."""
        if token := request.cookies.get(self.cookie(request)):
            self._users.end_session(token)
        self._set_cookie(request, response, self.cookie(request), "", 0)

    def login_token(self, request: Request) -> tuple[str, str]:
        """Return the value of the login page's cookie, and the token of its form."""
        value = request.cookies.get(self._login_cookie(request), "") or secrets.token_urlsafe(24)
        return value, self._signed(f"login {value}")

    def set_login_cookie(self, request: Request, response: Response, value: str) -> None:
        """Set the cookie that the identification of a login page's form needs."""
        name = self._login_cookie(request)
        self._set_cookie(request, response, name, value, _LOGIN_SECONDS)

    def is_own_login(self, request: Request, token: str) -> bool:
        """Return whether the token of a login page's form is the one of this browser."""
        value = request.cookies.get(self._login_cookie(request), "")
        return bool(value) and is_equal(token, self._signed(f"login {value}"))

    def _login_cookie(self, request: Request) -> str:
        """Return the name of the login page's cookie."""
        return f"{self.cookie(request)}-login"

    def _set_cookie(
        self, request: Request, response: Response, name: str, value: str, seconds: int
    ) -> None:
        """Set a cookie that scripts cannot read, and that other sites' forms do not send."""
        response.set_cookie(
            name, value, max_age=seconds, path="/", httponly=True, samesite="lax",
            secure=self.is_secure(request),
        )  # fmt: skip

    def _signed(self, about: str) -> str:
        """Return the token that only this console can have made, to identify a form."""
        return hmac.new(self._users.secret, about.encode(), hashlib.sha256).hexdigest()


def is_equal(one: str, other: str) -> bool:
    """Return whether two tokens are equal, in the same time for each."""
    return hmac.compare_digest(one.encode(), other.encode())
