from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_tinybird.sandbox.datafiles.datafile import (
    Column,
    DatafileError,
    NodeKind,
    TokenGrant,
    load_project,
    parse_datasource,
    parse_pipe,
    parse_schema,
)

FLIGHTS = Path("datasources/flights.datasource")
DAILY = Path("pipes/daily.pipe")

FLIGHTS_TEXT = """\
# what left New York
DESCRIPTION >
    Flights of 2013.
    One row for each departure.

TOKEN "loader" APPEND
TOKEN dashboards READ

SCHEMA >
    `flight_date` Date `json:$.date`,
    `carrier` LowCardinality(String) `json:$.carrier`,
    # the next one is often unknown
    `delay` Nullable(Int32) `json:$.delay`

ENGINE "MergeTree"
ENGINE_PARTITION_KEY "toYYYYMM(flight_date)"
ENGINE_SORTING_KEY "flight_date, carrier"
ENGINE_TTL ""
SHARED_WITH >
    marketing,
    finance
FORWARD_QUERY >
    SELECT flight_date, carrier, toInt32OrNull(delay) AS delay
TAGS "air, demo"
VERSION 3
"""


def test_a_data_source_file_is_read_whole() -> None:
    flights = parse_datasource(FLIGHTS_TEXT, FLIGHTS)
    assert flights.name == "flights__v3"
    assert flights.description == "Flights of 2013.\nOne row for each departure."
    assert flights.columns == (
        Column("flight_date", "Date", "$.date"),
        Column("carrier", "LowCardinality(String)", "$.carrier"),
        Column("delay", "Nullable(Int32)", "$.delay"),
    )
    assert flights.engine == "MergeTree"
    assert dict(flights.engine_options) == {
        "partition_key": "toYYYYMM(flight_date)",
        "sorting_key": "flight_date, carrier",
    }
    assert flights.tokens == (TokenGrant("loader", "APPEND"), TokenGrant("dashboards", "READ"))
    assert flights.shared_with == ("marketing", "finance")
    assert flights.forward_query == "SELECT flight_date, carrier, toInt32OrNull(delay) AS delay"
    assert flights.source == FLIGHTS


def test_the_engine_is_merge_tree_unless_said_otherwise() -> None:
    plain = parse_datasource("SCHEMA >\n  a Int32", FLIGHTS)
    assert (plain.engine, dict(plain.engine_options), plain.forward_query) == ("MergeTree", {}, None)
    replacing = parse_datasource("SCHEMA a Int32\nENGINE ReplacingMergeTree\nENGINE_VER 'a'", FLIGHTS)
    assert (replacing.engine, dict(replacing.engine_options)) == ("ReplacingMergeTree", {"ver": "a"})


