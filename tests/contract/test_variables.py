"""Variables, tokens by name, and the analysis of files."""

from __future__ import annotations

import gzip
import io

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def test_variables(client):
    """Environment Variables API: POST, GET, PUT and DELETE /v0/variables; no answer has a value."""
    made = client.post("/v0/variables", data={"name": "key", "value": "s3cret", "type": "secret"})
    assert made.status_code == 200
    assert {"name", "type", "created_at", "updated_at", "edited_by"} <= made.json().keys()
    listed = client.get("/v0/variables").json()["variables"]
    assert [(one["name"], one["type"]) for one in listed] == [("key", "secret")]
    changed = client.put("/v0/variables/key", data={"value": "an0ther"}).json()
    assert changed["created_at"] == made.json()["created_at"] < changed["updated_at"]
    assert client.get("/v0/variables/key").json() == changed
    assert "s3cret" not in made.text
    assert "an0ther" not in client.get("/v0/variables/key").text + client.get("/v0/variables").text
    assert client.delete("/v0/variables/key").json() == {"ok": True}
    assert client.get("/v0/variables/key").status_code == 404


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"value": "x"}, 400),
        ({"name": "n"}, 400),
        ({"name": "a b", "value": "x"}, 400),
        ({"name": "n", "value": "x", "type": "other"}, 400),
        ({"name": "n", "value": "x" * 8193}, 400),
        ({"name": "there", "value": "x"}, 409),
    ],
)
def test_variables_refused(client, form, status):
    """Environment Variables API: 8 kB of value. Guess: the statuses."""
    client.post("/v0/variables", data={"name": "there", "value": "x"}).raise_for_status()
    assert client.post("/v0/variables", data=form).status_code == status


def test_no_more_than_a_hundred_variables(client):
    """Limits: 100 secrets."""
    answers = [client.post("/v0/variables", data={"name": f"v{number}", "value": "x"}) for number in range(101)]
    assert [answer.status_code for answer in answers] == [200] * 100 + [400]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_unknown_variable(client, method):
    """Environment Variables API: 404."""
    assert client.request(method, "/v0/variables/nothing", data={"value": "x"}).status_code == 404


def test_variables_need_an_admin_token(narrow):
    """Environment Variables API: token of a workspace admin."""
    with narrow("DATASOURCES:CREATE", "PIPES:CREATE", "TOKENS") as client:
        assert client.get("/v0/variables").status_code == 403
        assert client.post("/v0/variables", data={"name": "n", "value": "x"}).status_code == 403


def test_secrets_in_pipes(client, wait_for_job):
    """Template functions: tb_secret in a query, an endpoint and a copy; the job does not show it."""
    client.post("/v0/variables", data={"name": "word", "value": "it's 100% s3cret"}).raise_for_status()
    sql = "% SELECT {{ tb_secret('word') }} AS shop, toInt64(1) AS total"
    assert client.post("/v0/sql", content=f"{sql} FORMAT JSONEachRow").json()["shop"] == "it's 100% s3cret"
    client.post("/v0/pipes", data={"name": "told", "sql": sql}).raise_for_status()
    assert client.get("/v0/pipes/told.json").json()["data"] == [{"shop": "it's 100% s3cret", "total": 1}]
    nodes = [{"name": "node", "sql": sql, "type": "copy", "target_datasource": "totals"}]
    client.post("/v0/pipes", json={"name": "kept", "nodes": nodes}).raise_for_status()
    job = wait_for_job(client.post("/v0/pipes/kept/copy").json()["job"]["id"])
    assert job["status"] == "done", job
    assert "s3cret" not in str(job)
    assert client.post("/v0/sql", content="SELECT shop FROM totals FORMAT TSVRaw").status_code == 400
    assert client.post("/v0/sql", content="SELECT shop FROM totals").json()["data"] == [{"shop": "it's 100% s3cret"}]
    client.delete("/v0/variables/word").raise_for_status()
    answer = client.get("/v0/pipes/told.json")
    assert (answer.status_code, "word" in answer.json()["error"]) == (400, True)


