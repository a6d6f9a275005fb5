"""``tinybird-sandbox`` for as long as its parent lives: it ends when its standard input does.

Whoever holds the other end of a pipe can be killed in ways that leave it no time to stop what it started, and the pipe is closed all
the same. This file is run by its path, so that neither the current directory nor this one gets in front of the installed modules.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

_SECONDS_TO_STOP = 15


def main() -> NoReturn:
    """Run the command, with the arguments of this process."""
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from airflow_provider_tinybird.sandbox import cli

    threading.Thread(target=_end_with_input, daemon=True).start()
    cli.main()


def _end_with_input() -> None:
    while os.read(0, 1):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_SECONDS_TO_STOP)
    os._exit(1)


if __name__ == "__main__":
    main()
