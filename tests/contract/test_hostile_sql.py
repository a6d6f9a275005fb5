"""Hostile SQL: what reads or writes anything but the workspace, more than one statement, and work without end."""

from __future__ import annotations

import pytest
from answers import refused


@pytest.fixture
def client(hostile):
    return hostile


@pytest.fixture
def count(hostile_count):
    return hostile_count


# What reads or writes something else than the workspace, as the FROM of a query.
REACHING = (
    "file('/etc/hostname', 'LineAsString')",
    "url('http://127.0.0.1:1/', 'LineAsString')",
    "s3('http://127.0.0.1:1/b/k', 'CSV')",
    "s3Cluster('c', 'http://127.0.0.1:1/b/k')",
    "remote('127.0.0.1', system.tables)",
    "mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "executable('id', 'TSV', 'a String')",
    "python('x')",
    "sqlite('/etc/hostname', 't')",
    "merge('system', '.*')",
    "loop(system.tables)",
    "system.tables",
    "`system`.tables",
    '"system"."tables"',
    "system/**/.tables",
    "information_schema.tables",
    "FILE ('/etc/hostname', 'LineAsString')",
    "`file`('/etc/hostname', 'LineAsString')",
    # Names that the engine reads otherwise than they look.
    "`\\x73ystem`.one",
    "`\\x66ile`('/etc/hostname', 'LineAsString')",
    "“system”.one",
    "events AS a$$, system.tables AS b$$",
    "events // '\n, system.tables // '",
    "events /* /* */ ' */ , system.tables /* /* */ ' */",
    "events $x$ , system.tables $x$",
)


