"""Rows taken away: truncate, delete by condition, drop."""

from __future__ import annotations

import pytest

ROWS = "2026-01-01,a,1\n2026-01-02,b,2\n2026-02-01,c,3\n"


@pytest.fixture(autouse=True)
def _rows(client):
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=ROWS).raise_for_status()


def test_truncate_answers_without_a_body(client, query):
    """Data Sources API, truncate: empty body; success is any 2xx."""
    answer = client.post("/v0/datasources/sales/truncate")
    assert answer.is_success
    assert answer.content == b""
    assert query("SELECT count() AS n FROM sales") == [{"n": 0}]


def test_dry_run_counts_and_starts_no_job(client, query):
    """Replace and delete data: rows_to_be_deleted, and no job."""
    answer = client.post("/v0/datasources/sales/delete", data={"delete_condition": "amount > 1", "dry_run": "true"})
    assert answer.json() == {"rows_to_be_deleted": 2}
    assert client.get("/v0/jobs").json() == {"jobs": []}
    assert query("SELECT count() AS n FROM sales") == [{"n": 3}]


def test_delete_v0_is_a_job(client, query, wait_for_job):
    """Replace and delete data: id, job_id and delete_id are one value; the job says rows_affected and delete_condition."""
    result = client.post("/v0/datasources/sales/delete", data={"delete_condition": "amount > 1"}).json()
    assert result["id"] == result["job_id"] == result["delete_id"] == result["job"]["id"]
    assert result["status"] == "waiting"
    assert result["job"]["kind"] == "delete_data"
    job = wait_for_job(result["id"])
    assert (job["status"], job["rows_affected"], job["delete_condition"]) == ("done", 2, "amount > 1")
    assert query("SELECT shop FROM sales") == [{"shop": "a"}]
    assert query("SELECT count() AS n FROM sales_by_shop") == [{"n": 3}]  # as documented, a delete does not cascade


def test_delete_v1_waits(client, query):
    """Known of official clients: wait=true answers rows_affected and the mutation."""
    result = client.post("/v1/datasources/sales/delete", data={"delete_condition": "amount > 1", "wait": "true"}).json()
    assert result["rows_affected"] == 2
    assert result["mutation"].keys() == {"partitions_scanned", "partitions_done", "partitions_in_progress"}
    assert query("SELECT shop FROM sales") == [{"shop": "a"}]


def test_delete_v1_without_wait_is_a_job(client, query, wait_for_job):
    """Known of official clients: wait=false answers as v0 does."""
    result = client.post(
        "/v1/datasources/sales/delete", data={"delete_condition": "amount > 1", "wait": "false"}
    ).json()
    assert wait_for_job(result["delete_id"])["rows_affected"] == 2
    assert query("SELECT shop FROM sales") == [{"shop": "a"}]


def test_delete_v1_in_one_partition(client, query):
    """Known of official clients: partition restricts the delete."""
    result = client.post(
        "/v1/datasources/sales/delete", data={"delete_condition": "amount > 1", "partition": "202602"}
    ).json()
    assert result["rows_affected"] == 1
    assert query("SELECT shop FROM sales ORDER BY shop") == [{"shop": "a"}, {"shop": "b"}]


@pytest.mark.parametrize("route", ["v0", "v1"])
@pytest.mark.parametrize(
    ("condition", "word"),
    [
        ("", "delete_condition"),
        (" ", "delete_condition"),
        ("nope = 1", "nope"),
        ("amount >", "SYNTAX"),
        ("1) OR (1", "parentheses"),
        ("1; DROP TABLE sales", "one statement"),
        ("shop IN (SELECT line FROM file('/etc/passwd', 'LineAsString'))", "file"),
        ("shop IN (SELECT name FROM system.tables)", "system"),
    ],
)
def test_delete_refused(client, query, route, condition, word):
    answer = client.post(f"/{route}/datasources/sales/delete", data={"delete_condition": condition})
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["error"]
    assert query("SELECT count() AS n FROM sales") == [{"n": 3}]


def test_a_json_body_is_not_understood(client, query):
    """Replace and delete data: the body is a form; a third-party OpenAPI text says JSON, which is wrong."""
    assert client.post("/v0/datasources/sales/delete", json={"delete_condition": "1"}).status_code == 400
    assert query("SELECT count() AS n FROM sales") == [{"n": 3}]


@pytest.mark.parametrize(
    "path", ["/v0/datasources/nothing/delete", "/v1/datasources/nothing/delete", "/v0/datasources/nothing/truncate"]
)
def test_unknown_data_source(client, path):
    answer = client.post(path, data={"delete_condition": "1"})
    assert answer.status_code == 404
    assert "nothing" in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/v0/datasources/sales/delete", "/v1/datasources/sales/delete", "/v0/datasources/sales/truncate"]
)
def test_needs_the_create_scope(narrow, path):
    """Replace and delete data: DATASOURCES:CREATE or ADMIN."""
    with narrow("DATASOURCES:APPEND:sales") as client:
        answer = client.post(path, data={"delete_condition": "1"})
    assert answer.status_code == 403
    assert "DATASOURCES:CREATE" in answer.json()["error"]


def test_drop(client):
    """Data Sources API (Classic): 204; 409 when something depends on it and force is off."""
    assert client.delete("/v0/datasources/sales").status_code == 409
    client.post("/v0/datasources", params={"name": "made", "schema": "a String"}).raise_for_status()
    assert client.delete("/v0/datasources/made").status_code == 204
    assert client.get("/v0/datasources/made").status_code == 404
    assert client.post("/v0/sql", content="SELECT * FROM made").status_code == 400


@pytest.mark.parametrize(
    "path", ["/v0/datasources/{}/truncate", "/v0/datasources/{}/delete", "/v1/datasources/{}/delete"]
)
def test_a_quarantine_by_its_name(client, query, wait_for_job, path):
    """Guessed: what takes the name of a data source takes that of a quarantine too."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="x,d,4\n").raise_for_status()
    count = "SELECT (SELECT count() FROM sales) AS good, (SELECT count() FROM sales_quarantine) AS bad"
    assert query(count) == [{"good": 3, "bad": 1}]
    answer = client.post(path.format("sales_quarantine"), data={"delete_condition": "day = 'x'"})
    assert answer.is_success, answer.text
    if "job_id" in answer.text:
        wait_for_job(answer.json()["job_id"])
    assert query(count) == [{"good": 3, "bad": 0}]
    assert client.post(path.format("nope_quarantine"), data={"delete_condition": "day = 'x'"}).status_code == 404
