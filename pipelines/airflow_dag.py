"""Run the job under Airflow 3: sync, then push, every hour. Link or copy this file into dags/.

Airflow needs no other package: the tasks start the `milestones` command of the environment where
it is installed. (dlt inside Airflow would look up every setting in Airflow, and take ten times as
long.) All settings come from Airflow:

- connection ``kantata``: its password is the token; its host is the API's URL, if not the default;
- connection ``kantata_write``, optional: its password is the token for writing;
- connection ``milestones_postgres``, optional: the warehouse and the ledger; without it DuckDB;
- variable ``milestones_command``: the path of `milestones`;
- variable ``milestones_folder``: the folder of `.milestones/` and, for DuckDB, of the warehouse;
- variable ``milestones_settings``, JSON: further settings by their names in the environment, such
  as ``{"PUSH__ENABLED": "true", "WAREHOUSE__REPORTING_TIMEZONE": "Europe/Berlin"}``.

Exit codes: after 75, or a signal, Airflow tries sync again. 3 succeeds, and a warning in the log
lists what requires action. Any other code fails at once. Airflow never repeats push: a later push
reads back every change of unknown outcome before it sends anything.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from airflow.sdk import DAG, BaseOperator, Connection, Variable
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
)

# Exit codes of `milestones`: its packages cannot be imported here.
_DONE, _ACTION_REQUIRED = 0, 3
_TRY_AGAIN = (75, 130, 143)  # and codes below 0: ended by a signal
_WAIT = 600  # seconds to wait for another run
_STOP = 15.0  # seconds from SIGTERM to the end
# The parameters of a connection to Postgres, as its documentation lists them.
_LIBPQ = frozenset({
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "gssencmode",
    "gsslib", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
    "keepalives_interval", "krbsrvname", "load_balance_hosts", "options", "passfile",
    "require_auth", "requirepeer", "service", "sslcert", "sslcompression", "sslcrl", "sslcrldir",
    "sslkey", "sslmode", "sslpassword", "sslrootcert", "sslsni", "ssl_max_protocol_version",
    "ssl_min_protocol_version", "target_session_attrs", "tcp_user_timeout",
})  # fmt: skip
_LEVELS = {"info": "info", "warning": "warning", "error": "error"}


class Milestones(BaseOperator):  # type: ignore[misc] # mypy checks without Airflow
    """Runs one part of the job.

    Args:
        part: ``sync`` or ``push``.
        arguments: The arguments of any operator.
    """

    def __init__(self, part: str, **arguments: Any) -> None:  # noqa: ANN401 - Airflow's own
        super().__init__(**arguments)
        self.part = part
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Airflow's own
        """Run the part of the job as an Airflow task; return the figures of its last log line.

        Raises:
            AirflowSkipException: If the part is push, and push is not enabled.
            AirflowFailException: If it failed, and trying again will not help.
            AirflowException: If it failed, and trying again may help.
        """
        settings = _settings()
        if self.part == "push":
            _check_push(settings)
        command = [Variable.get("milestones_command", "milestones"), "run", "--only", self.part]
        command += ["--wait", str(_WAIT), "--log-format", "json"]
        folder = Path(Variable.get("milestones_folder", "milestones"))
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(  # noqa: S603 - from Airflow's own variables
            command, cwd=folder, env=os.environ | settings, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        last = self._log_lines(self._process)
        return self._result(self._process.wait(), last)

    def on_kill(self) -> None:
        """Stop the command with SIGTERM when Airflow stops the task."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP)

    def _log_lines(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Log the lines of the command in Airflow's task log; return the last one."""
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
        """Return the last log line, or raise the Airflow exception for the exit code."""
        if code == _ACTION_REQUIRED:
            for need in last.get("needs", []):
                self.log.warning("action required: %s", need)
        if code in (_DONE, _ACTION_REQUIRED) and not last.get("error"):
            return last
        message = f"milestones ended with {code}: {last.get('error', 'no reason given')}"
        if code in _TRY_AGAIN or code < 0:
            raise AirflowException(message)
        raise AirflowFailException(message)


def _settings() -> dict[str, str]:
    """Return the command's environment variables, from Airflow's variable and connections."""
    settings: dict[str, Any] = Variable.get("milestones_settings", {}, deserialize_json=True)
    found = {name: str(value) for name, value in settings.items()}
    found["KANTATA_ACCESS_TOKEN"] = Connection.get("kantata").password or ""
    if host := Connection.get("kantata").host:
        found["KANTATA_API_URL"] = host
    if write := _connection("kantata_write"):
        found["KANTATA_WRITE_TOKEN"] = write.password or ""
    if postgres := _connection("milestones_postgres"):
        url = _postgres_url(postgres.get_uri())
        found |= {"DESTINATION__POSTGRES__CREDENTIALS": url}
        found.setdefault("LEDGER__URL", url)
    if "DESTINATION__POSTGRES__CREDENTIALS" in found:
        found.setdefault("WAREHOUSE__DESTINATION", "postgres")
    return found


def _postgres_url(uri: str) -> str:
    """Return the URL of an Airflow connection, without the extras that only Airflow knows."""
    parts = urlsplit(uri)
    known = [(name, value) for name, value in parse_qsl(parts.query) if name in _LIBPQ]
    query = f"?{urlencode(known, quote_via=quote)}" if known else ""
    return f"postgresql://{parts.netloc}{parts.path}{query}"


def _connection(name: str) -> Connection | None:
    """Return an Airflow connection; None if it does not exist."""
    try:
        return Connection.get(name)
    except AirflowNotFoundException:
        return None


def _check_push(settings: dict[str, str]) -> None:
    """Skip the Airflow task if push is off, and fail it if the ledger is not on Postgres."""
    if settings.get("PUSH__ENABLED", "").lower() != "true":
        raise AirflowSkipException(
            "push is off: set PUSH__ENABLED to true in the variable milestones_settings"
        )
    if not settings.get("LEDGER__URL", "").startswith("postgres"):
        raise AirflowFailException(
            "the ledger of changes must be on Postgres, since Airflow's workers share no disk: "
            "create the connection milestones_postgres, or set LEDGER__URL in the variable "
            "milestones_settings"
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
