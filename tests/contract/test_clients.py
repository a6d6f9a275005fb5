"""What clients of others expect of the API beside its documents: shapes that they read, and words that they test for."""

from __future__ import annotations

import json

import pytest

CSV = "day,shop,amount\n2024-01-01,a,1\n"


# Bodies and errors, as clients made for Tinybird Local test them


def test_events_in_chunks(client, query):
    """A client that is given a generator sends chunks, and knows no length."""
    rows = (json.dumps({"day": "2024-01-01", "shop": "a", "amount": n}).encode() + b"\n" for n in range(1000))
    answer = client.post("/v0/events", params={"name": "sales", "wait": "true"}, content=rows)
    assert answer.json() == {"successful_rows": 1000, "quarantined_rows": 0}
    assert query("SELECT count() AS n, sum(amount) AS total FROM sales") == [{"n": 1000, "total": 499500}]


def test_a_file_in_chunks(client, query):
    chunks = (line.encode() for line in CSV.splitlines(keepends=True))
    params = {"name": "sales", "mode": "append", "format": "csv"}
    answer = client.post("/v0/datasources", params=params, content=chunks, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200
    assert query("SELECT count() AS n FROM sales") == [{"n": 1}]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/v0/datasources?name=none&mode=append&format=csv", 403, 'Data Source "none" does not exist'),
        ("GET", "/v0/datasources/none", 404, 'Data Source "none" does not exist'),
        ("POST", "/v0/datasources/none/truncate", 404, 'Data Source "none" does not exist'),
        ("GET", "/v0/pipes/none", 404, "The pipe 'none' does not exist"),
        ("GET", "/v0/pipes/none.json", 404, "The pipe 'none' does not exist"),
        ("GET", "/v0/tokens/none", 403, "Token has not enough permissions to get information about this token"),
        ("GET", "/v0/variables/none", 404, "Variable not found"),
        ("PUT", "/v0/variables/none?value=x", 404, "Variable not found"),
        ("DELETE", "/v0/variables/none", 404, "Variable not found"),
    ],
)
def test_words_for_what_is_not_there(client, method, path, status, words):
    answer = client.request(method, path, content=CSV if method == "POST" else None)
    assert (answer.status_code, answer.json()["error"]) == (status, words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"day": "no day"}\n', "1 row in quarantine"),
        ('{"day": "no day"}\n{"day": "none"}\n', "2 rows in quarantine"),
        ("nonsense\n", "1 invalid line"),
        ('{"day": "no day"}\nnonsense\nnonsense\n', "1 row in quarantine and 2 invalid lines"),
    ],
)
def test_words_for_rows_that_are_not_in(client, body, words):
    good = '{"day": "2024-01-01", "shop": "a", "amount": 1}\n'
    answer = client.post("/v0/datasources?name=sales&mode=append&format=ndjson", content=good + body)
    assert (answer.status_code, answer.json()["error"]) == (200, f"There was an error with file contents: {words}.")


# Tokens


def test_the_tokens_of_a_new_workspace(client):
    """Docs, tokens: an admin token, one of the user's address, one to create data sources, and the user's own."""
    found = {one["name"]: one for one in client.get("/v0/tokens").json()["tokens"]}
    assert {"admin token", "admin local@tinybird.co", "create datasource token", "user token"} <= found.keys()
    assert found["admin local@tinybird.co"]["scopes"] == [{"type": "ADMIN"}]
    assert found["create datasource token"]["scopes"] == [{"type": "DATASOURCES:CREATE"}]


# Lists and files


def test_members_that_a_list_has_anyway(client):
    """A client asks for some members of data sources and pipes, and reads the engine and the URL all the same."""
    [first, *_] = client.get("/v0/datasources", params={"attrs": "id,name,description,columns"}).json()["datasources"]
    assert first["engine"].keys() == {"engine", "engine_sorting_key", "engine_partition_key", "engine_primary_key"}
    [first, *_] = client.get("/v0/pipes", params={"attrs": "id,name,description,type,endpoint"}).json()["pipes"]
    assert first["url"].endswith(f"/v0/pipes/{first['name']}.json")


@pytest.mark.parametrize("path", ["/v0/datasources/events.datasource", "/v1/pipes/copy_totals.pipe"])
def test_the_type_of_project_files(client, path):
    """The command lines read the text of a file only where its type is exactly this."""
    answer = client.get(path)
    assert answer.headers["content-type"] == "text/plain"
    assert ">" in answer.text


def test_members_of_a_workspace(client):
    [workspace] = client.get("/v1/user/workspaces").json()["workspaces"]
    assert [(one["email"], one["role"]) for one in workspace["members"]] == [("local@tinybird.co", "admin")]
    found = client.get(f"/v1/workspaces/{workspace['id']}", params={"with_token": "true"}).json()
    assert (found["name"], found["token"]) == (workspace["name"], workspace["token"])
    assert "token" not in client.get(f"/v0/workspaces/{workspace['id']}").json()
    assert client.get("/v1/workspaces/none").status_code == 404


def test_a_dry_run_of_a_drop(client):
    """The command line asks what a data source is used in before it drops it."""
    answer = client.delete("/v0/datasources/totals", params={"dry_run": "true"})
    assert answer.status_code == 200
    assert "copy_totals" not in answer.json()["dependent_pipes"]
    assert client.get("/v0/datasources/totals").status_code == 200
    used = client.delete("/v0/datasources/sales", params={"dry_run": "true"}).json()["dependent_pipes"]
    assert "shops" in used


# SQL that is not run


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT shop FROM sales", ["sales"]),
        ("WITH a AS (SELECT 1 AS x) SELECT * FROM a, other JOIN sales USING x", ["other", "sales"]),
        ("% SELECT * FROM {% if defined(x) %} sales {% else %} totals {% end %}", ["sales", "totals"]),
    ],
)
def test_tables_of_sql(client, sql, tables):
    answer = client.post("/v0/sql_tables", data={"q": sql, "raising": "false"}).json()
    assert sorted(one[1] for one in answer["tables"]) == tables


def test_wrong_sql_has_no_tables_unless_asked(client):
    assert client.post("/v0/sql_tables", data={"q": "SELECT FROM WHERE"}).json() == {"tables": []}
    assert client.post("/v0/sql_tables", data={"q": "SELECT FROM WHERE", "raising": "true"}).status_code == 400


def test_replaced_tables(client):
    given = {"q": "SELECT sales FROM sales", "replacements": json.dumps({"sales": "sales__v1"})}
    assert client.post("/v0/sql_replace", data=given).json() == {"query": "SELECT sales FROM `sales__v1` AS `sales`"}


def test_formatted_sql(client):
    assert client.get("/v0/sql_format", params={"q": "select 1 as x"}).json() == {"q": "SELECT 1 AS x"}


def test_a_copy_of_sql(client, query, wait_for_job):
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=CSV).raise_for_status()
    answer = client.post(
        "/v0/sql_copy", params={"copy_to": "sales"}, content="SELECT * FROM sales UNION ALL SELECT * FROM sales"
    ).json()
    assert wait_for_job(answer["job"]["job_id"])["status"] == "done"
    assert query("SELECT count() AS n FROM sales") == [{"n": 3}]


@pytest.mark.parametrize("path", ["/v0/sql_tables", "/v0/sql_replace", "/v0/sql_format", "/v0/sql_copy?copy_to=sales"])
def test_they_need_a_token(server, client, path):
    client.headers.pop("authorization")
    assert client.post(path, data={"q": "SELECT 1"}).status_code == 403
