"""What a piece of work costs a process: seconds, processor seconds, and memory on top of what was there before.

Linux only: the kernel's mark of the highest memory is set back first, so that making the data does not count.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

_PROCESS = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class Cost:
    """What it cost.

    :param seconds: by the clock on the wall.
    :param cpu_seconds: of all threads of the process.
    :param peak_mb: highest memory, less that before the work.
    :param rows: rows that went through.
    :param megabytes: bytes that came out, in units of 1e6.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    rows: int
    megabytes: float


def cost_of(work: Callable[[], int], rows: int) -> Cost:
    """Do it once.

    :param work: returns how many bytes came out.
    """
    gc.collect()
    (_PROCESS / "clear_refs").write_text("5")  # sets the mark of the highest memory back
    before = _resident("VmRSS")
    cpu, began = time.process_time(), time.perf_counter()
    size = work()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    return Cost(seconds, cpu_seconds, _resident("VmHWM") - before, rows, size / 1e6)


def print_cost(cost: Cost) -> None:
    """Hand it to the process that started this one."""
    print(json.dumps(asdict(cost)), flush=True)
    os._exit(0)  # threads of libraries that were measured may hang on


def _resident(name: str) -> float:
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"the kernel does not say {name}")
