"""Runs DAGs with ``dag.test()`` in a process of its own: it asks by a line on the standard input and answers by a line on a pipe.

Started by ``conftest.py``. Its standard output is Airflow's log.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import IO, Any


def main() -> None:
    requests = os.fdopen(os.dup(0), "r")  # tasks may close or replace the standard input
    answers = os.fdopen(int(sys.argv[1]), "w")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag = load_dags()
    own = [f"{Path(one.filename).name}: {one.message}" for one in caught if is_own(one.filename)]
    errors = {Path(path).name: text for path, text in bag.import_errors.items()}
    answer(answers, {"dags": sorted(bag.dags), "import_errors": errors, "warnings": own})
    from airflow import settings

    for line in requests:
        request = json.loads(line)
        dag = bag.dags[request["dag_id"]]
        # Airflow 3 reads the folder anew for each run. One file of it is enough: all of them were read above.
        settings.DAGS_FOLDER = dag.fileloc
        run = dag.test(run_conf=request["conf"])
        answer(answers, {"run_id": run.run_id, "state": str(run.state.value)})


def load_dags() -> Any:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # 2.11 to 3.1
        from airflow.models.dagbag import DagBag
    return DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])


def is_own(filename: str) -> bool:
    return "example_dags" in filename or "airflow_provider_tinybird" in filename


def answer(pipe: IO[str], value: dict[str, Any]) -> None:
    print(json.dumps(value), file=pipe, flush=True)


if __name__ == "__main__":
    main()
