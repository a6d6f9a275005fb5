"""Rows of one length, and an answer for each body of them."""

from __future__ import annotations

import json
from typing import Any

EVENTS = "POST /v0/events"
ROW = len('{"n":0}\n')


def rows(count: int) -> list[dict[str, int]]:
    return [{"n": number} for number in range(count)]


def numbers(body: bytes) -> list[int]:
    """The rows in a body."""
    return [json.loads(line)["n"] for line in body.splitlines()]


def accept(request: Any) -> dict[str, int]:
    """Answer that all rows of a request are in."""
    return {"successful_rows": request.body.count(b"\n"), "quarantined_rows": 0}


def two_digits(count: int) -> list[dict[str, int]]:
    """Up to 90 rows, each of ``ROW`` + 1 bytes."""
    return [{"n": number} for number in range(10, 10 + count)]
