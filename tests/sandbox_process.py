"""The sandbox as a process of its own, for tests: started on a free port, stopped for sure."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO

READY = "Tinybird sandbox is ready: "
_ROOT = Path(__file__).resolve().parents[1]


class SandboxProcess:
    """A running ``tinybird-sandbox``; a context manager.

    It is executed, never forked: the engine inside hangs in a forked child.

    :param options: further options of the command line, such as ``"--project", path``.
    :param environment: variables beyond those of this process.
    :param start_timeout: seconds until it must be ready.
    """

    def __init__(
        self, *options: str | Path, environment: dict[str, str] | None = None, start_timeout: float = 30
    ) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airflow_provider_tinybird.sandbox.cli", "--port", "0", *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            line = self._lines.get(timeout=start_timeout)
        except queue.Empty:
            line = None
        if line is None or not line.startswith(READY):
            self.stop()
            raise RuntimeError(f"the sandbox did not start: {line!r}\n{self.errors()}")
        self.base_url = line.removeprefix(READY).strip()
        with urllib.request.urlopen(f"{self.base_url}/tokens", timeout=10) as answer:
            self.token: str = json.load(answer)["workspace_admin_token"]

    @property
    def headers(self) -> dict[str, str]:
        """Headers that carry the token."""
        return {"Authorization": f"Bearer {self.token}"}

    def next_line(self, timeout: float = 10) -> str:
        """The next line that it writes to its standard output, after the ready line."""
        return self._lines.get(timeout=timeout) or ""

    def errors(self) -> str:
        """What it wrote to its standard error."""
        # The process shares the position in the file, so that must not be moved.
        return os.pread(self._errors.fileno(), 1024 * 1024, 0).decode(errors="replace")

    def reset(self) -> None:
        """Drop rows, jobs, requests seen, faults, and what was made over HTTP."""
        request = urllib.request.Request(
            f"{self.base_url}/sandbox/reset", method="POST", headers=self.headers, data=b""
        )
        urllib.request.urlopen(request, timeout=30).close()

    def stop(self) -> int:
        """Stop it: asked first, killed after five seconds.

        :return: its exit code.
        """
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        code = self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def _read(self) -> None:
        if self.process.stdout is not None:
            for line in self.process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def __enter__(self) -> SandboxProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
