"""``tinybird-sandbox``: a local server that speaks Tinybird's API over a real ClickHouse engine."""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

HOST = "127.0.0.1"
DEFAULT_PORT = 7181
# The file of a data directory that its user has locked.
LOCK = "lock"
_TEMPORARY = "tinybird-sandbox-"
_STARTING_SECONDS = 60
_NEEDED = ("chdb", "starlette", "uvicorn")
# Clients keep connections for later requests; a server that closes them earlier makes a request fail now and then.
_KEEP_ALIVE_SECONDS = 75


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command.

    :param arguments: the command line, without the name of the command.
    """
    options = _parser().parse_args(arguments)
    # uvicorn raises a signal again once it has stopped, and its default action would skip what comes after.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    temporary: Path | None = None
    status = 1
    try:
        listener = _listen(options.port)
        _check_installed()
        data: Path = options.data or (temporary := _temporary_directory())
        _serve(options, listener, data)
        status = 0
    except KeyboardInterrupt:
        status = 0
    except RefusedError as error:
        print(f"tinybird-sandbox: {error}", file=sys.stderr)
        status = 2
    except Exception:
        traceback.print_exc()
    if temporary:
        shutil.rmtree(temporary, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    # The engine can crash the interpreter while that takes down its threads and modules; everything is closed already.
    os._exit(status)


def _temporary_directory() -> Path:
    """A directory for the data, after removing those whose sandbox was killed: it had no time to do that itself."""
    folder = Path(tempfile.gettempdir())
    for left in folder.glob(f"{_TEMPORARY}*/{LOCK}"):
        with suppress(OSError), left.open("r+") as lock:  # in use, or gone in between
            found = os.fstat(lock.fileno())
            # One that is just starting has the file, and not yet the lock.
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > _STARTING_SECONDS:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left.parent, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_TEMPORARY))


class RefusedError(Exception):
    """Why the sandbox cannot start, in one line."""


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise RefusedError(f"{', '.join(missing)} is not installed: pip install 'airflow-provider-tinybird[sandbox]'")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tinybird-sandbox", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"port on {HOST}; 0 takes a free one (default: {DEFAULT_PORT})"
    )
    parser.add_argument("--project", type=Path, metavar="DIR", help="load the .datasource and .pipe files below DIR")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="keep data in DIR (default: a directory that is removed at exit)"
    )
    parser.add_argument(
        "--files", type=Path, metavar="DIR", help="serve the files of DIR at /files/<name>, for imports by URL"
    )
    parser.add_argument(
        "--job-delay", type=float, default=0.0, metavar="SECONDS", help="let each job wait, and work, that much longer"
    )
    _add_limits(parser)
    parser.add_argument(
        "--faults",
        type=Path,
        metavar="FILE",
        help='what goes wrong from the start on, as JSON: {"requests": [...], "jobs": [...]}',
    )
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Add what the service, or a plan, limits."""
    parser.add_argument(
        "--max-copies",
        type=int,
        metavar="N",
        help="copies that may run at once, as a plan allows (default: any number)",
    )
    parser.add_argument(
        "--forward", action="store_true", help="behave like a Forward workspace: create nothing over HTTP"
    )
    parser.add_argument(
        "--max-events-bytes", type=int, default=10_000_000, metavar="BYTES", help="largest body of the Events API"
    )
    parser.add_argument(
        "--max-import-bytes", type=int, default=10 * 1000**3, metavar="BYTES", help="largest body or file of an import"
    )
    parser.add_argument(
        "--query-timeout", type=_seconds, default=10.0, metavar="SECONDS", help="time limit of a query (default: 10)"
    )
    parser.add_argument(
        "--url-timeout", type=_seconds, default=60.0, metavar="SECONDS", help="time limit to read a URL (default: 60)"
    )
    parser.add_argument(
        "--events-per-second",
        type=_calls,
        metavar="N",
        help="requests to the Events API for each data source, then 429; Tinybird documents 100 (default: any number)",
    )
    parser.add_argument(
        "--imports-per-minute",
        type=_calls,
        metavar="N",
        help="creates, appends and replaces together, then 429; Tinybird documents 5 (default: any number)",
    )
    parser.add_argument(
        "--no-deduplication",
        action="store_true",
        help="keep rows that equal a block inserted before; without it they are dropped, as replicated tables do",
    )
    parser.add_argument(
        "--require-content-length",
        action="store_true",
        help="answer 411 to a body that comes in chunks, as a proxy in front of Tinybird may (default: take it)",
    )


