"""The forms for new milestones that were sent, so that one that is sent twice proposes once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from starlette.datastructures import FormData

_MOST = 1_000  # forms


class SentForms:
    """Remembers the last forms that were sent and accepted, each with a one-time value."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sent: OrderedDict[str, None] = OrderedDict()

    @contextmanager
    def sending(self, form: FormData, name: str) -> Iterator[bool]:
        """Yield whether a form was sent before with the same values; remember it after the block.

        One block runs at a time: a second click waits for the result of the first. A form that is
        refused is not remembered, nor one without a one-time value, such as a program's.

        Args:
            form: The form.
            name: The name of the field with its one-time value.
        """
        key = hashlib.sha256(repr(form.multi_items()).encode()).hexdigest()
        with self._lock:
            yield key in self._sent
            if form.get(name):
                self._sent[key] = None
            if len(self._sent) > _MOST:
                self._sent.popitem(last=False)
