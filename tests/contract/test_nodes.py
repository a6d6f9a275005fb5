"""Pipes made step by step over HTTP: nodes, endpoints, materialized views, copies and sinks."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.sandbox.datafiles.datafile import parse_pipe

ROWS = "2026-01-01,a,1\n2026-01-02,b,2\n"


@pytest.fixture(autouse=True)
def pipe(client):
    """Rows in sales, and a pipe with one plain node."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=ROWS).raise_for_status()
    made = client.post("/v0/pipes", data={"name": "mine", "sql": "SELECT shop, amount AS total FROM sales"}).json()
    assert [node["name"] for node in made["nodes"]] == ["mine_0"]
    client.delete("/v0/pipes/mine/nodes/mine_0/endpoint").raise_for_status()
    return made


def node(client, name):
    return next(one for one in client.get("/v0/pipes/mine").json()["nodes"] if one["name"] == name)


def test_nodes_one_after_the_other(client):
    """Pipes API: an added node gets a name and an id, reads the others, and can be published, changed and deleted."""
    added = client.post("/v0/pipes/mine/nodes", content="SELECT sum(total) AS n FROM mine_0").json()
    assert (added["name"], added["dependencies"], added["materialized"]) == ("mine_1", ["mine_0"], None)
    published = client.post(f"/v0/pipes/mine/nodes/{added['id']}/endpoint").json()
    assert (published["endpoint"], published["type"]) == (added["id"], "endpoint")
    assert client.get("/v0/pipes/mine.json").json()["data"] == [{"n": 3}]
    changed = client.put(
        "/v0/pipes/mine/nodes/mine_1?name=renamed&description=d", content="SELECT max(total) AS n FROM mine_0"
    ).json()
    assert (changed["id"], changed["name"], changed["description"]) == (added["id"], "renamed", "d")
    assert client.get("/v0/pipes/mine.json").json()["data"] == [{"n": 2}]
    assert client.delete("/v0/pipes/mine/nodes/renamed").status_code == 400
    # Enabling another node disables this one.
    assert client.put("/v0/pipes/mine/endpoint", content=node(client, "mine_0")["id"]).json()["endpoint"] != added["id"]
    assert client.delete("/v0/pipes/mine/nodes/renamed").status_code == 204
    assert [one["name"] for one in client.get("/v0/pipes/mine").json()["nodes"]] == ["mine_0"]


@pytest.mark.parametrize(
    ("query", "sql", "status"),
    [
        ("name=from", "SELECT 1", 400),
        ("name=sales", "SELECT 1", 409),
        ("name=mine_0", "SELECT 1", 409),
        ("name=n", " ", 400),
        ("name=n", "SELECT nope FROM sales", 400),
        ("name=n", "SELECT * FROM file('/etc/passwd')", 400),
        ("name=n", "DROP TABLE sales", 400),
        ("name=n&type=fast", "SELECT 1", 400),
        ("name=n&type=materialized", "SELECT 1 AS total", 400),
        ("name=n&type=materialized&datasource=totals", "SELECT 1 AS unknown", 400),
        ("name=n&type=materialized&datasource=sales&override_datasource=true", "SELECT 1 AS n FROM events", 409),
        ("name=n&type=materialized&datasource=made&engine=File(CSV)", "SELECT 1 AS n FROM sales", 400),
    ],
)
def test_a_node_is_refused_and_nothing_is_left(client, query, sql, status):
    """Pipes API: 400 for wrong SQL and values, 409 for names that are taken and targets that cannot be overridden."""
    answer = client.post(f"/v0/pipes/mine/nodes?{query}", content=sql)
    assert answer.status_code == status, answer.text
    assert len(client.get("/v0/pipes/mine").json()["nodes"]) == 1
    assert client.get("/v0/datasources/made").status_code == 404


def test_a_view_with_its_data_source(client, query, wait_for_job):
    """Pipes API: type=materialized makes the data source; populate=true fills it from what is there."""
    params = "name=view&type=materialized&datasource=made&engine=SummingMergeTree&engine_sorting_key=shop&populate=true"
    made = client.post(f"/v0/pipes/mine/nodes?{params}", content="SELECT shop, total FROM mine_0").json()
    assert made["materialized"] == client.get("/v0/datasources/made").json()["id"]
    assert wait_for_job(made["job"]["id"])["status"] == "done"
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-03,b,5\n").raise_for_status()
    assert query("SELECT shop, sum(total) AS n FROM made GROUP BY shop ORDER BY shop") == [
        {"shop": "a", "n": 1},
        {"shop": "b", "n": 7},
    ]
    assert client.get("/v0/datasources/made").json()["engine"] == {"engine": "SummingMergeTree", "sorting_key": "shop"}
    client.delete("/v0/pipes/mine/nodes/view/materialization").raise_for_status()
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-04,b,5\n").raise_for_status()
    assert query("SELECT sum(total) AS n FROM made") == [{"n": 8}]


