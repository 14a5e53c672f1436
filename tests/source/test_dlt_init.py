"""The folder of the source is one that ``dlt init`` copies, and what it makes runs by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sources.kantata_sandbox import Sandbox

ROOT = Path(__file__).parents[2]
# The script, its functions, and the packages of this repository that it imports.
SCRIPT = """
import runpy, sys
script = runpy.run_path("kantata_pipeline.py", run_name="__main__")
for name in ("load_changes", "load_invoices", "load_sample"):
    script[name]()
print({name.partition(".")[0] for name in sys.modules} & {"sources", "warehouse", "pipelines"})
"""


def output_of(*command: str, **environment: str) -> str:
    """Run a command in the empty folder; return what it prints."""
    result = subprocess.run(
        command,
        env=os.environ
        | {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(Path.cwd() / "dlt")}
        | {"PYTHONUTF8": "1"}
        | environment,
        capture_output=True, text=True, encoding="utf-8", check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "[WARNING]" not in result.stderr
    return result.stdout


@pytest.mark.long
def test_dlt_init_makes_a_pipeline_that_runs() -> None:
    """The pipeline in a new project loads everything, then what changed: nothing."""
    dlt = str(Path(sys.executable).parent / "dlt")
    output_of(dlt, "--non-interactive", "init", "kantata", "duckdb", "--location", str(ROOT))
    made = {path.name for path in Path().iterdir()}
    assert made >= {"kantata", "kantata_pipeline.py", "requirements.txt", ".dlt"}
    requirements = Path("requirements.txt").read_text(encoding="utf-8").split()
    assert requirements[0] == "dlt[duckdb]<2,>=1.31"
    with Sandbox(milestones=120) as sandbox:
        settings = {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": sandbox.token}
        printed = output_of(sys.executable, "-c", SCRIPT, **settings)
    assert "\nscan: 120 added, 0 changed, 0 deleted\n" in printed
    assert "\nfeed: 0 added, 0 changed, 0 deleted\n" in printed
    assert printed.endswith("\nset()\n")
    with duckdb.connect("kantata_account.duckdb", read_only=True) as connection:
        counts = connection.execute("select count(*) from kantata.billing_milestones").fetchall()
    assert counts == [(120,)]
    shown = output_of(dlt, "pipeline", "kantata_account", "info")
    assert "\nbilling_milestone_versions with 1 table(s)" in shown
