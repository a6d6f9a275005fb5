"""What a task remembers of a large load: the files that are in, and the one whose import is under way."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from airflow_provider_tinybird.jobs.start import Attempt, Store
from airflow_provider_tinybird.loads.events import task_journal as events
from airflow_provider_tinybird.loads.files.writer import RowFile
from airflow_provider_tinybird.policies.row_counts import RowCounts

log = logging.getLogger(__name__)

KEY = "tinybird_load_files"
"""Key in the store. Renaming it would make retries that are under way send files again."""

_JOBS_KEPT = 100  # of the newest: the store takes 64 KB


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFile:
    """A file whose import is, or may be, under way.

    :param rows: rows in it.
    :param size: bytes.
    :param digest: of its rows.
    :param is_last: whether there are no more rows.
    """

    rows: int
    size: int
    digest: str
    is_last: bool

    @classmethod
    def of(cls, file: RowFile) -> SentFile:
        """Describe a file."""
        return cls(rows=file.rows, size=file.size, digest=file.digest, is_last=file.is_last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How far a load has come.

    :param target: says what is loaded into what; a checkpoint counts only for the same.
    :param max_tries: Airflow's count; a clear changes it, and the load then starts afresh.
    :param files: files that are in, from the first on.
    :param rows: rows of these.
    :param size: bytes of these.
    :param chain: one digest over theirs.
    :param written: rows that Tinybird says are in; ``None`` once it did not say.
    :param quarantined: rows in quarantine; ``None`` once it cannot be told.
    :param invalid: lines that could not be read.
    :param jobs: ids of the newest jobs.
    :param sent: the file behind them.
    :param import_ids: ids of the newest imports, by which the quarantine knows them; empty where an earlier version began the load.
    :param rows_before: rows that a replace found in the data source; ``None`` where that is not known.
    :param before: what was in the data source before the first file, by which the rows are judged.
    """

    target: str
    max_tries: int
    files: int = 0
    rows: int = 0
    size: int = 0
    chain: str = ""
    written: int | None = 0
    quarantined: int | None = 0
    invalid: int = 0
    jobs: tuple[str, ...] = ()
    sent: SentFile | None = None
    version: int = field(default=1)
    rows_before: int | None = None
    import_ids: tuple[str, ...] = ()
    before: Mapping[str, Any] | None = None

    def about_to_send(self, file: RowFile) -> Checkpoint:
        """Note that a file is about to be sent."""
        return replace(self, sent=SentFile.of(file))

    def is_in(self, job_id: str, counts: RowCounts | None, import_id: str = "") -> Checkpoint:
        """Note that the file that was sent is in.

        :param job_id: its job.
        :param counts: what Tinybird says of its rows.
        :param import_id: its import, where that is not named like the job.
        """
        if self.sent is None:
            raise AssertionError("no file was sent")
        said = counts or RowCounts()
        known = self.written is not None and said.rows is not None
        quarantine_known = self.quarantined is not None and said.quarantine_rows is not None
        return replace(
            self,
            files=self.files + 1,
            rows=self.rows + self.sent.rows,
            size=self.size + self.sent.size,
            chain=chained(self.chain, self.sent.digest),
            written=(self.written or 0) + (said.rows or 0) if known else None,
            quarantined=(self.quarantined or 0) + (said.quarantine_rows or 0) if quarantine_known else None,
            invalid=self.invalid + (said.invalid_lines or 0),
            jobs=(*self.jobs, job_id)[-_JOBS_KEPT:],
            import_ids=(*self.import_ids, import_id or job_id)[-_JOBS_KEPT:],
            sent=None,
        )

    def as_json(self) -> dict[str, Any]:
        """Make it JSON."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    @classmethod
    def from_json(cls, stored: Any) -> Checkpoint | None:
        """Read it; ``None`` where it is none."""
        if not isinstance(stored, Mapping) or "target" not in stored:
            return None
        known = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        try:
            sent = known.get("sent")
            known["sent"] = SentFile(**sent) if sent else None
            lists = {name: tuple(known.get(name) or ()) for name in ("jobs", "import_ids")}
            return cls(**{**known, **lists})
        except TypeError:
            log.warning("What is remembered of this load cannot be read and is ignored: %s", sorted(stored))
            return None


def chained(chain: str, digest: str) -> str:
    """Put another digest to those before it."""
    return hashlib.sha256(f"{chain}{digest}".encode()).hexdigest()[:32]


class FilesMemory:
    """Reads and writes a task's checkpoint.

    :param store: where; ``None`` where nothing is remembered.
    :param attempt: the attempt.
    """

    def __init__(self, store: Store | None, attempt: Attempt) -> None:
        self._store = store
        self.attempt = attempt

    @property
    def exists(self) -> bool:
        """Whether anything can be remembered."""
        return self._store is not None

    def recall(self, target: str) -> Checkpoint:
        """Return the checkpoint of this very load since the last clear, or an empty one."""
        checkpoint = Checkpoint.from_json(self._store.get(KEY)) if self._store is not None else None
        if checkpoint is None or checkpoint.target != target or checkpoint.max_tries != self.attempt.max_tries:
            return Checkpoint(target=target, max_tries=self.attempt.max_tries)
        return checkpoint

    def has_events(self, datasource: str) -> bool:
        """Tell whether an earlier attempt sent rows as events, or may have: then other rows than those are noticed only as events."""
        stored = events.recalled(self._store, self.attempt, datasource)
        return stored is not None and not events.Record.of(stored).is_blank

    def remember(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint."""
        if self._store is not None:
            self._store.set(KEY, checkpoint.as_json())
