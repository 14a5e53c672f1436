"""Secrets are masked in text that others wrote, and words of ours are not."""

from __future__ import annotations

import pytest

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.text import change_texts

TOKEN = {"KANTATA_ACCESS_TOKEN": "a/token+1234"}
POSTGRES = "DESTINATION__POSTGRES__CREDENTIALS"
HOOK = {"ALERTS__WEBHOOK_URL": "https://hooks.example.com/services/T0/B0/s3cretpart"}


def _url(password: str, user: str = "loader") -> dict[str, str]:
    return {POSTGRES: f"postgresql://{user}:{password}@127.0.0.1:5432/d"}


MASKED = {
    "a token": (TOKEN, "bad a/token+1234!", "bad [secret]!"),
    "a token in a URL": (TOKEN, "?t=a%2Ftoken%2B1234", "?t=[secret]"),
    "small letters": (TOKEN, "?t=a%2ftoken%2b1234", "?t=[secret]"),
    "the token for writing": ({"KANTATA_WRITE_TOKEN": "w" * 20}, "w" * 20, "[secret]"),
    "a short token": ({"KANTATA_ACCESS_TOKEN": "read"}, "cannot read it", "cannot read it"),
    "a password as a value": (_url("p%2Fssw0rd"), 'value: "p/ssw0rd"', 'value: "[secret]"'),
    "a password in a URL": (_url("p%2Fssw0rd"), "x://a:p%2fssw0rd@h", "x://a:[secret]@h"),
    "a short password": (_url("tiny"), "a tiny x://a:tiny@h", "a tiny x://a:[secret]@h"),
    "a word": (
        _url("postgres"),
        "use duckdb or postgres, WAREHOUSE__DESTINATION=postgres; invalid value \"postgres\"",
        "use duckdb or postgres, WAREHOUSE__DESTINATION=postgres; invalid value \"[secret]\"",
    ),
    "the name of the user": (
        _url("postgres", "postgres"), 'failed for user "postgres"', 'failed for user "postgres"'
    ),
    "in parts": (
        {f"{POSTGRES}__HOST": "h", f"{POSTGRES}__PASSWORD": "p4ssw0rd"}, "p4ssw0rd", "[secret]"
    ),
    "an invalid URL": (_url("p@ssw0rd/1"), "has p@ssw0rd/1", "has [secret]"),
    "the ledger": (
        {"LEDGER__URL": "postgresql://l:p4ssw0rd@h/d"}, "FATAL: p4ssw0rd", "FATAL: [secret]"
    ),
    "of libpq": ({"PGPASSWORD": "p4ssw0rd"}, "FATAL: p4ssw0rd", "FATAL: [secret]"),
    "of a proxy": ({"HTTPS_PROXY": "http://u:p4ssw0rd@h:1"}, "p4ssw0rd", "[secret]"),
    "a webhook": (HOOK, "POST /services/T0/B0/s3cretpart", "POST [secret]"),
    "a part of a webhook": (HOOK, "services: s3cretpart", "services: [secret]"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "text", "shown"), MASKED.values(), ids=MASKED)
def test_secrets_are_masked(
    settings: dict[str, str], text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a secret is configured and written, it is replaced; ordinary words stay."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert mask_secrets(text) == shown


def test_keys_are_never_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is a key of ours changes only values."""
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "exit_code")
    shown = change_texts({"exit_code": ["exit_code", 2]}, mask_secrets)
    assert shown == {"exit_code": ["[secret]", 2]}
