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

    :param path: where it is; made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._changes = 0
        path.touch()

    def load(self) -> list[dict[str, Any]]:
        """Read the jobs as they were last, and make the file short again."""
        last: dict[str, dict[str, Any]] = {}
        for line in self.path.read_text().splitlines():
            try:
                kept = json.loads(line)
            except ValueError:
                continue  # the process was killed while it wrote the line
            kept.pop("n", None)
            last[kept["id"]] = kept
        self.path.write_text("".join(f"{json.dumps({**kept, 'n': 0})}\n" for kept in last.values()))
        return [{**kept, **{key: _time(kept[key]) for key in _TIMES}} for kept in last.values()]

    def write(self, job: Any) -> None:
        """Note how a job stands."""
        kept = {key: getattr(job, key) for key in _FIELDS}
        kept["status"] = job.status.value
        kept.update({key: kept[key].isoformat() if kept[key] else None for key in _TIMES})
        # In one piece and numbered: tinybird.jobs_log is a view over this file, and shows the last line of each job.
        with self._lock, self.path.open("ab", buffering=0) as file:
            self._changes += 1
            file.write(f"{json.dumps({**kept, 'n': self._changes})}\n".encode())

    def clear(self) -> None:
        """Forget all jobs."""
        with self._lock:
            self.path.write_bytes(b"")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