def test_keys_of_connectors_and_line_ends_of_windows_are_accepted() -> None:
    text = (
        "SCHEMA >\r\n    `a` String `json:$.a`\r\n\r\nKAFKA_TOPIC t\r\nKAFKA_GROUP_ID g\r\nIMPORT_SCHEDULE '@auto'\r\n"
    )
    assert parse_datasource(text, FLIGHTS).columns[0] == Column("a", "String", "$.a")


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("id UInt64", Column("id", "UInt64")),
        ("`select` String `json:$.select`", Column("select", "String", "$.select")),
        ("`two words` String", Column("two words", "String")),
        ("nested.key Array(String)", Column("nested.key", "Array(String)")),
        ("`tags` Array(String) `json:$.tags[:]`", Column("tags", "Array(String)", "$.tags[:]")),
        ("`all` String `json:$`", Column("all", "String", "$")),
        ("e Enum8('a, b' = 1, 'c)' = 2)", Column("e", "Enum8('a, b' = 1, 'c)' = 2)")),
        ("e Enum8('it\\'s (' = 1)", Column("e", "Enum8('it\\'s (' = 1)")),
        ("t Array(Tuple(a Int32, b String))", Column("t", "Array(Tuple(a Int32, b String))")),
        ("d Decimal(18, 4)", Column("d", "Decimal(18, 4)")),
        ("at DateTime64(3, 'UTC') DEFAULT now64(3)", Column("at", "DateTime64(3, 'UTC')", default="now64(3)")),
        ("m Map(String, String) DEFAULT map('a', 'b')", Column("m", "Map(String, String)", default="map('a', 'b')")),
        ("s AggregateFunction(sum, Float64)", Column("s", "AggregateFunction(sum, Float64)")),
        ("n Int16 DEFAULT -1 CODEC(Delta, ZSTD(1))", Column("n", "Int16", None, "-1", "CODEC(Delta, ZSTD(1))")),
        ("n Int16 codec(ZSTD) `json:$.n` default 5", Column("n", "Int16", "$.n", "5", "codec(ZSTD)")),
        ("n Int16 `json:$.n` DEFAULT 5", Column("n", "Int16", "$.n", "5")),
        ("n String DEFAULT 'a CODEC(x), `b`' `json:$.n`", Column("n", "String", "$.n", "'a CODEC(x), `b`'")),
        ("n String DEFAULT concat('a', 'b')", Column("n", "String", default="concat('a', 'b')")),
        ("n Array(Int32) DEFAULT [1, 2]", Column("n", "Array(Int32)", default="[1, 2]")),
        ("default String DEFAULT 'x'", Column("default", "String", default="'x'")),
        ("n Int8 DEFAULT is_default", Column("n", "Int8", default="is_default")),
        ("u DateTime\n  DEFAULT\n  now()", Column("u", "DateTime", default="now()")),
    ],
)
def test_a_column_is_read(text: str, column: Column) -> None:
    assert parse_schema(text) == (column,)
    assert parse_schema(f"before Int8,\n{text} ,\nafter Int8") == (
        Column("before", "Int8"),
        column,
        Column("after", "Int8"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "SCHEMA:1: SCHEMA is empty: add at least one column, as in: `id` UInt64 `json:$.id`"),
        ("a Int32,\nb", "SCHEMA:2: column 'b' has no type: write `b` Type, found ''"),
        ("a Int32,\n`b` `json:$.b`", "SCHEMA:2: column 'b' has no type: write `b` Type, found '`json:$.b`'"),
        ("a Int32,\n\nb Array(Int32", "SCHEMA:3: column 'b': a parenthesis of the type 'Array(Int32' is not closed"),
        ("a Int32 nullable", "SCHEMA:1: column 'a': 'nullable' is not `json:$.path`, DEFAULT or CODEC(...)"),
        ("a Int32 `$.a`", "SCHEMA:1: column 'a': '`$.a`' is no JSONPath: write `json:$.path`"),
        ("a Int32 DEFAULT", "SCHEMA:1: column 'a': DEFAULT has no expression"),
        ("a Int32 DEFAULT 1 DEFAULT 2", "SCHEMA:1: column 'a' has two default clauses: remove one"),
        ("a Int32,\na String", "SCHEMA:2: column 'a' is defined twice: remove one"),
        ("a Int32,", "SCHEMA:1: a comma of SCHEMA has no column beside it: remove the comma, or add the column"),
        ("`a Int32", "SCHEMA:1: column '`a Int32': a name in backticks is not closed, or empty"),
        ("1a Int32", "SCHEMA:1: column '1a Int32' does not start with a name: write `name` Type"),
        ("a-b Int32", "SCHEMA:1: column 'a-b Int32' does not start with a name: write `name` Type"),
    ],
)
def test_a_bad_column_is_named(text: str, message: str) -> None:
    with pytest.raises(DatafileError) as raised:
        parse_schema(text)
    assert str(raised.value) == message


