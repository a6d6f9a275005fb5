"""``@task.tinybird_events``: rows go from a function to the data source, and nothing but the result into XCom."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from airflow_provider_tinybird._compat import AirflowFailException, AirflowSkipException
from airflow_provider_tinybird.decorators.events import TinybirdEventsDecoratedOperator
from airflow_provider_tinybird.policies.deletes import EmptyLoadError

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models import DAG

EVENTS = "POST /v0/events"


def accept(request: Any) -> dict[str, int]:
    return {"successful_rows": request.body.count(b"\n"), "quarantined_rows": 0}


@pytest.fixture
def dag():
    with DAG("d", schedule=None, start_date=datetime(2024, 1, 1)) as dag:
        yield dag


def test_what_a_function_returns(dag, tinybird):
    @task.tinybird_events(datasource="flights")
    def rows(count: int) -> Any:
        return [{"n": number} for number in range(count)]

    made = rows(3).operator
    assert isinstance(made, TinybirdEventsDecoratedOperator)
    tinybird.on(EVENTS, accept)
    result = made.execute({})
    assert tinybird.only.body == b'{"n":0}\n{"n":1}\n{"n":2}\n'
    assert result == {"successful_rows": 3, "quarantined_rows": 0, "batches": 1, "bytes": 24, "skipped_rows": 0}
    assert (made.task_id, made.datasource) == ("rows", "flights")


def test_what_it_yields(dag, tinybird):
    import pandas as pd

    @task.tinybird_events(datasource="flights", max_in_flight=1)
    def rows() -> Any:
        yield pd.DataFrame({"n": [1, 2]})
        yield {"n": 3}

    tinybird.on(EVENTS, accept)
    assert rows().operator.execute({})["successful_rows"] == 3
    assert tinybird.only.body == b'{"n":1}\n{"n":2}\n{"n":3}\n'


def test_it_is_given_its_arguments_and_the_context(dag, tinybird):
    @task.tinybird_events(datasource="flights")
    def rows(first: int, *, second: int, ds: str | None = None) -> Any:
        return [{"first": first, "second": second, "ds": ds}]

    tinybird.on(EVENTS, accept)
    rows(1, second=2).operator.execute({"ds": "2024-01-01"})
    assert tinybird.only.body == b'{"first":1,"second":2,"ds":"2024-01-01"}\n'


def test_other_arguments_of_the_task(dag, tinybird):
    @task.tinybird_events(datasource="flights", wait=False)
    def rows() -> Any:
        return [{"n": 1}]

    tinybird.on(EVENTS, (202, {"successful_rows": 1, "quarantined_rows": 0}))
    other = rows.override(task_id="other", datasource="trains", compression="gzip")().operator
    other.execute({})
    assert other.task_id == "other"
    assert tinybird.only.query == {"name": "trains", "wait": "false"}
    assert tinybird.only.headers["content-encoding"] == "gzip"


def test_mapped(dag):
    @task.tinybird_events(datasource="flights", max_in_flight=2)
    def rows(count: int) -> Any:
        return [{"n": count}]

    mapped = rows.expand(count=[1, 2, 3]).operator
    assert mapped.operator_class is TinybirdEventsDecoratedOperator
    assert {name: mapped.partial_kwargs[name] for name in ("datasource", "max_in_flight")} == {
        "datasource": "flights",
        "max_in_flight": 2,
    }


def test_a_function_that_returns_nothing(dag, tinybird):
    @task.tinybird_events(datasource="flights")
    def rows() -> None:
        return None

    with pytest.raises(AirflowFailException, match="has to return it"):
        rows().operator.execute({})
    assert tinybird.requests == []


def test_data_is_no_template():
    fields = TinybirdEventsDecoratedOperator.template_fields
    assert {"op_args", "op_kwargs", "datasource", "tinybird_conn_id"} <= set(fields)
    assert "data" not in fields


def test_its_arguments_keep_their_types_where_rendering_is_native(tinybird):
    with DAG("d", schedule=None, start_date=datetime(2024, 1, 1), render_template_as_native_obj=True):

        @task.tinybird_events(datasource="flights")
        def rows(version: str, file: str, number: int) -> Any:
            return [{"version": version, "file": file, "number": number}]

        made = rows("1.10", file="report.sql", number="{{ n }}").operator
    tinybird.on(EVENTS, accept)
    made.render_template_fields({"n": 3})
    made.execute({})
    assert tinybird.only.body == b'{"version":"1.10","file":"report.sql","number":3}\n'


@pytest.mark.parametrize(("choice", "error"), [("skip", AirflowSkipException), ("fail", EmptyLoadError)])
def test_without_rows_it_does_what_it_is_told(dag, tinybird, choice, error):
    @task.tinybird_events(datasource="flights", on_empty=choice, min_rows=2)
    def rows() -> Any:
        yield from ()

    with pytest.raises(error, match="There are no rows for data source 'flights'"):
        rows().operator.execute({})
    assert tinybird.requests == []


def test_it_says_that_nothing_was_sent_before_an_error_of_its_own(dag, tinybird):
    @task.tinybird_events(datasource="flights")
    def rows() -> Any:
        raise KeyError("day")
        yield

    with pytest.raises(KeyError) as caught:
        rows().operator.execute({})
    assert caught.value.__notes__ == ["Nothing was sent to 'flights'."]