def test_a_change_that_the_view_does_not_take(client, query):
    """A node that a view reads is changed so that the view cannot be: all is as before, and the view goes on."""
    client.post(
        "/v0/pipes/mine/nodes?name=view&type=materialized&datasource=sales_by_shop",
        content="SELECT shop, total FROM mine_0",
    )
    assert client.put("/v0/pipes/mine/nodes/mine_0", content="SELECT shop FROM sales").status_code == 400
    assert node(client, "mine_0")["sql"] == "SELECT shop, amount AS total FROM sales"
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-03,c,5\n").raise_for_status()
    assert query("SELECT sum(total) AS n FROM sales_by_shop WHERE shop = 'c'") == [
        {"n": 10}
    ]  # sales_view has the others


def test_a_copy_and_its_schedule(client, query, wait_for_job):
    """Copy Pipes API: set up, changed, run, paused, resumed, taken back."""
    path = "/v0/pipes/mine/nodes/mine_0/copy"
    made = client.post(
        path, data={"target_datasource": "totals", "schedule_cron": "0 * * * *", "mode": "replace"}
    ).json()
    assert (made["type"], made["copy_mode"]) == ("copy", "replace")
    assert made["schedule"] == {"timezone": "Etc/UTC", "cron": "0 * * * *", "status": "running"}
    assert made["copy_target_datasource"] == client.get("/v0/datasources/totals").json()["id"]
    for _ in range(2):
        assert wait_for_job(client.post("/v0/pipes/mine/copy").json()["job"]["id"])["status"] == "done"
    assert query("SELECT count() AS n FROM totals") == [{"n": 2}]
    assert client.put(path, data={"mode": "append"}).json()["copy_mode"] == "append"
    assert client.put(path, data={"schedule_cron": "None"}).json()["schedule"]["cron"] is None
    assert client.delete(path).status_code == 204
    assert client.get("/v0/pipes/mine").json()["type"] == "default"
    assert client.post("/v0/pipes/mine/copy").status_code == 400


def test_cancel_every_copy_of_a_pipe(client, poll):
    """Copy Pipes API, cancel: jobs that wait or work end, those of others go on, and the schedule is paused."""
    mine = [client.post("/v0/pipes/copy_slow/copy").json()["job"]["id"] for _ in range(2)]
    answer = client.post("/v0/pipes/copy_slow/copy/cancel").json()
    assert {job["id"] for job in answer["jobs"]} == set(mine)
    for job_id in mine:
        poll(client, job_id, ("cancelled",))
    assert client.post("/v0/pipes/copy_slow/copy/cancel").json()["jobs"] == []
    assert client.post("/v0/pipes/copy_totals/copy/cancel").json()["schedule"]["status"] == "shutdown"
    assert client.post("/v0/pipes/shops/copy/cancel").status_code == 400


def test_a_sink(client, wait_for_job, data):
    """Sink Pipes API: set up in a form or in the URL, run, taken back."""
    path = "/v0/pipes/mine/nodes/mine_0/sink"
    fields = {"connection": "c", "path": "s3://bucket/made", "file_template": "rows", "format": "ndjson"}
    assert client.post(path, data={**fields, "schedule_cron": "0 0 * * *"}).json()["type"] == "sink"
    job = wait_for_job(client.post("/v0/pipes/mine/sink").json()["job"]["id"])
    assert (job["status"], job["output"]) == ("done", ["bucket/made/rows.ndjson"])
    assert (data / "sinks" / "bucket/made/rows.ndjson").read_text().count("\n") == 2
    assert client.delete(path).status_code == 204
    assert client.post("/v0/pipes/mine/sink").status_code == 400


@pytest.mark.parametrize(
    ("what", "fields", "word"),
    [
        ("copy", {}, "target_datasource"),
        ("copy", {"target_datasource": "sales"}, "total"),
        ("copy", {"target_datasource": "totals", "mode": "upsert"}, "upsert"),
        ("copy", {"target_datasource": "totals", "schedule_cron": "hourly"}, "hourly"),
        ("sink", {"connection": "c"}, "path"),
        ("sink", {"connection": "c", "path": "s3://b/../..", "file_template": "f"}, "folder"),
        ("sink", {"connection": "c", "path": "s3://b", "format": "xml"}, "xml"),
    ],
)
def test_a_set_up_is_refused(client, what, fields, word):
    answer = client.post(f"/v0/pipes/mine/nodes/mine_0/{what}", data=fields)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["error"]
    assert client.get("/v0/pipes/mine").json()["type"] == "default"


