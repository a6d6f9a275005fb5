"""The first page that a newcomer follows works as it stands: its commands are run one after the other."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = (ROOT / "docs" / "start.md").read_text().partition("## From a clone")[0]
INSTALL = "pip install"
OTHER_WORKSPACE = "YOUR-TOKEN"


def commands() -> list[str]:
    """The blocks of commands; that of the DAG writes its file."""
    found = re.findall(r'^```(bash|python title="dags/first.py")\n(.*?)^```$', START, re.DOTALL | re.MULTILINE)
    return [
        text if kind == "bash" else f"cat > dags/first.py <<'END'\n{text}END\n"
        for kind, text in found
        if INSTALL not in text and OTHER_WORKSPACE not in text
    ]


def test_its_commands_end_with_the_rows(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    blocks = commands()
    assert len(blocks) == 4
    script = "\n".join(["set -e", "trap 'kill %1' EXIT", *blocks]).replace("7181", str(port))
    script = script.replace("--project project &", f"--project project --port {port} > sandbox.log 2>&1 &\n{WAIT}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=tmp_path,
        env={**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-2:] == ['"2026-01-01","Lyon",12.5', '"2026-01-01","Turin",30']


WAIT = "for _ in $(seq 300); do grep -q 'is ready' sandbox.log && break; sleep 0.1; done"
"""Whoever types the commands is slower than the sandbox."""
