"""mcp-tinybird: the calls of its tools."""

from __future__ import annotations

import asyncio
import json
import os

from mcp_tinybird.tb import APIClient


async def main() -> None:
    """Call each, and say what came of it."""
    async with APIClient(os.environ["CONFORMANCE_URL"], os.environ["CONFORMANCE_TOKEN"]) as client:
        calls = {
            "list_data_sources": (lambda: client.list_data_sources(), lambda found: len(found) == 2),
            "get_data_source": (lambda: client.get_data_source("sales"), lambda found: len(found["columns"]) == 3),
            "list_pipes": (lambda: client.list_pipes(), lambda found: len(found) == 2),
            "get_pipe": (lambda: client.get_pipe("shops"), lambda found: found["name"] == "shops"),
            "save_event": (
                lambda: client.save_event("sales", '{"day": "2026-01-01", "shop": "a", "amount": 1}'),
                lambda found: json.loads(found)["successful_rows"] == 1,
            ),
            "run_select_query": (
                lambda: client.run_select_query("SELECT count() AS n FROM sales"),
                lambda found: found["data"] == [{"n": 1}],
            ),
            "get_pipe_data": (lambda: client.get_pipe_data("shops", top=1), lambda found: len(found.data) == 1),
            "explain": (lambda: client.explain("shops"), lambda found: bool(found["query_explain"])),
        }
        for name, (call, is_right) in calls.items():
            try:
                found = await call()
                why = "" if is_right(found) else str(found)[:200]
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
            print(json.dumps({"client": "mcp-tinybird", "did": name, "why": why}), flush=True)


asyncio.run(main())
