"""Faults from a file: what goes wrong from the start on, and again after each reset."""

from __future__ import annotations

import json

from airflow_provider_tinybird.sandbox.http.errors import bad_request
from airflow_provider_tinybird.sandbox.http.web import parsed_json
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

_KEYS = {"requests", "jobs"}


def ask_for(box: Sandbox) -> None:
    """Ask for the faults of the file, if there is one.

    It holds ``{"requests": [...], "jobs": [...]}``: what ``POST /sandbox/faults`` and ``POST /sandbox/jobs`` take.

    :raises ApiError: 400, naming what cannot be read.
    """
    if box.options.faults is None:
        return
    given = parsed_json(box.options.faults, "it must be a JSON object with requests and jobs")
    if not isinstance(given, dict) or not given.keys() <= _KEYS:
        raise bad_request(f"it must be a JSON object with keys of {', '.join(sorted(_KEYS))}")
    box.monitor.add(json.dumps(given.get("requests", [])).encode())
    box.jobs.courses.add(json.dumps(given.get("jobs", [])).encode())
