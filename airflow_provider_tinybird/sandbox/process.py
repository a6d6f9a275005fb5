"""The sandbox as a process of its own: started on a free port, stopped for sure."""

from __future__ import annotations

import http.client
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlencode, urlsplit

from airflow_provider_tinybird.sandbox import UNSEEN_HEADER

READY = "Tinybird sandbox is ready: "
_PROGRAM = Path(__file__).with_name("attached.py")
_SECONDS_TO_STOP = 5
_ANSWER_TIMEOUT = 60


class SandboxError(RuntimeError):
    """The sandbox refused something; the text is its reason."""


class SandboxStartError(SandboxError):
    """The sandbox did not start; the text is what it wrote."""


class SandboxProcess:
    """A running ``tinybird-sandbox``; a context manager.

    It is executed, never forked: the engine inside hangs in a forked child. It ends with the process that started it, however that
    ends, and is out of reach of the Ctrl-C that is meant for that one.

    :param options: further options of the command line, such as ``"--project", path``.
    :param environment: variables beyond those of this process.
    :param start_timeout: seconds until it must be ready.
    :raises SandboxStartError: it did not start: something is not installed, a file of the project is wrong, ...
    """

    def __init__(
        self, *options: str | Path, environment: Mapping[str, str] | None = None, start_timeout: float = 60
    ) -> None:
        self._owner = os.getpid()
        self.token = ""
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self.process = subprocess.Popen(  # noqa: S603 - this interpreter and a file of this package
            [sys.executable, "-P", str(_PROGRAM), "--port", "0", *map(str, options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.base_url = self._wait_until_ready(start_timeout)
            self.token = self.request("GET", "/tokens")["workspace_admin_token"]
        except BaseException:  # Ctrl-C too
            self.stop()
            raise

    def _wait_until_ready(self, timeout: float) -> str:
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise SandboxStartError(
                f"tinybird-sandbox is not ready after {timeout:g} seconds\n{self.errors()}"
            ) from None
        if line is None or not line.startswith(READY):
            self.stop()  # so that it has written everything
            raise SandboxStartError(self.errors().strip() or f"tinybird-sandbox did not start, and wrote {line!r}")
        return line.removeprefix(READY).strip()

    @property
    def headers(self) -> dict[str, str]:
        """Headers that carry the token."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | Sequence[str]] | None = None,
        *,
        body: bytes | None = None,
        content_type: str | None = None,
    ) -> Any:
        """Send a request that meets no fault and is not recorded.

        :param path: such as ``/v0/jobs``.
        :param params: of the query string; one with several values is repeated.
        :return: the JSON of the answer.
        :raises SandboxError: the answer is an error.
        """
        # The standard library's client, which asks no proxy of the environment: this stays on this machine.
        connection = http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=_ANSWER_TIMEOUT)
        headers = {UNSEEN_HEADER: "1", **(self.headers if self.token else {})}
        if content_type:
            headers["Content-Type"] = content_type
        try:
            connection.request(
                method, f"{path}?{urlencode(params, doseq=True)}" if params else path, body or b"", headers
            )
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise SandboxError(f"the sandbox does not answer to {method} {path}: {error}\n{self.errors()}") from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise SandboxError(f"{method} {path}: {answer.status}: {_reason(text)}")
        return json.loads(text)

    def next_line(self, timeout: float = 10) -> str:
        """The next line that it writes to its standard output, after the ready line."""
        return self._lines.get(timeout=timeout) or ""

    def errors(self) -> str:
        """What it wrote to its standard error."""
        # The process shares the position in the file, so that must not be moved.
        return os.pread(self._errors.fileno(), 1024 * 1024, 0).decode(errors="replace")

    def reset(self) -> None:
        """Drop rows, jobs, requests seen, faults, and what was made over HTTP."""
        self.request("POST", "/sandbox/reset")

    def stop(self) -> int | None:
        """Stop it: asked first, killed after five seconds.

        :return: its exit code; None in a process that was forked off its owner, where this does nothing.
        """
        if os.getpid() != self._owner:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                self.process.kill()
        code = self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def _read(self) -> None:
        if self.process.stdout is not None:
            for line in self.process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _reason(text: bytes) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, LookupError, TypeError):
        return text.decode(errors="replace")