DAILY_TEXT = """\
DESCRIPTION Departures by day
TOKEN "dash" READ

NODE only_jfk
DESCRIPTION >
    From one airport
SQL >
    %
    SELECT *
      FROM flights
    # a comment of the SQL stays
    WHERE origin = {{ String(origin, 'JFK') }}

# a comment of the file goes
NODE by_day
SQL >

    SELECT flight_date, count() AS departures
    FROM only_jfk

    GROUP BY flight_date
TYPE COPY
TARGET_DATASOURCE daily_departures
COPY_MODE REPLACE
COPY_SCHEDULE 0 * * * *
"""


def test_a_pipe_file_is_read_whole() -> None:
    daily = parse_pipe(DAILY_TEXT, DAILY)
    assert (daily.name, daily.description, daily.source) == ("daily", "Departures by day", DAILY)
    assert daily.tokens == (TokenGrant("dash", "READ"),)
    only_jfk, by_day = daily.nodes
    assert (only_jfk.name, only_jfk.kind, only_jfk.description) == ("only_jfk", NodeKind.STANDARD, "From one airport")
    assert only_jfk.sql == (
        "%\nSELECT *\n  FROM flights\n# a comment of the SQL stays\nWHERE origin = {{ String(origin, 'JFK') }}"
    )
    assert by_day.sql == "SELECT flight_date, count() AS departures\nFROM only_jfk\n\nGROUP BY flight_date"
    assert by_day.kind is NodeKind.COPY
    assert dict(by_day.settings) == {
        "target_datasource": "daily_departures",
        "copy_mode": "replace",
        "copy_schedule": "0 * * * *",
    }


@pytest.mark.parametrize(
    ("keys", "kind", "settings"),
    [
        ("TYPE endpoint", NodeKind.ENDPOINT, {}),
        ("TYPE Endpoint", NodeKind.ENDPOINT, {}),
        ("TYPE materialized\nDATASOURCE target", NodeKind.MATERIALIZED, {"datasource": "target"}),
        (
            'TYPE MATERIALIZED\nDATASOURCE t\nENGINE "AggregatingMergeTree"\nENGINE_SORTING_KEY "day"',
            NodeKind.MATERIALIZED,
            {"datasource": "t", "engine": "AggregatingMergeTree", "engine_sorting_key": "day"},
        ),
        (
            'TYPE sink\nEXPORT_CONNECTION_NAME "bucket"\nEXPORT_FORMAT csv\nEXPORT_SCHEDULE "*/5 * * * *"',
            NodeKind.SINK,
            {"export_connection_name": "bucket", "export_format": "csv", "export_schedule": "*/5 * * * *"},
        ),
        ("TARGET_DATASOURCE t\nTYPE COPY", NodeKind.COPY, {"target_datasource": "t"}),
    ],
)
def test_the_type_of_a_node_and_its_settings(keys: str, kind: NodeKind, settings: dict[str, str]) -> None:
    (node,) = parse_pipe(f"NODE n\nSQL >\n    SELECT 1\n{keys}\n", DAILY).nodes
    assert (node.kind, dict(node.settings)) == (kind, settings)


def test_an_indented_file_keeps_its_blocks_apart() -> None:
    text = "  NODE n\n  SQL >\n      SELECT 1\n        FROM t\n  TYPE endpoint\n"
    (node,) = parse_pipe(text, DAILY).nodes
    assert (node.sql, node.kind) == ("SELECT 1\n  FROM t", NodeKind.ENDPOINT)


@pytest.mark.parametrize(
    "sql",
    [
        "%\nSELECT *\nFROM flights\n# said twice\nWHERE origin = {{ String(origin) }}",
        "%\n    SELECT *\n    FROM (\n    SELECT 1\n)\nLIMIT 5",
        "SELECT version,\ntype\nFROM t",
    ],
)
def test_sql_at_the_margin_ends_where_a_key_starts(sql: str) -> None:
    pipe = parse_pipe(
        f"NODE n\nSQL >\n\n{sql}\n\nTYPE MATERIALIZED\nDATASOURCE x\nNODE daily\nSQL >\n    SELECT 1\ntype materialized\ndatasource d",
        DAILY,
    )
    first, second = pipe.nodes
    assert (first.sql, first.kind) == (sql.replace("# said twice", ""), NodeKind.MATERIALIZED)
    assert (second.name, second.sql, second.kind) == ("daily", "SELECT 1", NodeKind.MATERIALIZED)


