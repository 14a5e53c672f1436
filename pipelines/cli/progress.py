"""Show the progress of a run on stderr: a bar on a terminal, else plain lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.observer import RunObserver

from .output import err, print_err, safe_markup

_LINE_EVERY = 5.0  # seconds between plain lines


@contextmanager
def console_observer() -> Iterator[RunObserver]:
    """Yield an observer that shows the progress of a run on stderr."""
    if not err.is_terminal:
        yield _line_observer()
        return
    from rich.progress import (  # here: most runs have no terminal
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("pages, {task.fields[rows]:,} milestones"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("starting", total=None, rows=0)

        def progress(rows: int, read: int, pages: int) -> None:
            bar.update(task, completed=read, total=pages, rows=rows)

        yield RunObserver(
            phase=lambda name: bar.update(task, description=_shown(name)),
            progress=progress,
            note=lambda line: err.print(safe_markup(mask_secrets(line))),
        )


def _line_observer() -> RunObserver:
    """Return an observer that prints the progress of a run as plain lines on stderr."""
    last = time.monotonic()

    def progress(rows: int, read: int, pages: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY:
            last = time.monotonic()
            print_err(f"reading: {rows} milestones, page {read} of {pages}")

    def note(line: str) -> None:
        print_err(mask_secrets(line))

    return RunObserver(phase=lambda name: print_err(_shown(name)), progress=progress, note=note)


def _shown(phase: str) -> str:
    """Return the name of a step of a run for people; the JSON log keeps an older one."""
    return "validating" if phase == "proving" else phase
