"""A task that runs a pipe over a range, in a process of its own, with a store that is a file: what a test can kill.

Arguments: the store, the operator's arguments as JSON, and which attempt it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class FileStore:
    """Keeps JSON in a file, whole at any moment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _all(self) -> dict[str, Any]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def get(self, key: str) -> Any:
        return self._all().get(key)

    def set(self, key: str, value: Any) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self._all() | {key: value}))
        fresh.replace(self._path)


def context(store: Any, attempt: int, max_tries: int = 5) -> dict[str, Any]:
    """What Airflow gives a task: the store, and which attempt it is."""
    ti = SimpleNamespace(max_tries=max_tries, try_number=attempt, map_index=-1, xcom_push=lambda **_: None)
    return {"task_state_store": store, "ti": ti}


def main() -> None:
    from airflow_provider_tinybird.operators.pipes import TinybirdCopyRangeOperator

    store, arguments, attempt = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
    operator = TinybirdCopyRangeOperator(task_id="t", retries=5, **arguments)
    operator.render_template_fields({})
    print(json.dumps(operator.execute(context(FileStore(store), attempt))))


if __name__ == "__main__":
    main()