def _calls(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return value


def _read(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise RefusedError(f"the file of faults cannot be read: {path}: {error.strerror}") from None


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text}")
    return value


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        raise RefusedError(
            f"port {port} cannot be used: {error.strerror}; choose another with --port, or a free one with --port 0"
        ) from None
    except OverflowError:
        raise RefusedError(f"port {port} cannot be used: give a number from 0 to 65535") from None
    return listener


def _serve(options: argparse.Namespace, listener: socket.socket, data: Path) -> None:
    import uvicorn

    from airflow_provider_tinybird.sandbox.app import make_app
    from airflow_provider_tinybird.sandbox.http.faults import Protocol

    box = _open(options, data)
    try:
        if options.project:
            _load(box, options.project)
        _ask_for_faults(box, options.faults)
        config = uvicorn.Config(
            make_app(box),
            http=Protocol,
            proxy_headers=False,
            # By it a client can tell the sandbox from Tinybird Local, which listens on the same port.
            server_header=False,
            headers=[("Server", "tinybird-sandbox")],
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=2,
        )
        _announce(box, listener.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        box.close()


def _open(options: argparse.Namespace, data: Path) -> Sandbox:
    from airflow_provider_tinybird.sandbox.http.errors import EngineError
    from airflow_provider_tinybird.sandbox.workspace.sandbox import Options, Sandbox

    settings = Options(
        data=data.resolve(),
        files=options.files.resolve() if options.files else None,
        job_delay=options.job_delay,
        max_copies=options.max_copies,
        forward=options.forward,
        max_events_bytes=options.max_events_bytes,
        max_import_bytes=options.max_import_bytes,
        query_timeout=options.query_timeout,
        url_timeout=options.url_timeout,
        events_per_second=options.events_per_second,
        imports_per_minute=options.imports_per_minute,
        deduplicate=not options.no_deduplication,
        require_content_length=options.require_content_length,
        faults=_read(options.faults),
    )
    try:
        return Sandbox(settings)
    except (EngineError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RefusedError(
            f"the data directory {data} cannot be opened; is another sandbox using it? {reason}"
        ) from None


def _load(box: Sandbox, project: Path) -> None:
    from airflow_provider_tinybird.sandbox.datafiles.datafile import DatafileError
    from airflow_provider_tinybird.sandbox.workspace.project import load

    try:
        load(box, project)
    except DatafileError as error:
        raise RefusedError(" ".join(str(error).split())) from None


def _ask_for_faults(box: Sandbox, file: Path | None) -> None:
    from airflow_provider_tinybird.sandbox.http.errors import ApiError
    from airflow_provider_tinybird.sandbox.workspace.faults_file import ask_for

    try:
        ask_for(box)
    except ApiError as error:
        raise RefusedError(f"{file}: {error.text}") from None


def _announce(box: Sandbox, port: int) -> None:
    # The listener queues connections from here on, so a reader of the line can connect.
    print(f"Tinybird sandbox is ready: http://{HOST}:{port}", flush=True)
    datasources, pipes = len(box.workspace.datasources), len(box.workspace.pipes)
    print(
        f"{datasources} data source{'s' * (datasources != 1)}, {pipes} pipe{'s' * (pipes != 1)}."
        f" Airflow connection: type tinybird, host http://{HOST}:{port},"
        f" password: the workspace_admin_token of http://{HOST}:{port}/tokens",
        flush=True,
    )
    print(f"Look at it: http://{HOST}:{port}/sandbox", flush=True)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