def test_a_token_by_name_and_by_id(client):
    """Token API: GET, PUT and DELETE /v0/tokens/{id or name}; PUT replaces all scopes; refresh gives it another text."""
    made = client.post("/v0/tokens", params={"name": "t", "scope": "DATASOURCES:READ:sales"}).json()
    assert client.get("/v0/tokens/t").json() == client.get(f"/v0/tokens/{made['id']}").json() == made

    def reads(token: str, name: str) -> int:
        return httpx.get(
            f"{client.base_url}/v0/datasources/{name}", headers={"Authorization": f"Bearer {token}"}
        ).status_code

    changed = client.put("/v0/tokens/t", params={"scope": "DATASOURCES:READ:events"}).json()
    assert (changed["token"], changed["id"]) == (made["token"], made["id"])
    assert (reads(made["token"], "sales"), reads(made["token"], "events")) == (403, 200)
    fresh = client.post(f"/v0/tokens/{made['id']}/refresh").json()["token"]
    assert (reads(made["token"], "events"), reads(fresh, "events")) == (403, 200)
    assert client.delete("/v0/tokens/t").json() == {"ok": True}
    assert reads(fresh, "events") == 403
    assert client.get("/v0/tokens/t").status_code == 403


def test_tokens_that_stay(client, server):
    """Guess: the tokens that each workspace has cannot be changed. One that there is not is 403, without its text."""
    assert client.delete("/v0/tokens/workspace admin token").status_code == 403
    answer = client.get(f"/v0/tokens/{server.token}x")
    assert (answer.status_code, server.token in answer.text) == (403, False)


CSV = "day,n,text,x\n2026-01-01,1,a,1.5\n2026-01-02,2,b,\n"
NDJSON = '{"day":"2026-01-01","n":1,"in":{"text":"a"}}\n{"n":2,"in":{"text":"b"}}\n'
COLUMNS = {"day": 1.0, "n": 1.0, "text": 1.0, "x": 0.5}


def parquet() -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table({"n": [1, 2], "text": ["a", None]}), target)
    return target.getvalue()


@pytest.mark.parametrize("way", ["body", "gzip", "multipart", "url"])
def test_analyze_csv(client, server, files, way):
    """Analyze API: a file in a form, the body, or url=; columns with path, recommended_type, present_pct and name; a preview."""
    if way == "multipart":
        answer = client.post("/v0/analyze", files={"file": ("a.csv", CSV.encode())})
    elif way == "url":
        (files / "analyze.csv").write_text(CSV)
        answer = client.post("/v0/analyze", params={"url": f"{server.base_url}/files/analyze.csv"})
    else:
        answer = client.post("/v0/analyze", content=gzip.compress(CSV.encode()) if way == "gzip" else CSV)
    result = answer.json()
    columns = result["analysis"]["columns"]
    assert {column["name"]: column["present_pct"] for column in columns} == COLUMNS
    assert [column["recommended_type"] for column in columns] == ["Date", "Int64", "String", "Nullable(Float64)"]
    assert result["preview"]["data"][1] == {"day": "2026-01-02", "n": 2, "text": "b", "x": None}
    assert result["preview"]["rows"] == len(result["preview"]["data"]) == 2
    assert [one["name"] for one in result["preview"]["meta"]] == list(COLUMNS)


@pytest.mark.parametrize("body", [NDJSON.encode(), parquet()])
def test_analyze_other_formats(client, body):
    """Analyze API: NDJSON and Parquet; the schema can create the data source."""
    result = client.post("/v0/analyze", content=body).json()
    assert {"n", "text"} <= {column["name"].removeprefix("in_") for column in result["analysis"]["columns"]}
    assert all(column["path"].startswith("$.") for column in result["analysis"]["columns"])
    params = {"name": "analyzed", "schema": result["analysis"]["schema"]}
    client.post("/v0/datasources", params=params).raise_for_status()
    kind = "parquet" if body.startswith(b"PAR1") else "ndjson"
    loaded = client.post(f"/v0/datasources?name=analyzed&mode=append&format={kind}", content=body).json()
    assert (loaded["quarantine_rows"], loaded["datasource"]["statistics"]["row_count"]) == (0, 2)


@pytest.mark.parametrize("given", [{}, {"content": b"PAR1 and no more"}, {"params": {"url": "file:///etc/passwd"}}])
def test_analyze_refused(client, narrow, given):
    """Analyze API: scope DATASOURCES:CREATE. Guess: 400 for what cannot be read."""
    answer = client.post("/v0/analyze", **given)
    assert answer.status_code == 400
    assert "root:" not in answer.text
    with narrow("DATASOURCES:APPEND:sales") as other:
        assert other.post("/v0/analyze", content=CSV).status_code == 403
