"""What every call says of itself: method and path, scope, each argument."""

from __future__ import annotations

import inspect
import re
import sys

import pytest
from api_cases import CASES, Case


def docstring(case: Case) -> str:
    return " ".join((inspect.getdoc(case.function) or "").split())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_method_and_path(case: Case) -> None:
    method, _, target = case.sent.partition(" ")
    paths = re.findall(r"/v\d/[^\s`?]*", docstring(case))
    patterns = [re.sub(r"\\{\w+\\}", r"[^/]+", re.escape(path.rstrip("."))) for path in paths]
    assert any(re.fullmatch(pattern, target.partition("?")[0]) for pattern in patterns), docstring(case)
    assert f"``{method}" in docstring(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_scope_and_arguments(case: Case) -> None:
    text = docstring(case)
    assert re.search(r"[Ss]copes?\b", text + (sys.modules[case.function.__module__].__doc__ or ""))
    arguments = () if "are those of" in text else inspect.signature(case.function).parameters
    assert [name for name in arguments if f":param {name}:" not in text] == []
