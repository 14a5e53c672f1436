"""A synced warehouse, and the command line for its change requests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from pipelines.cli.app import app
from sources.kantata_sandbox import Sandbox
from tests.support.job import Job


@dataclass
class Office:
    """A synced warehouse, and the command line."""

    job: Job
    sandbox: Sandbox

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command; return its exit code and its output, each whitespace as one space."""
        tail = [] if "--destination" in words else ["--destination", self.job.name]
        result = CliRunner().invoke(app, [*words, *tail])
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        assert self.sandbox.token not in result.output
        return result.exit_code, " ".join(result.output.split())

    def json(self, *words: str) -> Any:  # noqa: ANN401 - any JSON
        """The JSON of a command that must succeed."""
        result = CliRunner().invoke(app, [*words, "--json", "--destination", self.job.name])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def free(self) -> list[str]:
        """Milestones that were never on an invoice, with a date."""
        account = self.sandbox.account
        return [
            i
            for i, record in account.milestones.items()
            if not record["invoice_id"]
            and not account.invoices_of.get(i)
            and record["date_to_invoice"]
            and record["billing_type"] == "fixed_date"
        ]
