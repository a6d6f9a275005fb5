"""How the task's log says things."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.api import wording


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (2.46, "2.5 s"),
        (59.9, "59.9 s"),
        (60, "1 min 0 s"),
        (200.4, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_lengths_of_time(seconds, said):
    assert wording.duration(seconds) == said


@pytest.mark.parametrize(("number", "said"), [(0, "0 rows"), (1, "1 row"), (27004, "27,004 rows")])
def test_rows(number, said):
    assert wording.rows(number) == said


def test_what_is_left_at_its_default_is_not_told():
    given = {
        "mode": None,
        "condition": "",
        "parameters": {},
        "lightweight": False,
        "share": 0.5,
        "days": [1, 2],
        "n": 0,
    }
    assert wording.details(given) == " (share=0.5, days=[1, 2], n=0)"
    assert wording.details({"mode": None}) == ""


def test_secrets_and_lines_and_length():
    signed = "https://bucket.example/a.csv?X-Amz-Signature=secret"
    assert wording.details({"url": signed}) == " (url='https://bucket.example/a.csv?***')"
    assert (
        wording.details({"parameters": {"source": signed}})
        == " (parameters={'source': 'https://bucket.example/a.csv?***'})"
    )
    assert wording.value("SELECT 1\n  FROM x") == "'SELECT 1 FROM x'"
    told = wording.value("x" * 10_000)
    assert len(told) < 600
    assert told.endswith("characters more)'")
