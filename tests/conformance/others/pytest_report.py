"""pytest-tinybird: the results of a run of pytest are rows afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

Path("test_two.py").write_text("def test_good():\n    pass\n\n\ndef test_bad():\n    assert False\n")
url, token = os.environ["CONFORMANCE_URL"], os.environ["CONFORMANCE_TOKEN"]
settings = {"TINYBIRD_URL": url, "TINYBIRD_TOKEN": token, "TINYBIRD_DATASOURCE": "results", "TINYBIRD_WAIT": "true"}
command = [sys.executable, "-m", "pytest", "-q", "--report-to-tinybird", "test_two.py"]
done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
sql = "SELECT+count()+AS+n+FROM+results+FORMAT+JSON"
try:
    with urllib.request.urlopen(f"{url}/v0/sql?q={sql}&token={token}") as answer:
        found = json.load(answer)["data"]
    why = "" if found[0]["n"] >= 2 else str(found)  # each test is reported by its phases
except OSError as error:
    why = f"{error}: {done.stdout[-300:]} {done.stderr[-300:]}"
print(json.dumps({"client": "pytest-tinybird", "did": "report of a run", "why": why}), flush=True)
