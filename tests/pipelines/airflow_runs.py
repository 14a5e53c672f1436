"""Runs the DAG in Airflow's own environment, once for each line of stdin.

Called by test_airflow.py with Airflow's Python and the folder of DAGs. A line is JSON: environment
to set first. The answer is a line ``RESULT`` and JSON: how the tasks ended, and what they logged.
"""

import io
import json
import logging
import os
import sys
import warnings
from contextlib import redirect_stdout

warnings.filterwarnings("ignore")


def main() -> None:
    """Execute every task of the DAG, as Airflow would, as often as asked."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    with redirect_stdout(sys.stderr):
        initdb()
    for line in sys.stdin:
        os.environ.update(json.loads(line))
        with redirect_stdout(io.StringIO()) as said:
            bag = DagBag(sys.argv[1])
            assert not bag.import_errors, bag.import_errors
            (dag,) = bag.dags.values()
            run = dag.test()
        tasks = {
            task.task_id: {"state": task.state, "tries": task.try_number, "retries": task.max_tries}
            for task in run.get_task_instances()
        }
        shape = {"catchup": dag.catchup, "max_active_runs": dag.max_active_runs}
        result = {"tasks": tasks, "dag": shape, "state": run.state, "said": said.getvalue()}
        print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    logging.captureWarnings(True)
    main()
