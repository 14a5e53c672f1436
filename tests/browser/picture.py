"""Make the picture of the report in the README: python -m tests.browser.picture FILE.png."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support.processes import COMMAND, ROOT

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDTH, HEIGHT = 960, 900


def main(picture: Path) -> None:
    """Run the demo in an empty folder, and take a picture of the top of its report."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        subprocess.run([*COMMAND, "demo"], cwd=folder, env=environment, check=True)
        chromium = started.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto((Path(folder) / "milestones-demo.html").as_uri())
        page.screenshot(path=str(picture))
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
