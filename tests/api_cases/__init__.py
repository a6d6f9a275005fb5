"""Every function of ``api`` that makes a call: what it sends, byte by byte, and how it is tried over HTTP.

The tests go through these, and so does ``scripts/api_coverage.py``: a function without a case fails both.
"""

from __future__ import annotations

from api_cases import datasources, jobs, pipes, queries, rows, tokens, workspaces
from api_cases.case import Case

__all__ = ["CASES", "Case"]

CASES: tuple[Case, ...] = (
    *datasources.CASES,
    *rows.CASES,
    *jobs.CASES,
    *queries.CASES,
    *pipes.CASES,
    *tokens.CASES,
    *workspaces.CASES,
)
