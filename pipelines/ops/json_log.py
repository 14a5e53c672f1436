"""Log a run as JSON lines on stderr.

A run writes at most ``MAX_LINES`` lines of one kind; the last line counts those left out. Texts are
escaped as in plain text, since other programs print them, such as ``jq -r`` and Airflow.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.clock import Now, utc_now
from pipelines.runtime.exit_codes import ExitCode
from pipelines.runtime.observer import RunObserver
from pipelines.runtime.text import change_texts, visible
from sources.kantata import RequestLog

MAX_LINES = 200  # lines of one kind in one run
_PROGRESS_EVERY = 30.0  # seconds
_LEVELS: dict[int, str] = {ExitCode.DONE: "info", ExitCode.ACTION_REQUIRED: "warning"}


class JsonLog:
    """Writes JSON lines: ``at``, ``level``, ``event``, ``run_id`` and the event's own fields.

    Args:
        now: The clock of this machine, UTC.
    """

    def __init__(self, now: Now = utc_now) -> None:
        self._now = now
        self._run_id: str | None = None
        self._began = self._phase_began = self._progress_at = time.monotonic()
        self._phase: str | None = None
        self._written: Counter[str] = Counter()
        self._lock = threading.Lock()

    def observer(self) -> RunObserver:
        """Return an observer that logs the progress of a run as JSON lines."""
        return RunObserver(
            began=self._begin_run,
            phase=self._begin_phase,
            progress=self._log_progress,
            note=self._log_note,
            on_request=self._log_request,
        )

    def line(self, event: str, level: str = "info", **values: object) -> None:
        """Write one JSON line to the log."""
        kind = event if level == "info" else f"{event}, {level}"
        with self._lock:
            self._written[kind] += 1
            if self._written[kind] > MAX_LINES:
                return
            head = {"at": self._now().isoformat(timespec="milliseconds"), "level": level}
            head |= {"event": event, "run_id": self._run_id or ""}
            shown = change_texts(values, lambda text: visible(mask_secrets(text)))
            sys.stderr.write(json.dumps(head | shown, default=str) + "\n")
            sys.stderr.flush()

    def end(self, exit_code: int, **values: object) -> None:
        """Write the last JSON line of the log: exit code, duration, and the fields given."""
        self._end_phase()
        left_out = {kind: n - MAX_LINES for kind, n in self._written.items() if n > MAX_LINES}
        level = _LEVELS.get(exit_code, "error")
        seconds = _since(self._began)
        self.line("end", level, exit_code=exit_code, seconds=seconds, left_out=left_out, **values)

    def _begin_run(self, run_id: str) -> None:
        """Log the beginning of a run as a JSON line; this and later lines carry its id."""
        self._run_id = run_id
        self.line("begin")

    def _begin_phase(self, name: str) -> None:
        """Log the end of the phase before as a JSON line, and time the new one."""
        self._end_phase()
        self._phase, self._phase_began = name, time.monotonic()

    def _end_phase(self) -> None:
        """Log the end of the current phase as a JSON line, with its seconds."""
        if self._phase is not None:
            self.line("phase", phase=self._phase, seconds=_since(self._phase_began))
        self._phase = None

    def _log_progress(self, rows: int, read: int, pages: int) -> None:
        """Log the progress of reading as a JSON line, unless the last one is recent."""
        if time.monotonic() - self._progress_at >= _PROGRESS_EVERY:
            self._progress_at = time.monotonic()
            self.line("progress", milestones=rows, page=read, pages=pages)

    def _log_note(self, text: str) -> None:
        """Log a note as a JSON line."""
        self.line("note", message=text)

    def _log_request(self, request: RequestLog) -> None:
        """Log a request to Kantata as a JSON line; a failed one as a warning."""
        is_success = 200 <= request.status < 300
        values = vars(request) | {"seconds": round(request.seconds, 3)}
        self.line("request", "info" if is_success else "warning", **values)


def _since(began: float) -> float:
    """Return the seconds since a time, rounded for the JSON log."""
    return round(time.monotonic() - began, 3)
