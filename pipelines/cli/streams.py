"""The standard streams of a command: what cannot be written changes neither its work nor its end.

A reader that is gone, a full disk, a stream that was closed before the start, and a character that
the encoding lacks: the output is incomplete, and nothing else happens.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# ASCII for characters of our messages that a code page such as cp1252 lacks.
_ASCII = {"→": "->", "✓": "ok", "✗": "x", "…": "...", "•": "*"}
_BLOCKS = {chr(code): "#" for code in range(0x2588, 0x2590)}  # of a bar chart
_HANDLER = "milestones.ascii"
# Python's own choices. One of the user, such as PYTHONIOENCODING=ascii:ignore, stays.
_DEFAULT_HANDLERS = ("strict", "backslashreplace", "surrogateescape")


def open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed.

    Otherwise the first file that is opened gets the stream's number, and output would be written
    into it: the warehouse, for example.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def use_lossy_streams() -> None:
    """Replace stdout and stderr by streams that leave out what cannot be written."""
    codecs.register_error(_HANDLER, _ascii_form)
    sys.stdout, sys.stderr = _lossy(sys.stdout), _lossy(sys.stderr)


def _lossy(stream: object) -> io.TextIOWrapper:
    """Return the replacement of a standard stream, which is None if it was closed at the start."""
    if not isinstance(stream, io.TextIOWrapper):
        stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as it is used
    errors = _HANDLER if stream.errors in _DEFAULT_HANDLERS else stream.errors
    return io.TextIOWrapper(_Lossy(stream), stream.encoding, errors, write_through=True)


class _Lossy(io.BufferedIOBase):
    """Writes to a stream at once, and leaves out what cannot be written.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream  # kept: it closes what it is made of when nothing refers to it
        buffer: Any = stream.buffer  # with PYTHONUNBUFFERED=1 it is what another buffer has as raw
        self._raw: io.RawIOBase = getattr(buffer, "raw", buffer)
        self.name = stream.name

    def write(self, data: ReadableBuffer) -> int:
        """Write all of the data to the stream, or as much as can be written."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        with suppress(OSError):
            while rest:
                written = self._raw.write(rest)
                if written is None:  # another program has made the stream non-blocking
                    select.select((), (self._raw,), ())
                rest = rest[written or 0 :]
        return size

    def writable(self) -> bool:
        """Return that the stream takes output."""
        return True

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._raw.isatty()

    def fileno(self) -> int:
        """Return the stream's number."""
        return self._raw.fileno()


def _ascii_form(error: UnicodeError) -> tuple[str, int]:
    """Return the ASCII form of characters that a stream cannot encode, and where they end."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    forms = (
        (_ASCII | _BLOCKS).get(c) or c.encode("ascii", "backslashreplace").decode()
        for c in characters
    )
    return "".join(forms), error.end
