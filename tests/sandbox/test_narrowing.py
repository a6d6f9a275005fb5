"""Values that a column would change without a word: refused by everything that loads, before a row is in, or allowed."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sandbox_process import SandboxProcess

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.decorators.events import TinybirdEventsDecoratedOperator
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.loads import OnNarrowing, file_gate
from airflow_provider_tinybird.loads.files.upload import upload
from airflow_provider_tinybird.operators.datasources import TinybirdAppendFileOperator
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator, TinybirdReplaceIntervalOperator

AT = dt.datetime(2024, 1, 1, 12)
FAR = dt.datetime(9999, 12, 31)
SCHEMA = """SCHEMA >
    `day` Date `json:$.day`,
    `v` DateTime `json:$.v`,
    `price` Nullable(Decimal(9, 2)) `json:$.price`,
    `valid_to` Nullable(DateTime64(3)) `json:$.valid_to`

ENGINE MergeTree
ENGINE_SORTING_KEY day
ENGINE_PARTITION_KEY toYYYYMM(day)
"""


class Box:
    def __init__(self, server: SandboxProcess) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30)

    def count(self) -> int:
        return int(self.http.post("/v0/sql", content="SELECT count() AS n FROM t FORMAT JSON").json()["data"][0]["n"])

    def stored(self, column: str) -> list[str]:
        sql = f"SELECT toString({column}) AS c FROM t ORDER BY c FORMAT JSON"
        return [row["c"] for row in self.http.post("/v0/sql", content=sql).json()["data"]]

    def lookups(self) -> int:
        seen = self.http.get("/sandbox/requests").json()["requests"]
        return sum(one["method"] == "GET" and one["path"].endswith("/v0/datasources/t") for one in seen)

    def writes(self) -> list[str]:
        seen = self.http.get("/sandbox/requests").json()["requests"]
        return [
            one["path"]
            for one in seen
            if one["method"] == "POST" and one["path"].startswith(("/v0/events", "/v0/datasources"))
        ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    project = tmp_path_factory.mktemp("project")
    (project / "datasources").mkdir()
    (project / "datasources" / "t.datasource").write_text(SCHEMA)
    with SandboxProcess("--project", project, "--no-deduplication") as server:
        yield server


@pytest.fixture
def box(server: SandboxProcess, connection: Callable[..., None]) -> Iterator[Box]:
    server.reset()
    connection(server.base_url, server.token)
    box = Box(server)
    yield box
    box.http.close()


def frame(*times: dt.datetime, rows: int = 1) -> pd.DataFrame:
    return pd.DataFrame({"day": [dt.date(2024, 1, 1)] * rows * len(times), "v": list(times) * rows})


def run(cls: type[Any], **arguments: Any) -> Any:
    arguments = {"task_id": "t", "datasource": "t", **arguments}
    if issubclass(cls, (TinybirdLoadOperator, TinybirdReplaceIntervalOperator, TinybirdAppendFileOperator)):
        arguments.setdefault("poll_interval", 0.05)
    return cls(**arguments).execute({})


def parquet(folder: Path, *times: dt.datetime) -> str:
    path = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(frame(*times), preserve_index=False), path)
    return str(path)


INTERVAL = {"column": "day", "start": dt.datetime(2024, 1, 1), "end": dt.datetime(2024, 1, 2)}
WAYS: dict[str, Callable[[Path, Any], Any]] = {
    "events": lambda _, more: run(TinybirdEventsOperator, data=frame(AT, FAR), **more),
    "events from a generator": lambda _, more: run(TinybirdEventsOperator, data=lambda: iter([frame(AT, FAR)]), **more),
    "events, exactly once": lambda _, more: run(TinybirdEventsOperator, data=frame(AT, FAR).to_dict("records"), **more),
    "decorated": lambda _, more: run(TinybirdEventsDecoratedOperator, python_callable=lambda: frame(AT, FAR), **more),
    "load as events": lambda _, more: run(TinybirdLoadOperator, data=frame(AT, FAR), **more),
    "load as files": lambda _, more: run(TinybirdLoadOperator, data=frame(AT, FAR), via="files", **more),
    "replace by files": lambda _, more: run(TinybirdLoadOperator, data=frame(AT, FAR), mode="replace", **more),
    "load of a generator": lambda _, more: run(
        TinybirdLoadOperator, data=lambda: iter([frame(AT, FAR)]), via="files", **more
    ),
    "interval": lambda _, more: run(TinybirdReplaceIntervalOperator, data=frame(AT, FAR), **INTERVAL, **more),
    "interval of a file": lambda tmp, more: run(
        TinybirdReplaceIntervalOperator, path=parquet(tmp, AT, FAR), **INTERVAL, **more
    ),
    "Parquet file": lambda tmp, more: run(TinybirdAppendFileOperator, path=parquet(tmp, AT, FAR), **more),
}


@pytest.mark.parametrize("way", WAYS)
def test_refused_with_column_row_and_value_before_anything_is_sent(box, tmp_path, way):
    with pytest.raises(
        AirflowFailException, match=r"(?s)Nothing was sent.*column 'v', row 1: 9999-12-31.*on_narrowing='allow'"
    ):
        WAYS[way](tmp_path, {})
    assert (box.count(), box.writes()) == (0, [])


@pytest.mark.parametrize("way", WAYS)
def test_allowed_it_is_changed_as_the_user_said(box, tmp_path, way):
    WAYS[way](tmp_path, {"on_narrowing": "allow"})
    assert box.count() == 2
    assert "9999" not in "".join(box.stored("v"))


@pytest.mark.parametrize("cls", [TinybirdEventsOperator, TinybirdLoadOperator, TinybirdReplaceIntervalOperator])
def test_another_policy_is_refused(box, cls):
    more = INTERVAL if cls is TinybirdReplaceIntervalOperator else {}
    with pytest.raises(AirflowFailException, match="on_narrowing='warn' is not known"):
        run(cls, data=frame(AT), on_narrowing="warn", **more)
    with pytest.raises(AirflowFailException, match="on_narrowing='warn' is not known"):
        run(TinybirdAppendFileOperator, path="x.csv", on_narrowing="warn")


def test_the_hook(box, tmp_path):
    hook = TinybirdHook()
    with pytest.raises(InvalidInputError, match="column 'v', row 1: 9999"):
        hook.send_events("t", frame(AT, FAR))
    with pytest.raises(InvalidInputError, match=r"'rows.parquet', column 'v', row 1: 9999"):
        hook.append_file("t", parquet(tmp_path, AT, FAR))
    hook.send_events("t", frame(AT, FAR), on_narrowing="allow")
    hook.wait_for_job(hook.append_file("t", parquet(tmp_path, AT, FAR), on_narrowing="allow").id, poll_interval=0.05)
    assert box.count() == 4


@pytest.mark.parametrize("via", ["events", "files"])
def test_one_look_at_the_schema_for_a_load(box, via):
    run(TinybirdLoadOperator, data=frame(AT), via=via)
    assert (box.lookups(), box.count()) == (1, 1)
    run(TinybirdEventsOperator, data=frame(AT))
    assert (box.lookups(), box.count()) == (2, 2)


def test_a_frame_in_memory_is_looked_through_before_the_first_of_its_files_is_sent(box):
    data = pd.concat([frame(AT, rows=20_000), frame(FAR)], ignore_index=True)
    with pytest.raises(AirflowFailException, match=r"Nothing was sent.*row 20000"):
        run(TinybirdLoadOperator, data=data, via="files", max_file_bytes=20_000)
    assert box.writes() == []


def test_a_token_that_may_not_read_sends_unseen_and_says_so(box, caplog):
    box.http.post(
        "/sandbox/faults", json={"match": {"path": "/v0/datasources/t", "method": "GET"}, "status": 403}
    ).raise_for_status()
    with caplog.at_level(logging.INFO):
        run(TinybirdEventsOperator, data=frame(AT, FAR))
    assert sum("are not looked for" in record.getMessage() for record in caplog.records) == 1
    assert "DATASOURCES:READ:t" in caplog.text
    assert box.count() == 2


def test_how_far_years_reach_is_asked_of_the_engine(box):
    rows = [{"day": dt.date(2024, 1, 1), "v": AT, "valid_to": FAR}]
    run(TinybirdEventsOperator, data=rows)
    assert box.stored("valid_to") == ["9999-12-31 00:00:00.000"]


def test_digits_of_decimals_in_files_and_events(box):
    good = frame(AT).assign(price=[Decimal("0.1200")])
    bad = frame(AT).assign(price=[Decimal("0.129")])
    for more in ({"via": "events"}, {"via": "files"}):
        with pytest.raises(AirflowFailException, match="column 'price', row 0: "):
            run(TinybirdLoadOperator, data=bad, **more)
        run(TinybirdLoadOperator, data=good, **more)
    assert box.stored("price") == ["0.12", "0.12"]


def test_of_a_file_that_tinybird_fetches_only_what_the_file_notes_is_read(box, tmp_path):
    gate = lambda: file_gate(TinybirdHook().client, "t", OnNarrowing.FAIL)  # noqa: E731
    with pytest.raises(InvalidInputError, match="column 'v, rows 0 to 1': 9999-12-31"):
        upload("t", parquet(tmp_path, AT, FAR), by_url=True, gate=gate)


def test_a_file_that_is_no_parquet_is_refused_clearly(box, tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(AirflowFailException, match="cannot be read as Parquet"):
        run(TinybirdAppendFileOperator, path=str(path))


def test_text_is_sent_as_it_is(box):
    line = json.dumps({"day": "2024-01-01", "v": "9999-12-31 00:00:00"})
    run(TinybirdEventsOperator, data=line)
    assert box.count() == 1
