"""Jobs over a restart: each change is a line of JSON, so that a killed process has lost nothing."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

_TIMES = ("created_at", "updated_at", "started_at")
_FIELDS = ("kind", "facts", "started_by", "id", "status", "error", "errors", "blocks", *_TIMES)


class JobLog:
    """The file with the jobs.

    :param path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def load(self) -> list[dict[str, Any]]:
        """Read the jobs as they were last, and make the file short again."""
        if not self._path.exists():
            return []
        last: dict[str, dict[str, Any]] = {}
        for line in self._path.read_text().splitlines():
            try:
                kept = json.loads(line)
            except ValueError:
                continue  # the process was killed while it wrote the line
            last[kept["id"]] = kept
        self._path.write_text("".join(f"{json.dumps(kept)}\n" for kept in last.values()))
        return [{**kept, **{key: _time(kept[key]) for key in _TIMES}} for kept in last.values()]

    def write(self, job: Any) -> None:
        """Note how a job stands."""
        kept = {key: getattr(job, key) for key in _FIELDS}
        kept["status"] = job.status.value
        kept.update({key: kept[key].isoformat() if kept[key] else None for key in _TIMES})
        with self._lock, self._path.open("a") as file:
            file.write(f"{json.dumps(kept)}\n")

    def clear(self) -> None:
        """Forget all jobs."""
        with self._lock:
            self._path.unlink(missing_ok=True)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