def test_a_line_separator_in_a_string_is_no_end_of_line() -> None:
    (node,) = parse_pipe("NODE n\nSQL >\n    SELECT 'a\u2028b\x0cc'\n", DAILY).nodes
    assert node.sql == "SELECT 'a\u2028b\x0cc'"


NODE = "NODE n\nSQL >\n    SELECT 1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "SCHEMA >\n    a Int32\nENGINE_SORT_KEY a",
            "3: unknown key 'ENGINE_SORT_KEY'; did you mean ENGINE_SORTING_KEY?",
        ),
        ("SCHEMA >\n    a Int32\nqqq a", "3: unknown key 'qqq'; if it belongs to the block above, indent it"),
        (
            "SCHEMA >\n    a Int32\n`b` Int32",
            "3: expected a key and a value, found '`b` Int32'; indent the lines of a block",
        ),
        ("DESCRIPTION x", "1: SCHEMA is missing: add SCHEMA > and the columns, indented, separated by commas"),
        ("\n\nSCHEMA >\n\n", "3: SCHEMA is empty: add at least one column, as in: `id` UInt64 `json:$.id`"),
        ("ENGINE MergeTree\nSCHEMA >\n\n    a Int32,\n    b\n", "5: column 'b' has no type: write `b` Type, found ''"),
        ("SCHEMA a Int32\nSCHEMA b Int32", "2: SCHEMA is given twice, first in line 1"),
        ("SCHEMA a Int32\nINCLUDE 'x.incl'", "2: INCLUDE is not supported: put the nodes of the included file here"),
        ("SCHEMA a Int32\nTOKEN x", "2: TOKEN needs a name and READ or APPEND, found 'x'"),
        (
            "SCHEMA a Int8\nENGINE VersionedCollapsingMergeTree\nENGINE_SIGN a",
            "2: ENGINE VersionedCollapsingMergeTree needs ENGINE_VERSION: add it",
        ),
    ],
)
def test_what_is_wrong_with_a_data_source_file_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(DatafileError) as raised:
        parse_datasource(text, FLIGHTS)
    assert str(raised.value) == f"{FLIGHTS}:{message}"
    assert f"{raised.value.path}:{raised.value.line}: {raised.value.reason}" == str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DESCRIPTION nothing", "1: the pipe has no NODE: add NODE <name> and SQL >"),
        ("SQL >\n    SELECT 1\n" + NODE, "1: SQL belongs to a node: put it after a NODE line"),
        ("NODE a\nTYPE endpoint", "1: node 'a' has no SQL: add SQL > and the query, indented"),
        ("NODE a\nSQL >\n\nTYPE endpoint", "2: node 'a' has no SQL: add SQL > and the query, indented"),
        (NODE + "DATASOURC t", "4: unknown key 'DATASOURC'; did you mean DATASOURCE?"),
        ("DESCRIPTION >\ntext", "1: the pipe has no NODE: add NODE <name> and SQL >"),
        (NODE + NODE, "4: node 'n' is defined twice, first in line 1: rename one"),
        (
            "NODE\nSQL SELECT 1",
            "1: node name '' may only hold letters, digits and underscores, and not start with a digit: rename it",
        ),
        ("NODE Select\nSQL SELECT 1", "1: node name 'Select' is a reserved word: rename it"),
        (NODE + "TYPE view", "4: TYPE 'view' is unknown: use one of endpoint, copy, sink, materialized"),
        (NODE + "\nTYPE COPY", "5: node 'n' is of TYPE copy and needs TARGET_DATASOURCE <data source>"),
        (NODE + "TYPE MATERIALIZED", "4: node 'n' is of TYPE materialized and needs DATASOURCE <data source>"),
        (
            NODE + "TYPE COPY\nTARGET_DATASOURCE t\nCOPY_MODE upsert",
            "6: COPY_MODE 'upsert' is unknown: use append or replace",
        ),
        (
            NODE + "TYPE endpoint\nNODE m\nSQL SELECT 2\nTYPE copy\nTARGET_DATASOURCE t",
            "5: a pipe has one endpoint, copy or sink node and no other output, this one has 'n' (endpoint) and 'm' (copy)",
        ),
        ("INCLUDE 'a.incl'\n" + NODE, "1: INCLUDE is not supported: put the nodes of the included file here"),
    ],
)
def test_what_is_wrong_with_a_pipe_file_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(DatafileError) as raised:
        parse_pipe(text, DAILY)
    assert str(raised.value) == f"{DAILY}:{message}"