def test_a_pipe_is_one_thing_at_a_time(client):
    """Copy and Sink Pipes API: refused when the pipe is published as something else."""
    client.post("/v0/pipes/mine/nodes/mine_0/endpoint").raise_for_status()
    assert client.post("/v0/pipes/mine/nodes/mine_0/copy", data={"target_datasource": "totals"}).status_code == 400
    assert client.post("/v0/pipes/mine/nodes/mine_0/sink?connection=c&path=s3://b").status_code == 400
    assert client.post("/v0/pipes/copy_totals/nodes/totals_now/endpoint").status_code == 400
    for method, path in (("PUT", "copy"), ("DELETE", "copy"), ("DELETE", "sink"), ("DELETE", "materialization")):
        assert client.request(method, f"/v0/pipes/mine/nodes/mine_0/{path}").status_code == 400


def test_rename_a_pipe(client, query):
    """Pipes API: ids survive a rename; views go on; Guess: 409 while another pipe reads it."""
    before = client.get("/v0/pipes/sales_view").json()
    renamed = client.put("/v0/pipes/sales_view?name=other_view&description=d").json()
    assert (renamed["id"], renamed["description"]) == (before["id"], "d")
    assert [one["id"] for one in renamed["nodes"]] == [one["id"] for one in before["nodes"]]
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-03,z,5\n").raise_for_status()
    assert query("SELECT total AS n FROM sales_by_shop WHERE shop = 'z'") == [{"n": 5}]
    assert client.put("/v0/pipes/mine?name=sales").status_code == 409
    assert client.put("/v0/pipes/mine?name=from").status_code == 400
    answer = client.put("/v0/pipes/shops?name=stores")
    assert (answer.status_code, "copy_totals" in answer.json()["error"]) == (409, True)


def test_a_pipe_like_another(client):
    """Pipes API, from: a new pipe has no endpoint; one that is written over keeps it where the node's name is the same."""
    assert client.post("/v0/pipes?name=twin&from=shops").json()["endpoint"] is None
    endpoint = client.post("/v0/pipes/twin/nodes/endpoint/endpoint").json()["endpoint"]
    client.put("/v0/pipes/twin/nodes/filtered", content="SELECT 'x' AS shop, 1 AS amount").raise_for_status()
    assert client.get("/v0/pipes/twin.json").json()["data"] == [{"shop": "x", "total": 1}]
    assert client.post("/v0/pipes?name=twin&from=shops").json()["endpoint"] == endpoint
    assert client.get("/v0/pipes/twin.json").json()["rows"] == 2
    assert client.post("/v0/pipes?name=twin&from=nothing").status_code == 404


def test_explain(client, narrow):
    """Pipes API, explain: the query of all nodes and the plan; of one node; 404 for one that is not there."""
    whole = client.get("/v0/pipes/shops/explain?at_least=2").json()
    assert whole.keys() == {"debug_query", "query_explain"}
    assert "sum(amount)" in whole["debug_query"]
    assert "sum(amount)" not in client.get("/v0/pipes/shops/nodes/filtered/explain").json()["debug_query"]
    assert client.get("/v0/pipes/shops/nodes/nothing/explain").status_code == 404
    assert client.get("/v0/pipes/shops/explain?at_least=x").status_code == 400
    with narrow("PIPES:READ:shops") as reader:
        assert reader.get("/v0/pipes/shops/explain").status_code == 403
    with narrow("PIPES:READ:shops", "DATASOURCES:READ:sales") as reader:
        assert reader.get("/v0/pipes/shops/explain").status_code == 200


@pytest.mark.parametrize("name", ["shops", "copy_totals", "sink_shops", "sales_view", "metrics"])
def test_its_file_makes_it_again(client, project, name):
    """The text of a pipe's file makes one that is the same."""
    text = client.get(f"/v1/pipes/{name}.pipe").text
    original = project / "pipes" / f"{name}.pipe"
    one, other = (parse_pipe(content, original) for content in (text, original.read_text()))
    assert [(n.name, n.kind, dict(n.settings), n.sql.split()) for n in one.nodes] == [
        (n.name, n.kind, dict(n.settings), n.sql.split()) for n in other.nodes
    ]
    assert client.get(f"/v0/pipes/{name}.pipe").json()["pipeline"]["nodes"][0]["name"] == one.nodes[0].name


def test_scopes(narrow):
    """Pipes API: PIPES:CREATE to change anything."""
    with narrow("PIPES:READ:mine", "DATASOURCES:READ:sales", "DATASOURCES:APPEND:totals") as client:
        for method, path in (
            ("POST", "/v0/pipes/mine/nodes"),
            ("PUT", "/v0/pipes/mine/nodes/mine_0"),
            ("DELETE", "/v0/pipes/mine/nodes/mine_0"),
            ("POST", "/v0/pipes/mine/nodes/mine_0/endpoint"),
            ("PUT", "/v0/pipes/mine/endpoint"),
            ("POST", "/v0/pipes/mine/nodes/mine_0/copy"),
            ("POST", "/v0/pipes/mine/nodes/mine_0/sink"),
            ("PUT", "/v0/pipes/mine?name=x"),
            ("POST", "/v0/pipes/copy_totals/copy/cancel"),
        ):
            assert client.request(method, path, content="SELECT 1").status_code == 403, path
