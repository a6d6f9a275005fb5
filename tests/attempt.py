"""One attempt of a task in a process of its own, so that it can be killed.

Arguments: the path of an operator's class, its arguments as JSON, which try it is, and a file that stands for Airflow's task state
store, or ``-`` for none. The connection comes from the environment. It writes what the task returns, or how it failed, as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class FileStore:
    """Keeps JSON in a file, as Airflow keeps it in its database: what is written stays, whoever is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str) -> Any:
        return self._all().get(key)

    def set(self, key: str, value: Any) -> None:
        self._path.write_text(json.dumps(self._all() | {key: value}))

    def _all(self) -> dict[str, Any]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}


def run(path: str, arguments: dict[str, Any], try_number: int, store: str) -> Any:
    """Run it."""
    module, _, name = path.rpartition(".")
    retries = 2
    operator = getattr(importlib.import_module(module), name)(task_id="t", retries=retries, **arguments)
    ti = SimpleNamespace(max_tries=retries, try_number=try_number, map_index=-1, xcom_push=lambda **_: None)
    context: dict[str, Any] = {"ti": ti}
    if store != "-":
        context["task_state_store"] = FileStore(Path(store))
    return operator.execute(context)


if __name__ == "__main__":
    try:
        result: Any = run(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    except Exception as error:  # the test wants to see any
        result = {"failed": f"{type(error).__name__}: {error}"}
    sys.stdout.write(f"\n{json.dumps(result)}\n")
