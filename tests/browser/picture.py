"""Make the pictures in the README: python -m tests.browser.picture FOLDER."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.chromium import chromium
from tests.support.processes import COMMAND, ROOT

WIDTH, HEIGHT = 960, 900
CONSOLE_HEIGHT = 620
_CONSOLE = re.compile(r"The console is at (\S+)")
_PASSWORD = re.compile(r"The password of all three is (\S+)")


def main(folder: Path) -> None:
    """Run the demo in an empty folder, and take pictures of its report and its console."""
    with demo() as (made, url, password), chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto((made / "milestones-demo.html").as_uri())
        page.screenshot(path=str(folder / "report.png"))
        _console(page, url, password, folder)


def _console(page: Any, url: str, password: str, folder: Path) -> None:  # noqa: ANN401 - it has no types
    page.set_viewport_size({"width": WIDTH, "height": CONSOLE_HEIGHT})
    page.goto(url)
    page.fill("#username", "ben")
    page.fill("#password", password)
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Overview')")
    page.screenshot(path=str(folder / "console-overview.png"))
    page.goto(f"{url}/changes")
    page.check("input.all")
    page.screenshot(path=str(folder / "console-changes.png"))


@contextmanager
def demo() -> Iterator[tuple[Path, str, str]]:
    """Run the demo with its console: its folder, the console's address and its password."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [*COMMAND, "demo", "--console"],
            cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
        ) as process,
    ):  # fmt: skip
        try:
            output = ""
            assert process.stdout is not None
            for line in process.stdout:
                output += line
                if (found := _CONSOLE.search(line)) and (password := _PASSWORD.search(output)):
                    yield Path(folder), found[1], password[1]
                    break
        finally:
            process.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
