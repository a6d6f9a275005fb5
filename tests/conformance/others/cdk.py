"""tinybird_cdk: how its connectors load, and what is there afterwards."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tinybird_cdk import formats
from tinybird_cdk.tinybird import Client

URL = os.environ["CONFORMANCE_URL"]
os.environ["TB_CDK_TAG"] = "conformance"
FILES = Path(os.environ["CONFORMANCE_FILES"])
client = Client(os.environ["CONFORMANCE_TOKEN"], "test", URL)
Client.JOB_POLL_PERIOD_S = 0.1
ROWS = (FILES / "sales.ndjson").read_bytes()


def count() -> int:
    """Rows in the data source."""
    answer = client.client.get(f"{URL}/v0/sql", params={"q": "SELECT count() AS n FROM sales FORMAT JSON"})
    return int(answer.json()["data"][0]["n"])


STEPS = (
    ("append_data", lambda: client.append_data(ROWS, "sales", formats.NDJSON), 3000),
    ("append_file", lambda: client.append_file(str(FILES / "sales.ndjson"), "sales", formats.NDJSON), 6000),
    ("append_url", lambda: client.append_url(f"{URL}/files/sales.ndjson", "sales", formats.NDJSON), 9000),
    (
        "replace_file with a condition",
        lambda: client.replace_file(str(FILES / "shop_a.ndjson"), "sales", formats.NDJSON, "shop = 'a'"),
        6100,
    ),
    ("replace_data", lambda: client.replace_data(ROWS, "sales", formats.NDJSON), 3000),
    ("replace_url", lambda: client.replace_url(f"{URL}/files/shop_a.ndjson", "sales", formats.NDJSON), 100),
    ("append_event", lambda: client.append_event(ROWS.splitlines()[0], "sales"), 101),
    ("truncate", lambda: client.truncate("sales"), 0),
)
for name, run, rows in STEPS:
    try:
        run()
        found = count()
        why = "" if found == rows else f"{found} rows, expected {rows}"
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    print(json.dumps({"client": "tinybird_cdk", "did": name, "why": why}), flush=True)
