"""Analyze API: which schema would fit a file."""

from __future__ import annotations

from airflow_provider_tinybird.api.body import Body, FileBody, MultipartBody
from airflow_provider_tinybird.api.call import Call, Repeat, Reply
from airflow_provider_tinybird.api.encoding import pairs
from airflow_provider_tinybird.api.imports import checked_url
from airflow_provider_tinybird.api.resources import Analysis

_TIMEOUT = 120.0


def analyze_file(file: FileBody, *, file_name: str) -> Call[Analysis]:
    """Analyze a file, sent as multipart field ``file``. ``POST /v0/analyze``. Scope: ``DATASOURCES:CREATE``.

    :param file: the file.
    :param file_name: its name, which the form carries.
    """
    return _analyze(MultipartBody("file", file_name, file), None)


def analyze_body(body: Body) -> Call[Analysis]:
    """Analyze a raw body: the first megabyte of CSV or NDJSON will do, Parquet is sent whole. ``POST /v0/analyze``.

    Scope: ``DATASOURCES:CREATE``.

    :param body: the bytes, with their type.
    """
    return _analyze(body, None)


def analyze_url(url: str) -> Call[Analysis]:
    """Analyze what is behind an address. ``POST /v0/analyze?url=``. Scope: ``DATASOURCES:CREATE``.

    :param url: it travels in the query string, which ends up in access logs: no place for a presigned one.
    """
    return _analyze(None, checked_url(url))


def _analyze(body: Body | None, url: str | None) -> Call[Analysis]:
    return Call(
        what="analyze a file",
        method="POST",
        path="/v0/analyze",
        params=pairs({"url": url}),
        body=body,
        read=_analysis,
        repeat=Repeat.READ,
        scope="DATASOURCES:CREATE",
        min_timeout=_TIMEOUT,
    )


def _analysis(reply: Reply) -> Analysis:
    body = reply.json_object()
    analysis = body["analysis"]
    return Analysis(
        schema=str(analysis["schema"]),
        columns=tuple(analysis.get("columns") or ()),
        preview=body.get("preview") or {},
        dialect=body.get("dialect") or {},
    )
