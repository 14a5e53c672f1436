"""Runs the DAG in Airflow's own environment, once for each line of stdin.

test_airflow.py starts it with Airflow's Python and passes the folder of DAGs. Each line is JSON:
the environment to set, and how long a task may take. The answer is what Airflow logs, followed by
a line of ``RESULT`` and JSON: how the tasks ended.
"""

import json
import os
import sys
import warnings
from datetime import timedelta

warnings.filterwarnings("ignore")


def main() -> None:
    """Execute every task of the DAG, as Airflow would, once for each line."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()
    mine = dict(os.environ)
    for line in sys.stdin:
        request = json.loads(line)
        os.environ.clear()
        os.environ.update(mine | request["environment"])
        bag = DagBag(sys.argv[1])
        assert not bag.import_errors, bag.import_errors
        (dag,) = bag.dags.values()
        for task in dag.tasks:
            task.retry_delay = timedelta(seconds=1)  # a test does not wait for minutes
            task.execution_timeout = timedelta(seconds=request["timeout"])
        run = dag.test()
        tasks = {
            task.task_id: {"state": task.state, "tries": task.try_number}
            for task in run.get_task_instances()
        }
        shape = {"catchup": dag.catchup, "max_active_runs": dag.max_active_runs}
        print("RESULT " + json.dumps({"tasks": tasks, "dag": shape}), flush=True)


if __name__ == "__main__":
    main()