def test_several_materialized_nodes_can_share_a_pipe() -> None:
    text = (
        "NODE a\nSQL SELECT 1\nTYPE materialized\nDATASOURCE x\nNODE b\nSQL SELECT 2\nTYPE materialized\nDATASOURCE y\n"
    )
    assert [node.kind for node in parse_pipe(text, DAILY).nodes] == [NodeKind.MATERIALIZED] * 2


@pytest.mark.parametrize("name", ["order", "ORDER", "generateRandom", "sql_and", "Tinybird", "DateTime64"])
def test_reserved_names_are_refused_whatever_their_case(name: str) -> None:
    path = Path(f"{name}.datasource")
    with pytest.raises(DatafileError) as raised:
        parse_datasource("SCHEMA a Int32", path)
    assert str(raised.value) == f"{path}:1: data source name {name!r} is a reserved word: rename it"


def write(directory: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_a_project_is_every_file_below_a_directory(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "datasources/deep/flights.datasource": "\ufeff" + FLIGHTS_TEXT,
            "a.datasource": "SCHEMA a Int32",
            "pipes/daily.pipe": DAILY_TEXT,
            "README.md": "not a datafile",
        },
    )
    project = load_project(tmp_path)
    assert [one.name for one in project.datasources] == ["a", "flights__v3"]
    assert [one.name for one in project.pipes] == ["daily"]
    assert load_project(tmp_path / "datasources" / "deep").pipes == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a/x.datasource": "SCHEMA a Int8", "b/x.datasource": "SCHEMA a Int8"},
            "{0}/b/x.datasource:1: 'x' is also the name of {0}/a/x.datasource: rename one of them",
        ),
        (
            {"x.datasource": "SCHEMA a Int8", "x.pipe": NODE},
            "{0}/x.pipe:1: 'x' is also the name of {0}/x.datasource: rename one of them",
        ),
        (
            {"n.datasource": "SCHEMA a Int8", "x.pipe": "DESCRIPTION d\n\n" + NODE},
            "{0}/x.pipe:3: node 'n' has the name of {0}/n.datasource: rename the node",
        ),
        (
            {"x.datasource": b"SCHEMA >\n    a Int8\n# caf\xe9"},
            "{0}/x.datasource:3: the file is not UTF-8 text: save it as UTF-8",
        ),
        (
            {"my-data.datasource": "SCHEMA a Int8"},
            "{0}/my-data.datasource:1: data source name 'my-data' may only hold letters, digits and underscores, "
            "and not start with a digit: rename it",
        ),
    ],
)
def test_a_project_that_cannot_be_used_is_refused(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    write(tmp_path, files)
    with pytest.raises(DatafileError) as raised:
        load_project(tmp_path)
    assert str(raised.value) == message.format(tmp_path)


def test_a_missing_project_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatafileError, match="no such directory: give the root of a Tinybird project"):
        load_project(tmp_path / "nowhere")
