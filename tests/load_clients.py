"""Clients that send mixed calls to a sandbox at the same time, and know what must be there in the end."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

SHARED = "shared"
_FINAL = ("done", "error", "cancelled")
_SCHEMA = "SCHEMA >\n    `client` UInt32 `json:$.client`,\n    `n` UInt64 `json:$.n`\n\nENGINE MergeTree\nENGINE_SORTING_KEY client, n\n"


def write_project(folder: Path, clients: int) -> None:
    """Make a project: one table that all clients append to, and for each client two of its own with a copy between them."""
    (folder / f"{SHARED}.datasource").write_text(_SCHEMA)
    (folder / "seen.pipe").write_text(f"NODE counted\nSQL >\n    SELECT count() AS n FROM {SHARED}\n\nTYPE endpoint\n")
    for number in range(clients):
        (folder / f"own_{number}.datasource").write_text(_SCHEMA)
        (folder / f"copied_{number}.datasource").write_text(_SCHEMA)
        (folder / f"copy_{number}.pipe").write_text(
            f"NODE all_rows\nSQL >\n    SELECT client, n FROM own_{number}\n\nTYPE copy\nTARGET_DATASOURCE copied_{number}\n"
        )


@dataclass
class LoadClient:
    """One client; it waits for each answer, as one task of a DAG does.

    :param calls: how many of each kind were answered.
    :param wrong: what must not happen: a status of 500 or more, a refusal, rows other than expected.
    :param shared: numbers of the rows that the shared table took.
    :param own: numbers of the rows that must be in its own table.
    :param copied: numbers of the rows that must be in the target of its copies; more than once if they were copied so.
    """

    number: int
    base_url: str
    headers: dict[str, str]
    calls: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)
    own: set[int] = field(default_factory=set)
    copied: Counter[int] = field(default_factory=Counter)

    def run(self, seconds: float = math.inf, calls: float = math.inf) -> None:
        """Call until the time is over, or so many calls were made, and finish the call that is under way."""
        chance = random.Random(self.number)  # the same calls in each run
        kinds = (
            *(self.events_waited, self.events_accepted, self.events_own, self.append, self.sql) * 2,
            *(self.endpoint, self.copy, self.delete, self.truncate, self.list_jobs),
        )
        ends = time.monotonic() + seconds
        self._next = 0
        with httpx.Client(base_url=self.base_url, headers=self.headers, timeout=60) as self._http:
            while time.monotonic() < ends and self.calls.total() < calls:
                kind = chance.choice(kinds)
                try:
                    kind()
                except (httpx.HTTPError, AssertionError, LookupError, ValueError) as error:
                    self.wrong.append(f"{kind.__name__}: {type(error).__name__}: {error}")
                self.calls[kind.__name__] += 1

    def events_waited(self) -> None:
        rows = self._rows(20)
        answer = self._post("/v0/events", {"name": SHARED, "wait": "true"}, self._ndjson(rows))
        assert answer.json() == {"successful_rows": 20, "quarantined_rows": 0}, answer.text
        self.shared.extend(rows)

    def events_accepted(self) -> None:
        rows = self._rows(50)
        self._post("/v0/events", {"name": SHARED}, self._ndjson(rows))
        self.shared.extend(rows)

    def events_own(self) -> None:
        rows = self._rows(30)
        self._post("/v0/events", {"name": f"own_{self.number}", "wait": "true"}, self._ndjson(rows))
        self.own.update(rows)

    def append(self) -> None:
        rows = self._rows(40)
        body = "".join(f"{self.number},{n}\n" for n in rows).encode()
        answer = self._post("/v0/datasources", {"name": SHARED, "mode": "append", "format": "csv"}, body)
        assert answer.json()["error"] is False, answer.text
        self.shared.extend(rows)

    def sql(self) -> None:
        found = self._numbers(f"own_{self.number}")
        assert found == sorted(self.own), f"{len(found)} rows, {len(self.own)} expected"

    def endpoint(self) -> None:
        answer = self._checked(self._http.get("/v0/pipes/seen.json"))
        assert answer.json()["data"][0]["n"] >= len(self.shared), answer.text

    def copy(self) -> None:
        mode = "replace" if self._next % 2 else "append"
        self._wait(self._post(f"/v0/pipes/copy_{self.number}/copy", {"_mode": mode}).json()["job"]["id"])
        if mode == "replace":
            self.copied.clear()
        self.copied.update(self.own)

    def delete(self) -> None:
        condition = f"n % 3 = {self._next % 3}"
        gone = {n for n in self.own if n % 3 == self._next % 3}
        if self._next % 2:
            answer = self._http.post(f"/v1/datasources/own_{self.number}/delete", data={"delete_condition": condition})
            affected = self._checked(answer).json()["rows_affected"]
        else:
            answer = self._http.post(f"/v0/datasources/own_{self.number}/delete", data={"delete_condition": condition})
            affected = self._wait(self._checked(answer).json()["id"])["rows_affected"]
        self.own -= gone
        assert affected == len(gone), f"{affected} rows deleted, {len(gone)} expected"

    def truncate(self) -> None:
        self._post(f"/v0/datasources/own_{self.number}/truncate", {})
        self.own.clear()

    def list_jobs(self) -> None:
        assert len(self._checked(self._http.get("/v0/jobs")).json()["jobs"]) <= 100

    def _rows(self, count: int) -> range:
        self._next += count + 1
        return range(self._next - count, self._next)

    def _ndjson(self, rows: range) -> bytes:
        return "".join(f'{{"client":{self.number},"n":{n}}}\n' for n in rows).encode()

    def _post(self, path: str, params: dict[str, str], content: bytes = b"") -> httpx.Response:
        return self._checked(self._http.post(path, params=params, content=content))

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        assert answer.status_code in (200, 202), f"{answer.status_code} {answer.text}"
        return answer

    def _numbers(self, table: str) -> list[int]:
        sql = f"SELECT n FROM {table} WHERE client = {self.number} ORDER BY n FORMAT TSV"
        return [int(line) for line in self._post("/v0/sql", {}, sql.encode()).text.splitlines()]

    def _wait(self, job_id: str) -> dict[str, object]:
        while (job := self._checked(self._http.get(f"/v0/jobs/{job_id}")).json())["status"] not in _FINAL:
            time.sleep(0.01)
        assert job["status"] == "done", job
        return dict(job)

    def problems(self) -> list[str]:
        """What went wrong, and what the tables have other than they should; after ``run``."""
        found = list(self.wrong)
        expected = {
            SHARED: self.shared,
            f"own_{self.number}": sorted(self.own),
            f"copied_{self.number}": sorted(self.copied.elements()),
        }
        with httpx.Client(base_url=self.base_url, headers=self.headers, timeout=60) as self._http:
            for table, numbers in expected.items():
                rows = self._numbers(table)
                if rows != numbers:
                    found.append(
                        f"client {self.number}: {table} has {len(rows)} rows, {len(numbers)} were acknowledged"
                    )
        return found


def run_load(base_url: str, headers: dict[str, str], clients: int, **until: float) -> list[LoadClient]:
    """Let clients call at the same time, for a sandbox that has the project of ``write_project``.

    :param until: ``seconds``, or ``calls`` of each client.
    """
    load = [LoadClient(number, base_url, headers) for number in range(clients)]
    threads = [threading.Thread(target=client.run, kwargs=until) for client in load]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load
