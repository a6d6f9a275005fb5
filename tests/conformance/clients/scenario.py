"""What every client has to do, and what must be there afterwards. Standard library only: each client has an environment of its own.

A client is a class over the official package, with a method for each operation. The scenario sets the stage over plain HTTP, lets the
client act, asks the client for the rows, counts them once more over plain HTTP, and writes what it saw as a line of JSON.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROWS = 3000
CONDITION = "shop = 'a'"
SALES = "SELECT count() AS n FROM sales"
TOTALS = "SELECT count() AS n FROM totals"
QUARANTINE = "SELECT count() AS n FROM sales_quarantine"
OVER = ("done", "error", "cancelled")
UNSEEN = {"X-Sandbox-Unseen": "1"}
_OF_THE_SET_UP = (
    "/tokens",
    "/v0/workspace",
    "/v1/workspace",
    "/v1/workspaces",
    "/v0/user/workspaces",
    "/v1/user/workspaces",
    "/v0/regions",
)
Act = Callable[[], "int | None"]
_ID = re.compile(r"(?<=/)(t_)?[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")


class NotOfferedError(Exception):
    """The client has no such operation; the text says what it has instead."""


class RefusedError(Exception):
    """The client reported a failure; the text is what it said."""


@dataclass(frozen=True)
class Seen:
    """What came of an operation.

    :param how: the command or the method.
    :param requests: what the client sent for it, without looking for its workspace and without repetitions.
    :param expected: the number that all must agree on.
    :param answered: the number that the client's own answer to the operation states, if it states one.
    :param queried: the number by a query that the client sends.
    :param counted: the number over plain HTTP.
    """

    operation: str
    how: str
    result: str
    expected: int | None = None
    answered: int | None = None
    queried: int | None = None
    counted: int | None = None
    requests: tuple[str, ...] = ()
    reason: str = ""


class Sandbox:
    """The sandbox over plain HTTP, unrecorded."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    def send(self, method: str, path: str, body: bytes = b"", **params: str) -> Any:
        """Send a request; return the JSON of the answer, if it has one."""
        url = f"{self.url}{path}" + (f"?{urlencode(params)}" if params else "")
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/octet-stream", **UNSEEN}
        request = urllib.request.Request(url, data=body if method == "POST" else None, method=method, headers=headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def number(self, sql: str) -> int:
        """The one number that a query finds."""
        [row] = self.send("POST", "/v0/sql", f"{sql} FORMAT JSON".encode())["data"]
        [value] = row.values()
        return int(value)

    def job(self, job_id: str) -> dict[str, Any]:
        """Wait until a job is over."""
        deadline = time.monotonic() + 60
        while True:
            job: dict[str, Any] = self.send("GET", f"/v0/jobs/{job_id}")
            if job["status"] in OVER:
                return job
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} is still {job['status']}")
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until all jobs are over."""
        for job in self.send("GET", "/v0/jobs")["jobs"]:
            self.job(job["id"])

    def requests(self) -> tuple[str, ...]:
        """What the client sent, each once; the look for its workspace only if there is nothing else."""
        seen = self.send("GET", "/sandbox/requests")["requests"]
        # The sandbox itself fetches the files, at a moment of its own.
        paths = [(one["method"], one["path"].rstrip("/")) for one in seen if not one["path"].startswith("/files/")]
        kept = [(method, path) for method, path in paths if path not in _OF_THE_SET_UP] or paths
        return tuple(dict.fromkeys(f"{method} {_ID.sub('…', path)}" for method, path in kept))


class Client:
    """A client under test. What its package does not have stays as it is here.

    :param sandbox: where it finds its base URL and its token.
    """

    package: str

    def __init__(self, sandbox: Sandbox, files: Path) -> None:
        self.url = sandbox.url
        self.token = sandbox.token
        self.files = files
        self.how = ""

    def number(self, sql: str) -> int:
        """The one number that a query finds, sent by the client."""
        raise NotImplementedError

    def append_url(self, url: str) -> int | None:
        raise NotOfferedError

    def append_missing_url(self, url: str) -> None:
        """Raise ``RefusedError`` with what the client says of it."""
        raise NotOfferedError

    def append_csv(self, file: Path) -> int | None:
        raise NotOfferedError

    def append_ndjson(self, file: Path) -> int | None:
        raise NotOfferedError

    def append_events(self, rows: list[dict[str, Any]]) -> int | None:
        raise NotOfferedError

    def append_bad_events(self, rows: list[dict[str, Any]]) -> int | None:
        """Return how many rows went to quarantine."""
        raise NotOfferedError

    def replace_url(self, url: str) -> int | None:
        raise NotOfferedError

    def replace_where(self, file: Path, condition: str) -> int | None:
        raise NotOfferedError

    def copy(self, pipe: str) -> int | None:
        raise NotOfferedError

    def copy_replace(self, pipe: str, shop: str) -> int | None:
        raise NotOfferedError

    def delete_dry_run(self, condition: str) -> int | None:
        """Return how many rows it would delete."""
        raise NotOfferedError

    def delete(self, condition: str) -> int | None:
        raise NotOfferedError

    def delete_lightweight(self, condition: str) -> int | None:
        """Return how many rows it deleted."""
        raise NotOfferedError

    def truncate(self) -> int | None:
        raise NotOfferedError

    def endpoint(self, pipe: str, top: int) -> int:
        """Return the sum of the column sales."""
        raise NotOfferedError

    def row_count(self, name: str) -> int:
        """Return the rows of a data source as its listing has them."""
        raise NotOfferedError

    def list_jobs(self) -> int:
        """Return how many there are."""
        raise NotOfferedError

    def job_details(self, job_id: str) -> int:
        """Return the rows that a delete affected."""
        raise NotOfferedError

    def cancel_job(self, job_id: str) -> None:
        raise NotOfferedError

    def workspace(self) -> str:
        """Return the id of the workspace."""
        raise NotOfferedError

    def tokens(self) -> int:
        """Return how many there are."""
        raise NotOfferedError


class Scenario:
    """Plays all operations with a client, each on a stage of its own."""

    def __init__(self, client: Client, sandbox: Sandbox) -> None:
        self.client = client
        self.sandbox = sandbox
        self.files = client.files
        self.url = f"{sandbox.url}/files"

    def play(self) -> Iterable[Seen]:
        """All operations, in the order of the table."""
        yield from self._appends()
        yield from self._changes()
        yield from self._reads()
        yield from self._jobs()
        yield from self._tokens()

    def _appends(self) -> Iterable[Seen]:
        client, csv, ndjson = self.client, self.files / "sales.csv", self.files / "sales.ndjson"
        good = [{"day": "2026-01-31", "shop": "a", "amount": n} for n in range(3)]
        bad = [*good, {"day": "2026-01-31", "shop": "a", "amount": "none"}]
        yield self._empty("append by URL", SALES, ROWS, lambda: client.append_url(f"{self.url}/sales.ndjson"))
        yield self._missing_url()
        yield self._empty("append a CSV file", SALES, ROWS, lambda: client.append_csv(csv))
        yield self._empty("append an NDJSON file", SALES, ROWS, lambda: client.append_ndjson(ndjson))
        yield self._empty("append events (NDJSON)", SALES, 3, lambda: client.append_events(good))
        yield self._empty("events, one of them to quarantine", QUARANTINE, 1, lambda: client.append_bad_events(bad))

    def _changes(self) -> Iterable[Seen]:
        client, shop_a = self.client, self.files / "shop_a.ndjson"
        yield self._full("replace by URL", SALES, 100, lambda: client.replace_url(f"{self.url}/shop_a.ndjson"))
        yield self._full("replace by condition", SALES, 2100, lambda: client.replace_where(shop_a, CONDITION))
        yield self._full("copy, append", TOTALS, 5, lambda: client.copy("copy_totals"))
        yield self._full("copy, replace, parameter", TOTALS, 1, lambda: client.copy_replace("copy_totals", "b"))
        matching = f"SELECT countIf({CONDITION}) AS n FROM sales HAVING count() = {ROWS}"
        yield self._full("delete, dry run", matching, 1000, lambda: client.delete_dry_run(CONDITION))
        deleted = f"SELECT {ROWS} - count() AS n FROM sales"
        yield self._full("delete", deleted, 1000, lambda: client.delete(CONDITION))
        yield self._full("delete, lightweight", deleted, 1000, lambda: client.delete_lightweight(CONDITION))
        yield self._full("truncate", SALES, 0, client.truncate)

    def _reads(self) -> Iterable[Seen]:
        client = self.client
        yield self._full("query", SALES, ROWS, lambda: client.number(SALES))
        top = "SELECT sum(sales) AS n FROM (SELECT * FROM shops ORDER BY shop LIMIT 2)"
        yield self._full("data of an endpoint, parameter", top, 2000, lambda: client.endpoint("shops", 2))
        yield self._full("list data sources: rows", SALES, ROWS, lambda: client.row_count("sales"))

    def _jobs(self) -> Iterable[Seen]:
        client, sandbox = self.client, self.sandbox
        self._stage()
        for _ in range(3):
            sandbox.job(sandbox.send("POST", "/v0/pipes/copy_totals/copy")["job"]["id"])
        yield self._seen("list jobs", 3, client.list_jobs, lambda: len(sandbox.send("GET", "/v0/jobs")["jobs"]))

        self._stage()
        deleting = sandbox.send("POST", "/v0/datasources/sales/delete", delete_condition=CONDITION)["id"]
        sandbox.job(deleting)
        yield self._seen(
            "details of a job: rows",
            1000,
            lambda: client.job_details(deleting),
            lambda: int(sandbox.job(deleting)["rows_affected"]),
        )

        self._stage()
        sandbox.send("POST", "/sandbox/jobs", json.dumps({"name": "copy_totals", "hold": "waiting"}).encode())
        held = sandbox.send("POST", "/v0/pipes/copy_totals/copy")["job"]["id"]
        # Three rows more, were it not cancelled.
        yield self._seen("cancel a job", 2, lambda: client.cancel_job(held), lambda: self._totals_of_cancelled(held))
        sandbox.send("DELETE", "/sandbox/jobs")

    def _tokens(self) -> Iterable[Seen]:
        client, sandbox = self.client, self.sandbox
        self._stage()
        wanted = sandbox.send("GET", "/v0/workspace")["id"]

        def workspace() -> None:
            found = client.workspace()
            if found != wanted:
                raise AssertionError(f"the workspace is {found!r}, not {wanted!r}")

        yield self._seen("workspace of the token", None, workspace, None)
        self._stage()
        yield self._seen("list tokens", 5, client.tokens, lambda: len(sandbox.send("GET", "/v0/tokens")["tokens"]))

    def _empty(self, operation: str, sql: str, expected: int, act: Act) -> Seen:
        self._stage(empty=True)
        return self._seen(operation, expected, act, lambda: self.sandbox.number(sql), sql)

    def _full(self, operation: str, sql: str, expected: int, act: Act) -> Seen:
        self._stage()
        return self._seen(operation, expected, act, lambda: self.sandbox.number(sql), sql)

    def _stage(self, *, empty: bool = False) -> None:
        """Three thousand sales of three shops, and two totals; or nothing."""
        self.client.how = ""
        self.sandbox.send("POST", "/sandbox/reset")
        if not empty:
            sales = (self.files / "sales.ndjson").read_bytes()
            self.sandbox.send("POST", "/v0/events", sales, name="sales", wait="true")
            totals = b"x,1,1\ny,1,1\n"
            self.sandbox.send("POST", "/v0/datasources", totals, name="totals", mode="append", format="csv")

    def _seen(
        self, operation: str, expected: int | None, act: Act, count: Callable[[], int] | None, sql: str | None = None
    ) -> Seen:
        """Let the client act, and hold all numbers against each other.

        :param count: the number over plain HTTP.
        :param sql: what the client itself asks for the number.
        """
        try:
            answered = act()
            how, requests = self.client.how, self.sandbox.requests()
            self.sandbox.settle()
            queried = self.client.number(sql) if sql else None
            counted = count() if count else None
        except NotOfferedError as reason:
            return Seen(operation, "", "not offered", reason=str(reason))
        except Exception as error:
            return self._failed(operation, error)
        agrees = all(number in (None, expected) for number in (answered, queried, counted))
        result = "agrees" if agrees else "differs"
        return Seen(operation, how, result, expected, answered, queried, counted, requests)

    def _missing_url(self) -> Seen:
        operation = "append by a URL that answers 404"

        def act() -> None:
            try:
                self.client.append_missing_url(f"{self.url}/none.ndjson")
            except RefusedError as refused:
                if "404" not in str(refused):
                    raise
            else:
                raise AssertionError("the client reports a success")

        return self._empty(operation, SALES, 0, act)

    def _totals_of_cancelled(self, job_id: str) -> int:
        status = self.sandbox.job(job_id)["status"]
        if status != "cancelled":
            raise AssertionError(f"the job is {status}")
        return self.sandbox.number(TOTALS)

    def _failed(self, operation: str, error: Exception) -> Seen:
        reason = f"{type(error).__name__}: {error}".replace(self.sandbox.token, "<token>")
        return Seen(operation, self.client.how, "failed", requests=self.sandbox.requests(), reason=reason)


def only_number(text: str, pattern: str) -> int:
    """The number that a pattern finds in what a client printed.

    :raises RefusedError: it is not there; holds the text.
    """
    found = re.search(pattern, text)
    if found is None:
        raise RefusedError(f"no {pattern!r} in: {text}")
    return int(found[1].replace(",", ""))


def main(make: Callable[[Sandbox, Path], Client]) -> None:
    """Play the scenario; one line of JSON for the client, and one for each operation."""
    sandbox = Sandbox(os.environ["CONFORMANCE_URL"], os.environ["CONFORMANCE_TOKEN"])
    client = make(sandbox, Path(os.environ["CONFORMANCE_FILES"]))
    print(json.dumps({"package": client.package, "version": version(client.package)}), flush=True)
    for seen in Scenario(client, sandbox).play():
        print(json.dumps(asdict(seen)), flush=True)
    sys.exit(0)