class TestSql:
    @pytest.mark.parametrize("source", REACHING)
    def test_reaching_out(self, client, source):
        """In a query and wherever a query can be: each way is refused before anything runs."""
        query = f"SELECT count() FROM {source}"
        for sql in (
            query,
            f"WITH x AS ({query}) SELECT * FROM x",
            f"SELECT * FROM (SELECT * FROM ({query}))",
            f"SELECT 1 WHERE 1 IN ({query})",
            f"SELECT 1 UNION ALL {query}",
            f"% SELECT * FROM {{% if defined(nothing) %}} events {{% else %}} {source} {{% end %}}",
            f"SELECT * FROM view({query})",
        ):
            refused(client.post("/v0/sql", content=sql))
        sql = "% SELECT * FROM {{ sql_unescape(String(part)) }}"
        refused(client.post("/v0/sql", data={"q": sql, "part": source}))
        refused(client.get("/v0/pipes/shops.json", params={"q": query}))

    @pytest.mark.parametrize("source", REACHING)
    def test_reaching_out_with_write_rights(self, client, source, count):
        """Conditions, copies, views, defaults: they go into statements that may write."""
        before = count()
        condition = f"1 = (SELECT count() FROM {source})"
        refused(client.post("/v0/datasources/sales/delete", data={"delete_condition": condition}))
        refused(client.post("/v0/datasources/sales/delete", data={"delete_condition": condition, "dry_run": "true"}))
        refused(client.post("/v1/datasources/sales/delete", data={"delete_condition": condition}))
        refused(
            client.post(
                "/v1/datasources/sales/delete", data={"delete_condition": "0", "partition": f"(SELECT 1 FROM {source})"}
            )
        )
        params = {"format": "csv", "replace_condition": condition}
        refused(client.post("/v1/datasources/sales/replace", params=params, content="2026-01-01,a,1\n"))
        params = {"populate_condition": condition}
        refused(client.post("/v0/pipes/sales_view/nodes/summed/population", params=params))
        for kind, settings in (
            ("copy", {"target_datasource": "totals"}),
            ("materialized", {"datasource": "totals"}),
            ("sink", {}),
        ):
            node = {"name": "n", "sql": f"SELECT 'x' AS shop, 1 AS total FROM {source}", "type": kind, **settings}
            made = client.post("/v0/pipes", json={"name": "reaching", "nodes": [node]})
            if kind == "materialized":
                refused(made)
                continue
            made.raise_for_status()
            refused(client.post(f"/v0/pipes/reaching/{kind}"))
            client.delete("/v0/pipes/reaching").raise_for_status()
        if "(" in source:
            refused(client.post("/v0/datasources", data={"name": "reaching", "schema": f"a String DEFAULT {source}"}))
        assert client.get("/v0/pipes/reaching").status_code == 404
        assert client.get("/v0/datasources/reaching").status_code == 404
        assert count() == before

    @pytest.mark.parametrize(
        "partition",
        [
            "1)); DROP TABLE sales; --",
            "1; DROP TABLE sales",
            "202601 WHERE 1 --",
            "202601 WHERE 1 /*",
            "202601) OR (1",
            "ALL",
        ],
    )
    def test_partitions(self, client, count, partition):
        """The partition of a delete is an expression, and nothing else."""
        client.post("/v0/events?name=sales&wait=true", content='{"day":"2026-01-01","shop":"a","amount":1}')
        before = count()
        refused(client.post("/v1/datasources/sales/delete", data={"delete_condition": "1", "partition": partition}))
        assert count() == before > 0

    @pytest.mark.parametrize(
        "sql",
        [
            "INSERT INTO sales VALUES (1)",
            "ALTER TABLE sales DELETE WHERE 1",
            "DROP TABLE sales",
            "TRUNCATE sales",
            "SYSTEM SHUTDOWN",
            "KILL QUERY WHERE 1",
            "SET readonly = 0",
            "USE system",
            "SHOW TABLES",
            "DESCRIBE sales",
            "EXPLAIN SELECT 1",
            "CREATE TABLE x (a Int8) ENGINE = Memory",
            "ATTACH TABLE x FROM '/etc'",
            "BACKUP TABLE sales TO Disk('default', 'x')",
            "SELECT 1; DROP TABLE sales",
            "SELECT 1;;; SELECT 2",
            "SELECT 1 SETTINGS readonly = 0",
            "SELECT 1 SETTINGS max_execution_time = 0",
            "SELECT 1 INTO OUTFILE '/tmp/never'",
            "SELECT 1 INTO/**/OUTFILE '/tmp/never'",
            "SELECT 1 INTO -- x\n OUTFILE '/tmp/never'",
            "SELECT 1 PARALLEL WITH DROP TABLE sales",
            "SELECT 1) UNION ALL (SELECT 2",
            "SELECT 1 /*",
            "SELECT '",
            "SELECT `",
            "SELECT \x00",
            "--",
            "/* x */",
            ";",
            "(" * 100_000,
            "SELECT " + "(" * 5000 + "1" + ")" * 5000,
            "SELECT " + "-" + " -" * 50_000 + "1",
            "SELECT '" + "x" * 300_000 + "'",
            "SELECT aiGenerate('x', 'y')",
        ],
        ids=lambda sql: repr(sql[:30]),
    )
    def test_statements(self, client, count, sql):
        before = count()
        refused(client.post("/v0/sql", content=sql))
        assert count() == before

    @pytest.mark.parametrize(
        "ending",
        [
            " PARALLEL WITH INSERT INTO FUNCTION file('{path}') SELECT 1",
            " PARALLEL WITH DROP TABLE sales",
            " INTO OUTFILE '{path}'",
            " SETTINGS input_format_record_errors_file_path = '{path}'",
            "; DROP TABLE sales",
        ],
    )
    def test_statements_in_pipes(self, client, count, tmp_path, ending):
        """The engine runs copies and views with write rights."""
        before = count()
        sql = "SELECT shop, total FROM totals" + ending.format(path=tmp_path / "written")
        for kind, settings in (("copy", {"target_datasource": "totals"}), ("materialized", {"datasource": "totals"})):
            node = {"name": "n", "sql": sql, "type": kind, **settings}
            made = client.post("/v0/pipes", json={"name": "ending", "nodes": [node]})
            if kind == "materialized":
                refused(made)
            else:
                refused(client.post("/v0/pipes/ending/copy"))
                client.delete("/v0/pipes/ending").raise_for_status()
        assert list(tmp_path.iterdir()) == []
        assert count() == before

    @pytest.mark.parametrize(
        "definition",
        [
            {"engine": "File(CSV, '/etc/hostname')"},
            {"engine": "File"},
            {"engine": "URL"},
            {"engine": "Memory AS SELECT * FROM system.tables"},
            {"engine": "Memory; DROP TABLE sales; --"},
            {"engine": "MergeTree ORDER BY tuple() AS SELECT 1 --"},
            {"engine_sorting_key": "a) AS SELECT * FROM system.tables --"},
            {"engine_ttl": "now() ; DROP TABLE sales"},
            {"engine_settings": "disk = disk(type = local, path = '/tmp/never/')"},
            {"engine_partition_key": "file('/etc/hostname')"},
            {"schema": "a String DEFAULT file('/etc/hostname')"},
            {"schema": "a String CODEC(ZSTD) , b String DEFAULT (SELECT 1 FROM system.tables)"},
            {"schema": "a Nothing"},
            {"schema": "a String, " * 3 + "b"},
            {"schema": "(" * 100_000},
        ],
    )
    def test_definitions(self, client, count, definition):
        before = count()
        refused(client.post("/v0/datasources", data={"name": "defined", "schema": "a String", **definition}))
        assert client.get("/v0/datasources/defined").status_code == 404
        assert count() == before

    def test_the_time_limit(self, client, count):
        """Everything that a request waits for ends; --query-timeout is 1 second here."""
        before = count()
        endless = "SELECT sum(cityHash64(number, number)) FROM numbers(1000000000000)"
        refused(client.post("/v0/sql", content=endless), "time limit", status=408)
        condition = f"amount = ({endless})"
        url = "/v0/datasources/sales/delete"
        refused(client.post(url, data={"delete_condition": condition, "dry_run": "true"}), "time limit", status=408)
        refused(
            client.post("/v1/datasources/sales/delete", data={"delete_condition": condition}), "time limit", status=408
        )
        params = {"name": "sales", "mode": "replace", "format": "csv", "replace_condition": condition}
        refused(client.post("/v0/datasources", params=params, content="2026-01-01,a,1\n"), "time limit", status=408)
        assert count() == before

    def test_the_next_answer(self, client):
        """A query that failed in the middle leaves nothing in the answers to others."""
        failing = "SELECT number, throwIf(number = 3000000) FROM numbers(4000000) FORMAT JSONEachRow"
        for _ in range(4):
            assert client.post("/v0/sql", content=failing).status_code in (400, 408)
            for _ in range(10):
                assert client.post("/v0/sql", content="SELECT 1 AS a FORMAT JSONEachRow").text == '{"a":1}\n'

    def test_the_size_limit(self, client):
        for sql in (
            "SELECT repeat('x', 1000000) FROM numbers(110)",
            "SELECT repeat(toString(number), 1000000) FROM numbers(1000)",
            "SELECT arrayReduce('sum', range(400000000))",
            "SELECT groupArray(number) FROM numbers(1000000000)",
        ):
            assert client.post("/v0/sql", content=sql).status_code in (400, 408)

    @pytest.mark.parametrize(
        "template",
        [
            "% SELECT {% for x in range(1000000000) %} 1 {% end %}",
            "% SELECT {{ " + "(" * 9000 + "1" + ")" * 9000 + " }}",
            "% " + "{% if 1 %}" * 10_000,
            "% SELECT {{ 9 ** 9 ** 9 }}",
            "% SELECT {{ 'x' * 10000000000 }}",
            "% SELECT {{ __import__('os').system('id') }}",
            "% SELECT {{ ''.__class__.__mro__ }}",
            "% SELECT {{ open('/etc/hostname') }}",
            "% SELECT {{",
            "% {% end %}",
            "% {% import os %}",
        ],
        ids=lambda text: text[:30],
    )
    def test_templates(self, client, template):
        refused(client.post("/v0/sql", content=template))

    def test_parameters(self, client):
        """A value stays a value."""
        sql = "% SELECT {{ String(value) }} AS a FORMAT TSV"
        for value in ("' OR 1 = 1 --", "\\' OR 1 --", "'); DROP TABLE sales; --", "x' FROM system.tables --"):
            answer = client.post("/v0/sql", data={"q": sql, "value": value})
            assert answer.status_code == 200, answer.text
            assert answer.text.rstrip("\n").replace("\\\\", "\\").replace("\\'", "'") == value
        for value in ("1 OR 1", "1; DROP TABLE sales", "(SELECT 1)", "nan", ""):
            params = {"q": "% SELECT {{ Int32(value) }}", "value": value}
            refused(client.post("/v0/sql", data=params))

    @pytest.mark.parametrize("subset", ["inf", "nan", "-1", "x", "1e999"])
    def test_numbers_that_are_none(self, client, subset):
        params = {"populate_subset": subset}
        refused(client.post("/v0/pipes/sales_view/nodes/summed/population", params=params), subset)
