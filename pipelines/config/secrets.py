"""Mask the configured secrets in text that others wrote: drivers, proxies, the API.

Kantata's data and our own keys and words are never masked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import getproxies

import dlt

from sources.kantata.api.masking import MASK, SHORTEST, written_forms
from warehouse.postgres_url import postgres_parameters

from .lake_settings import secret_storage_options
from .providers import dlt_providers
from .settings import resolve_kantata, resolve_write_token, setting

_LONGEST_WORD = 16  # letters; a longer secret is not taken for an ordinary word
_POSTGRES = "destination.postgres.credentials"
_IN_URL = re.compile(r"://[^/?#]*?:(.*)@", re.DOTALL)


class _Password(NamedTuple):
    """A secret that a person may have chosen.

    Args:
        text: The secret.
        names: The names it belongs to, such as the user's; they are not secret.
    """

    text: str
    names: frozenset[str] = frozenset()


class _Replacement(NamedTuple):
    """What to replace in text, and by what."""

    pattern: re.Pattern[str]
    by: str


def mask_secrets(text: str) -> str:
    """Return the text with every configured secret replaced, however it is encoded.

    A password can be an ordinary word, or shorter than eight characters. Then it is replaced only
    where it is written as a password, or alone in quotation marks.
    """
    providers: list[Hashable] = []
    with suppress(Exception):  # an invalid file: then nothing was read from it
        providers = [*dlt_providers()]
    for pattern, by in _replacements(frozenset(os.environ.items()), *providers):
        text = pattern.sub(by, text)
    return text


@lru_cache(maxsize=4)  # by all that settings come from
def _replacements(*_: Hashable) -> list[_Replacement]:
    """Return what to replace for every configured secret, the longest secret first."""
    tokens = [token for token in _found(_TOKENS) if len(token) >= SHORTEST]
    found = [(len(token), _everywhere(token)) for token in tokens]
    for password in _found(_PASSWORDS):
        if password.text:
            found += [(len(password.text), each) for each in _of_password(password)]
    return [replacement for _, replacement in sorted(found, key=lambda pair: -pair[0])]


def _everywhere(secret: str) -> _Replacement:
    """Return the replacement of a secret wherever it is written."""
    return _Replacement(re.compile(_any_form(secret)), MASK)


def _any_form(secret: str) -> str:
    """Return a pattern for all forms in which a secret may be written."""
    return f"(?:{'|'.join(map(re.escape, written_forms(secret)))})"


def _of_password(password: _Password) -> Iterator[_Replacement]:
    """Yield the replacements of a secret password."""
    form = _any_form(password.text)
    yield _Replacement(re.compile(f":{form}@"), f":{MASK}@")
    yield _Replacement(re.compile(f"(password=)(?:'{form}'|{form})"), rf"\1{MASK}")
    if len(password.text) < SHORTEST or password.text in password.names:
        return
    if password.text.isalpha() and len(password.text) < _LONGEST_WORD:
        yield _Replacement(re.compile(f"(?<=[\"'`]){form}(?=[\"'`])"), MASK)
    else:
        yield _everywhere(password.text)


def _found(resolvers: Iterable[Callable[[], Iterable[Any]]]) -> set[Any]:
    """Return the secrets that can be resolved; a setting that cannot be read is left out."""
    found: set[Any] = set()
    for resolve in resolvers:
        with suppress(Exception):
            found.update(resolve())
    return found


def _webhook() -> Iterable[str]:
    """Return the secret URL of the webhook, and its path: libraries name it without the host."""
    url = setting("alerts.webhook_url")
    return url, urlsplit(url).path


def _webhook_parts() -> Iterable[_Password]:
    """Return the parts of the webhook's URL that may be secret alone."""
    parts = urlsplit(setting("alerts.webhook_url"))
    values = [value for _, value in parse_qsl(parts.query)]
    return [_Password(part) for part in (*parts.path.split("/"), *values, parts.password or "")]


def _of_database(url: str) -> Iterable[_Password]:
    """Return the secret passwords in the name of a Postgres database, even if libpq refuses it."""
    found: Mapping[str, str] = {}
    with suppress(Exception):
        found = postgres_parameters(url, "")
    names = frozenset(found.get(name, "") for name in ("user", "host", "dbname"))
    written = [each[1] for each in [_IN_URL.search(url)] if each]
    passwords = [found.get("password", ""), found.get("sslpassword", ""), *written]
    return [_Password(text, names) for each in passwords for text in (each, unquote(each))]


def _of_warehouse() -> Iterable[_Password]:
    """Return the secret passwords of the Postgres warehouse, named by a URL or in parts."""
    credentials: object = dlt.config.get(_POSTGRES)
    if isinstance(credentials, str):
        return _of_database(credentials)
    return [_Password(str(dlt.config.get(f"{_POSTGRES}.password") or ""))]


def _of_environment() -> Iterable[_Password]:
    """Return the secrets that libraries take from the environment."""
    proxies = [urlsplit(url).password or "" for url in getproxies().values()]
    named = [os.environ.get(name, "") for name in ("PGPASSWORD", *_STORAGE_SECRETS)]
    return [_Password(text) for text in (*named, *proxies)]


def _of_storage() -> Iterable[_Password]:
    """Return the secrets among the storage options of the lake."""
    return [_Password(text) for text in secret_storage_options()]


# What delta-rs takes from the environment.
_STORAGE_SECRETS = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_SECRET", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_SECRET",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
)  # fmt: skip


_TOKENS: tuple[Callable[[], Iterable[str]], ...] = (
    lambda: [resolve_kantata().kantata_access_token],
    lambda: [resolve_write_token()],
    _webhook,
)
_PASSWORDS: tuple[Callable[[], Iterable[_Password]], ...] = (
    _webhook_parts,
    _of_warehouse,
    lambda: _of_database(setting("ledger.url")),
    lambda: _of_database(setting("warehouse.reader_credentials")),
    _of_environment,
    _of_storage,
)
