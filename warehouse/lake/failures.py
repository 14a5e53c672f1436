"""What an error of delta-rs means: whether it may pass, and one line that says what to do.

delta-rs says in words only what happened. The line is the same each time for one cause, so that an
alert is sent once.
"""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What differs each time, or has digits that are no status.
_VARIES = re.compile(r" in [0-9.]+ ?(ns|µs|ms|s)\b|https?://\S+|<(RequestId|Resource)>[^<]*")
# Where machines in a cloud ask for their keys: asked only if none are configured.
_METADATA = re.compile(r"169\.254\.169\.254|metadata\.google")
_NO_KEYS = (
    "no keys were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the keys of your "
    "store in [lake.storage_options]"
)
_MARKUP = re.compile(r"<(?:Message|Code)>([^<]*)</")
# What the next run may find otherwise, in the words of delta-rs, object stores and systems.
_PASSING = (
    re.compile(r"\b(408|429|500|502|503|504)\b"),
    re.compile(
        r"timed? ?out|connection (refused|reset|closed)|error sending request|dns error|"
        r"slow ?down|broken pipe|network|body from connection|IncompleteBody|incomplete message",
        re.IGNORECASE,
    ),
)
_REMEDIES = (
    (
        re.compile(r"No space left|Disk quota|StorageFull", re.IGNORECASE),
        "the disk is full: free space there",
    ),
    (
        re.compile(
            r"InvalidAccessKey|SignatureDoesNotMatch|AccessDenied|\b40[13]\b|credential|token",
            re.IGNORECASE,
        ),
        "the keys are wrong, or may not write there: correct AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or [lake.storage_options]",
    ),
    (
        re.compile(r"NoSuchBucket|bucket does not exist", re.IGNORECASE),
        "there is no such bucket: create it, or correct LAKE__URL",
    ),
    (
        re.compile(r"Permission denied|Read-only file system|Not a directory|os error 13"),
        "this user may not write there: correct the permissions, or LAKE__URL",
    ),
    (
        re.compile(r"Could not create local directory|\[Errno 2\]"),
        "the folder cannot be created: correct LAKE__URL",
    ),
)
# Connections that no later run can make.
_ENDPOINT = re.compile(r"scheme is not allowed|corrupt message|certificate", re.IGNORECASE)
_ENDPOINT_REMEDY = (
    "correct endpoint_url in [lake.storage_options]; for one that starts with http://, set "
    'allow_http = "true" there'
)
_NO_CAUSE = re.compile(r"\d+(, retry_timeout|s - )|Kernel error")
_LONGEST = 240


class LakeFailure(Exception):
    """The copy failed; what was published before can be read as before.

    Args:
        message: One line: what happened, and what to do.
        is_passing: Whether a later run may succeed without anybody's help.
    """

    def __init__(self, message: str, *, is_passing: bool = False) -> None:
        super().__init__(message)
        self.is_passing = is_passing


def lake_failure(error: BaseException) -> LakeFailure:
    """Return what an error of delta-rs means."""
    whole = _COLOURS.sub("", str(error))
    if _METADATA.search(whole):
        return LakeFailure(_NO_KEYS)
    text = _VARIES.sub("", whole)
    if _ENDPOINT.search(text):
        return LakeFailure(f"{_ENDPOINT_REMEDY}. {_shown(text)}")
    for pattern, remedy in _REMEDIES:
        if pattern.search(text) and not _is_passing(text):
            return LakeFailure(f"{remedy}. {_shown(text)}")
    return LakeFailure(_shown(text), is_passing=_is_passing(text))


def _is_passing(text: str) -> bool:
    """Return whether an error's text is about what the next run may find otherwise."""
    return any(pattern.search(text) for pattern in _PASSING)


def _shown(text: str) -> str:
    """Return the cause in an error's text, without what differs each time."""
    if said := _MARKUP.findall(text):
        return f"The store answered: {': '.join(dict.fromkeys(said))}"[:_LONGEST]
    parts = [" ".join(part.split()) for part in re.split(r"↳|\n", text)]
    kept = [part for part in parts if part and not _NO_CAUSE.match(part)]
    last = [part for part in (kept or parts) if part not in ("HTTP error", "builder error")]
    return ": ".join(dict.fromkeys(last[-2:]))[:_LONGEST] or "no reason was given"
