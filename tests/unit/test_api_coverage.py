"""docs/api-coverage.md is what scripts/api_coverage.py writes, and nothing is missing in it."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from api_cases import CASES

from airflow_provider_tinybird.api import tokens
from airflow_provider_tinybird.api.call import Call

ROOT = Path(__file__).resolve().parents[2]


def module_of(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"for_coverage_{name}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    return module_of(ROOT / "scripts" / "api_coverage.py", "script")


def test_nothing_is_missing(coverage: ModuleType) -> None:
    assert coverage.problems() == []


def test_the_page_is_up_to_date(coverage: ModuleType) -> None:
    assert coverage.PAGE.read_text() == coverage.page(), "make api-coverage"


def test_a_function_without_a_case_is_told(coverage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgotten() -> Call[None]:
        raise NotImplementedError

    forgotten.__module__ = tokens.__name__
    monkeypatch.setattr(tokens, "forgotten", forgotten, raising=False)
    assert coverage.problems() == ["tokens.forgotten makes a call and has no case in tests/api_cases"]


def test_a_documented_call_that_nothing_sends_is_told(coverage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = coverage.CALLS.read_text()
    with_more = listed.replace('"GET /v0/pipes/",', '"GET /v0/pipes/", "GET /v0/pipes/{name}/nothing",')
    monkeypatch.setattr(coverage, "CALLS", type("Listed", (), {"read_text": lambda _self: with_more})())
    assert coverage.problems() == [
        "OpenAPI description of the API (version v0): no case sends GET /v0/pipes/{name}/nothing"
    ]


def test_a_case_twice_is_told(coverage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = (*CASES, replace(CASES[0]))
    monkeypatch.setattr(coverage, "cases", lambda: twice)
    assert coverage.problems() == [f"two cases have the id {CASES[0].id}"]


def test_a_call_that_the_sandbox_has_not_is_told(coverage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    new = replace(CASES[0], sent="GET /v0/nothing?a=1")
    monkeypatch.setattr(coverage, "cases", lambda: (*CASES, new))
    assert coverage.problems() == [f"the sandbox has no GET /v0/nothing, of {new.name}"]


def test_documents_that_name_other_calls_are_told(coverage: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pipes.txt").write_text("Pipe API\n\nGET /v0/pipes/(.+)/explain\n\nGET /v0/pipes/(.+)/history\n")
    (tmp_path / "guide.txt").write_text(
        "Events API\ncurl 'https://api.tinybird.co/v0/events?name=x'\nhttps://api.tinybird.co/v0/new\n"
    )
    assert coverage.difference(tmp_path) == [
        "guide.txt: not listed: * /v0/new",
        "pipes.txt: not listed: GET /v0/pipes/x/history",
    ]


def test_each_case_is_sent_over_http() -> None:
    over_http = module_of(ROOT / "tests" / "sandbox" / "test_api.py", "over_http").test_over_http
    (parameters,) = [mark.args[1] for mark in over_http.pytestmark if mark.name == "parametrize"]
    assert [case for kind, case in parameters if kind == "sync"] == list(CASES)
