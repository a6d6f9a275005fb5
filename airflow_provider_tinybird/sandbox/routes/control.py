"""``/sandbox/...``: what only the sandbox has. Without a token, since it listens on this machine only."""

from __future__ import annotations

import shutil

from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal
from airflow_provider_tinybird.sandbox.engine.engine import DATABASE
from airflow_provider_tinybird.sandbox.engine.tables import qualified
from airflow_provider_tinybird.sandbox.http import clock
from airflow_provider_tinybird.sandbox.http.errors import bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer, number, parsed_json
from airflow_provider_tinybird.sandbox.routes import imports
from airflow_provider_tinybird.sandbox.workspace import faults_file, project
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox


def add_faults(box: Sandbox, call: Call) -> Answer:
    """``POST /sandbox/faults``."""
    return json_answer({"faults": box.monitor.add(call.body.content())})


def clear_faults(box: Sandbox, _call: Call) -> Answer:
    """``DELETE /sandbox/faults``."""
    box.monitor.clear_faults()
    return json_answer({"faults": 0})


def plan_jobs(box: Sandbox, call: Call) -> Answer:
    """``POST /sandbox/jobs``: the course of the next jobs of a pipe or a data source."""
    return json_answer({"courses": box.jobs.courses.add(call.body.content())})


def release_jobs(box: Sandbox, call: Call) -> Answer:
    """``DELETE /sandbox/jobs``: held jobs go on; with ``name=``, those of a pipe or a data source."""
    box.jobs.courses.release(call.params().get("name"))
    return json_answer({"ok": True})


def add_rows(box: Sandbox, call: Call) -> Answer:
    """``POST /sandbox/rows``: NDJSON into the data source ``name``, also rows that were inserted before."""
    return imports.append_rows(box, call)


def list_requests(box: Sandbox, _call: Call) -> Answer:
    """``GET /sandbox/requests``: requests since the start or the last reset, oldest first."""
    return json_answer({"requests": box.monitor.seen()})


def show_clock(_box: Sandbox, _call: Call) -> Answer:
    """``GET /sandbox/clock``."""
    return json_answer(clock.shown())


def set_clock(_box: Sandbox, call: Call) -> Answer:
    """``POST /sandbox/clock``: ``advance`` puts the clock forward by seconds; ``stopped`` holds the windows of the rate limits."""
    given = parsed_json(call.body.content(), "the body must be a JSON object with advance or stopped")
    if not isinstance(given, dict) or not given or not given.keys() <= {"advance", "stopped"}:
        raise bad_request(f"the body must be a JSON object with advance or stopped, not {given!r}")
    if given.get("stopped", True) is not True:
        raise bad_request("'stopped' must be true; DELETE /sandbox/clock lets the clock run again")
    if "stopped" in given:
        clock.stop()
    clock.advance(number(given.get("advance", 0), "'advance'"))
    return json_answer(clock.shown())


def reset_clock(_box: Sandbox, _call: Call) -> Answer:
    """``DELETE /sandbox/clock``: the time of the machine."""
    clock.reset()
    return json_answer(clock.shown())


def reset(box: Sandbox, _call: Call) -> Answer:
    """``POST /sandbox/reset``: as after the start, with the project loaded."""
    box.jobs.clear()
    for path in box.spool.iterdir():  # of imports that failed, kept for a retry
        path.unlink(missing_ok=True)
    project.reset(box)
    for row in box.engine.rows(
        # Without rows too: a table remembers the blocks of rows that were deleted, until it is truncated.
        f"SELECT name FROM system.tables WHERE database = {literal(DATABASE)} AND engine != 'MaterializedView'"  # noqa: S608
        " AND (total_rows > 0 OR engine LIKE '%MergeTree')"
    ):
        with box.engine.locked(row["name"]):
            box.engine.run(f"TRUNCATE TABLE IF EXISTS {qualified(row['name'])}")
    # Those of jobs that failed, which could have been retried.
    for path in box.spool.iterdir():
        path.unlink(missing_ok=True)
    shutil.rmtree(box.sinks, ignore_errors=True)
    box.paused.clear()
    for named in (box.workspace_names, box.branches, box.tags):
        named.clear()
    box.log.clear()
    clock.reset()
    for limit in (box.events_limit, box.imports_limit):
        limit.clear()
    box.monitor.clear()
    faults_file.ask_for(box)
    return json_answer({"ok": True})
