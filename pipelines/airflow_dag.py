"""The job under Airflow 3: sync, then push, every hour. Put this file, or a link to it, into dags/.

It needs nothing but Airflow: the job runs by its own command line, in the environment where
`milestones` is installed, since dlt inside Airflow asks it for every setting and takes ten times as
long. What it is told comes from Airflow alone:

- connection ``kantata``: its password is the token; its host the API's address, if it is another;
- connection ``kantata_write``, if there is one: its password is the token for writing;
- connection ``milestones_postgres``, if there is one: the warehouse and the ledger; else DuckDB;
- variable ``milestones_command``: the path of `milestones`;
- variable ``milestones_folder``: where it works: `.milestones/` and, for DuckDB, the warehouse;
- variable ``milestones_settings``, JSON: further settings by their environment's names, as
  ``{"PUSH__ENABLED": "true", "WAREHOUSE__REPORTING_TIMEZONE": "Europe/Berlin"}``.

Exit codes: 75, and being stopped, is tried again; 3 succeeds, and a warning names what needs a
person; everything else fails at once. Push is never tried again by Airflow: what it sent and got no
answer to is settled by a later push, which asks first.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator, Connection, Variable
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
)

# Exit codes of `milestones`: its packages cannot be imported here.
_DONE, _ACTION_REQUIRED = 0, 3
_TRY_AGAIN = (75, 130, 143)  # and whatever a signal ended, which is below 0
_WAIT = 600  # seconds for another run that is going
_STOP = 15.0  # seconds to end in after SIGTERM
_LEVELS = {"info": "info", "warning": "warning", "error": "error"}


class Milestones(BaseOperator):  # type: ignore[misc] # mypy checks without Airflow
    """One part of the job.

    Args:
        part: ``sync`` or ``push``.
        arguments: Of the operator.
    """

    def __init__(self, part: str, **arguments: Any) -> None:  # noqa: ANN401 - Airflow's own
        super().__init__(**arguments)
        self.part = part
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Airflow's own
        """Run it; gives the figures of its last line.

        Raises:
            AirflowSkipException: If it is to push, and that is not enabled.
            AirflowFailException: If trying again will not help.
            AirflowException: If it may.
        """
        settings = _settings()
        destination = "postgres" if "DESTINATION__POSTGRES__CREDENTIALS" in settings else "duckdb"
        if self.part == "push":
            _check_push(settings)
        command = [Variable.get("milestones_command", "milestones"), "run", "--only", self.part]
        command += ["--destination", destination, "--wait", str(_WAIT), "--log-format", "json"]
        folder = Path(Variable.get("milestones_folder", "milestones"))
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(  # noqa: S603 - of Airflow's own variables
            command, cwd=folder, env=os.environ | settings, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        last = self._log_lines(self._process)
        return self._result(self._process.wait(), last)

    def on_kill(self) -> None:
        """Let it end in order when Airflow stops the task."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP)

    def _log_lines(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Log what it tells; gives its last line."""
        last: dict[str, Any] = {}
        for line in process.stderr or ():
            try:
                last = json.loads(line)
                level = _LEVELS[last["level"]]
            except (ValueError, KeyError, TypeError):
                last, level = {"error": line.strip()}, "error"
            getattr(self.log, level)("%s", line.strip())
        return last

    def _result(self, code: int, last: dict[str, Any]) -> dict[str, Any]:
        if code == _ACTION_REQUIRED:
            for need in last.get("needs", []):
                self.log.warning("needs a person: %s", need)
        if code in (_DONE, _ACTION_REQUIRED):
            return last
        message = f"milestones ended with {code}: {last.get('error', 'no reason given')}"
        if code in _TRY_AGAIN or code < 0:
            raise AirflowException(message)
        raise AirflowFailException(message)


def _settings() -> dict[str, str]:
    """Settings as the environment of the command."""
    settings: dict[str, Any] = Variable.get("milestones_settings", {}, deserialize_json=True)
    found = {name: str(value) for name, value in settings.items()}
    found["KANTATA_ACCESS_TOKEN"] = Connection.get("kantata").password or ""
    if host := Connection.get("kantata").host:
        found["KANTATA_API_URL"] = host
    if write := _connection("kantata_write"):
        found["KANTATA_WRITE_TOKEN"] = write.password or ""
    if postgres := _connection("milestones_postgres"):
        url = "postgresql://" + postgres.get_uri().partition("://")[2]
        found |= {"DESTINATION__POSTGRES__CREDENTIALS": url}
        found.setdefault("LEDGER__URL", url)
    return found


def _connection(name: str) -> Connection | None:
    try:
        return Connection.get(name)
    except AirflowNotFoundException:
        return None


def _check_push(settings: dict[str, str]) -> None:
    if settings.get("PUSH__ENABLED", "").lower() != "true":
        raise AirflowSkipException(
            "writing is off: PUSH__ENABLED in milestones_settings is not true"
        )
    if not settings.get("LEDGER__URL", "").startswith("postgres"):
        raise AirflowFailException(
            "the ledger of changes must be on Postgres, since Airflow's workers share no disk: "
            "make a connection milestones_postgres, or set LEDGER__URL in milestones_settings"
        )


with DAG(
    "milestones",
    description="Billing milestones of Kantata OX, synced and written back",
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["kantata"],
):
    (
        Milestones(part="sync", task_id="sync", retries=3, retry_delay=timedelta(minutes=5))
        >> Milestones(part="push", task_id="push", retries=0)
    )
