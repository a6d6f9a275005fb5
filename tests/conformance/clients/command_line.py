"""Tinybird's two command lines, each the ``tb`` of the environment that this runs in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scenario import Client, RefusedError, Sandbox, only_number

TB = Path(sys.executable).with_name("tb")
_TIMEOUT = 120
_ID = re.compile(r"^[0-9a-f-]{36}$")


class CommandLine(Client):
    """What both command lines have in common.

    :param options: options before the command that point it at a server.
    """

    def __init__(self, sandbox: Sandbox, files: Path, options: list[str]) -> None:
        super().__init__(sandbox, files)
        self.options = options
        # It keeps where it was last logged in, in the folder and in the home.
        self.folder = tempfile.mkdtemp(dir=os.environ["HOME"])

    def tb(self, *arguments: str, options: list[str] | None = None) -> str:
        """Run a command; return what it printed.

        :raises RefusedError: its exit code is not 0.
        """
        self.how = " ".join(["tb", *map(self._shown, arguments)])
        command = [str(TB), *(self.options if options is None else options), *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        printed = f"{done.stdout}\n{done.stderr}".replace(self.token, "<token>")
        if done.returncode:
            raise RefusedError(printed.strip())
        return printed

    def _shown(self, argument: str) -> str:
        """An argument, the same in each run."""
        argument = _ID.sub("…", argument.replace(self.url, "http://…").replace(f"{self.files}/", ""))
        return f'"{argument}"' if " " in argument else argument

    def json(self, printed: str) -> Any:
        """The JSON object in what it printed."""
        return json.loads(printed[printed.index("{") : printed.rindex("}") + 1])

    def append_missing_url(self, url: str) -> None:
        self.append_url(url)

    def delete_dry_run(self, condition: str) -> int:
        said = self.tb("datasource", "delete", "sales", "--sql-condition", condition, "--dry-run")
        return only_number(said, r"rows '(\d+)'")

    def delete(self, condition: str) -> None:
        self.tb("datasource", "delete", "sales", "--sql-condition", condition, "--yes", "--wait")

    def delete_lightweight(self, condition: str) -> int:
        said = self.tb("datasource", "delete", "sales", "--sql-condition", condition, "--yes", "--lightweight-delete")
        return only_number(said, r"affected: (\d+)")

    def truncate(self) -> None:
        self.tb("datasource", "truncate", "sales", "--yes")

    def replace_url(self, url: str) -> int | None:
        return self.total(self.tb("datasource", "replace", "sales", url))

    def replace_where(self, file: Path, condition: str) -> int | None:
        return self.total(self.tb("datasource", "replace", "sales", str(file), "--sql-condition", condition))

    def total(self, _said: str) -> int | None:
        """The rows that are now in the data source, if it says so."""
        return None

    def row_count(self, name: str) -> int:
        return only_number(self.tb("datasource", "ls"), rf"name: {name}\s+row_count: ([\d,]+)")

    def list_jobs(self) -> int:
        return listed(self.tb("job", "ls"))

    def job_details(self, job_id: str) -> int:
        return only_number(self.tb("job", "details", job_id), r"rows_affected: (\d+)")

    def cancel_job(self, job_id: str) -> None:
        self.tb("job", "cancel", job_id)

    def tokens(self) -> int:
        return listed(self.tb("token", "ls"))

    def workspace_id(self, said: str) -> str:
        """The id in what it says of the workspace."""
        found = re.search(r"id: (\S+)", said)
        if found is None:
            raise RefusedError(f"no id in: {said}")
        return found[1]


def listed(said: str) -> int:
    """How many things with an id are in a listing: a table where it is narrow enough, else a block for each."""
    return len(re.findall(r"^(?:id:|\|) *[0-9a-f]{8}-", said, re.MULTILINE))
