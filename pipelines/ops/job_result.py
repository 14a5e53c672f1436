"""The result of one run of the scheduled job: its exit code, and what requires action."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.exit_codes import ExitCode
from pipelines.sync.pipeline import SyncResult
from pipelines.writeback.result import PushResult
from sources.kantata.errors import KantataError
from warehouse.errors import WarehouseError

from .alert_policy import JobOutcome


@dataclass
class JobResult:
    """The result of one run of the job.

    Args:
        synced: The result of the sync; None if the job only pushed.
        pushed: The result of the push; None if push is off, or the job only synced.
        report_problem: Why the configured report was not written; empty if it was.
    """

    synced: SyncResult | None = None
    pushed: PushResult | None = None
    report_problem: str = ""

    @property
    def stopped(self) -> KantataError | WarehouseError | None:
        """Return the error that stopped the job's push early; None if none did."""
        return self.pushed.stopped if self.pushed else None

    @property
    def exit_code(self) -> int:
        """Return the job's exit code: that of the error that stopped its push, else 3 or 0."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return ExitCode.ACTION_REQUIRED if self.needs else ExitCode.DONE

    @property
    def needs(self) -> list[str]:
        """Return what requires action after the job, a line each."""
        return [*self.lasting, *self.happened]

    @property
    def lasting(self) -> list[str]:
        """Return what requires action and the job's next run reports again, until it is settled."""
        synced = self.synced.needs if self.synced else []
        pushed = self.pushed.lasting if self.pushed else []
        report = [self.report_problem] if self.report_problem else []
        return list(dict.fromkeys(map(mask_secrets, [*synced, *pushed, *report])))

    @property
    def happened(self) -> list[str]:
        """Return what requires action and no later run of the job reports."""
        lasting = self.lasting  # the sync after a push repeats warnings of the first one
        lines = map(mask_secrets, self.pushed.happened if self.pushed else [])
        return [line for line in dict.fromkeys(lines) if line not in lasting]

    @property
    def outcome(self) -> JobOutcome:
        """Return the outcome of the job's run, for alerts."""
        happened = tuple(self.happened)
        if self.stopped is not None:
            return replace(failure_outcome(self.stopped), happened=happened)
        return JobOutcome(self.exit_code, matters=tuple(self.lasting), happened=happened)


def failure_outcome(error: BaseException) -> JobOutcome:
    """Return the outcome of a job that an error stopped, for alerts."""
    return JobOutcome(
        getattr(error, "exit_code", ExitCode.FAILED),
        matters=(mask_secrets(str(error)),),  # saved in the alert state
        kind=type(error).__name__,
    )
