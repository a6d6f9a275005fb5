"""A block of rows that equals one inserted before is dropped, under success, as replicated tables of ClickHouse do."""

from __future__ import annotations

import json

import httpx
import pytest

from airflow_provider_tinybird.sandbox.process import SandboxProcess

SCHEMA = "SCHEMA >\n    `day` Date `json:$.day`,\n    `v` UInt64 `json:$.v`\n\n"
DATASOURCE = f'{SCHEMA}ENGINE "MergeTree"\nENGINE_PARTITION_KEY "toYYYYMM(day)"\nENGINE_SORTING_KEY "day, v"\n'
COPY = "NODE n\nSQL >\n    SELECT day, v FROM src\nTYPE copy\nTARGET_DATASOURCE dst\nCOPY_MODE append\n"
VIEW = "NODE n\nSQL >\n    SELECT day, count() AS rows FROM dst GROUP BY day\nTYPE materialized\nDATASOURCE by_day\n"
BY_DAY = 'SCHEMA >\n    `day` Date,\n    `rows` UInt64\n\nENGINE "SummingMergeTree"\nENGINE_SORTING_KEY "day"\n'
ROWS = [{"day": f"2026-0{1 + n % 2}-01", "v": n} for n in range(20)]


@pytest.fixture(scope="module", params=[True, False], ids=["deduplicates", "keeps"])
def mode(request, tmp_path_factory):
    """A sandbox of each kind: whether it drops repetitions, and the sandbox."""
    project = tmp_path_factory.mktemp("project")
    for name, text in {
        "src.datasource": DATASOURCE,
        "dst.datasource": DATASOURCE,
        "copy_all.pipe": COPY,
        "by_day.datasource": BY_DAY,
        "count_days.pipe": VIEW,
    }.items():
        (project / name).write_text(text)
    options = () if request.param else ("--no-deduplication",)
    with SandboxProcess("--project", project, *options) as server:
        yield request.param, server


@pytest.fixture
def box(mode):
    _, server = mode
    server.reset()
    with httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30) as client:
        yield Box(client)


class Box:
    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def count(self, table: str = "dst", what: str = "count()") -> int:
        answer = self.client.post("/v0/sql", content=f"SELECT {what} AS n FROM {table} FORMAT JSON")
        return int(answer.raise_for_status().json()["data"][0]["n"])

    def job(self, answer: httpx.Response) -> dict:
        body = answer.raise_for_status().json()
        job_id = body.get("job", body)["job_id"]
        while (job := self.client.get(f"/v0/jobs/{job_id}").json())["status"] in ("waiting", "working"):
            pass
        assert job["status"] == "done", job
        return job

    def send(self, rows=ROWS, name: str = "dst") -> dict:
        lines = "\n".join(map(json.dumps, rows))
        return self.client.post(f"/v0/events?name={name}&wait=true", content=lines).raise_for_status().json()

    def delete(self, name: str = "dst") -> None:
        self.job(self.client.post(f"/v0/datasources/{name}/delete", data={"delete_condition": "v >= 0"}))


def events(box):
    assert box.send() == {"successful_rows": 20, "quarantined_rows": 0}


def append_by_body(box):
    lines = "\n".join(map(json.dumps, ROWS))
    answer = box.client.post("/v0/datasources?name=dst&mode=append&format=ndjson", content=lines)
    assert answer.raise_for_status().json()["error"] is False


def append_as_job(box):
    lines = "\n".join(map(json.dumps, ROWS))
    box.job(box.client.post("/v1/datasources/dst/append?format=ndjson", content=lines))


def copy(box):
    job = box.job(box.client.post("/v0/pipes/copy_all/copy"))
    log = f"(SELECT written_rows FROM tinybird.datasources_ops_log WHERE job_id = '{job['id']}')"
    assert box.count(log, "sum(written_rows)") == 20, "what was dropped counts as written"


@pytest.mark.parametrize("write", [events, append_by_body, append_as_job, copy])
def test_rows_that_were_inserted_before_are_dropped(mode, box, write):
    box.send(name="src")
    write(box)
    assert (box.count(), box.count("by_day", "sum(rows)")) == (20, 20)
    write(box)
    assert (box.count(), box.count("by_day", "sum(rows)")) == ((20, 20) if mode[0] else (40, 40))


@pytest.mark.parametrize("write", [events, append_by_body, append_as_job, copy])
def test_deleted_rows_are_remembered_and_truncated_ones_are_not(mode, box, write):
    box.send(name="src")
    write(box)
    box.delete()
    assert box.count() == 0
    write(box)
    assert box.count() == (0 if mode[0] else 20)
    box.client.post("/v0/datasources/dst/truncate").raise_for_status()
    write(box)
    assert box.count() == 20


def test_other_rows_get_in(box):
    events(box)
    box.send([*ROWS[1:], {"day": "2026-01-01", "v": 0.0}])  # the same in another order
    box.send([{**row, "v": row["v"] + 1} for row in ROWS])
    assert box.count() == 60


def test_a_replace_puts_in_the_same_rows_again(box):
    for _ in range(3):
        lines = "\n".join(map(json.dumps, ROWS))
        for condition in ({}, {"replace_condition": "toYYYYMM(day) = 202601"}):
            params = {"name": "dst", "mode": "replace", "format": "ndjson", **condition}
            box.client.post("/v0/datasources", params=params, content=lines).raise_for_status()
            assert box.count() == 20
        box.delete()


def test_what_is_remembered_is_gone_after_a_reset(mode, box):
    events(box)
    box.delete()
    mode[1].reset()
    events(box)
    assert box.count() == 20


def test_a_data_source_says_itself_how_many_blocks_it_remembers(tmp_path):
    (tmp_path / "none.datasource").write_text(
        f'{DATASOURCE}ENGINE_SETTINGS "non_replicated_deduplication_window = 0"\n'
    )
    with (
        SandboxProcess("--project", tmp_path) as server,
        httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30) as client,
    ):
        box = Box(client)
        box.send(name="none")
        box.send(name="none")
        assert box.count("none") == 40


def test_blocks_are_remembered_over_a_restart(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "dst.datasource").write_text(DATASOURCE)
    for _ in range(2):
        with (
            SandboxProcess("--project", project, "--data", tmp_path / "data") as server,
            httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30) as client,
        ):
            events(Box(client))
            assert Box(client).count() == 20
