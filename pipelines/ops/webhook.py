"""Post a message to the webhook of ``[alerts]``, which takes messages as Slack does."""

from __future__ import annotations

import threading

import requests

from pipelines.config.secrets import mask_secrets

TIMEOUT = 15.0  # seconds for the whole call: the timeout of requests is for each read
_MAX_CHARACTERS = 3_000  # about the most that Slack shows


def post(url: str, message: str, timeout: float = TIMEOUT) -> str:
    """Post a message to a webhook, at most once.

    Args:
        url: The address.
        message: The message; secrets in it are masked.
        timeout: Seconds for the whole call.

    Returns:
        Why it failed, without the URL, or nothing.
    """
    failures: list[str] = []
    # In a thread: no timeout of requests bounds name resolution or a header sent byte by byte.
    call = threading.Thread(target=lambda: failures.append(_request(url, message)), daemon=True)
    call.start()
    call.join(timeout)
    return failures[0] if failures else f"no answer from the webhook within {timeout:g} seconds"


def _request(url: str, message: str) -> str:
    """Post a message to the webhook once; return why it failed, or nothing."""
    text = _escape_for_slack(mask_secrets(message)[:_MAX_CHARACTERS])
    try:
        with requests.post(
            url, json={"text": text}, timeout=TIMEOUT, allow_redirects=False, stream=True
        ) as response:  # streamed: only the status matters
            is_taken = response.ok and not response.is_redirect
            return "" if is_taken else f"the webhook answered {response.status_code}"
    except Exception as error:  # a message must not fail a run; the text may have the URL
        return f"no answer from the webhook ({type(error).__name__})"


def _escape_for_slack(text: str) -> str:
    """Return a message's text escaped, so that Slack finds no link and no mention in it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
