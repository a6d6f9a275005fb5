"""Results on their way to XCom, to a DataFrame and to a file."""

from __future__ import annotations

import json

import pytest

from airflow_provider_tinybird.api import query
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import BadRequestError, InvalidInputError, TinybirdError
from airflow_provider_tinybird.api.models import ColumnMeta, QueryResult, RawResult
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.results import xcom


@pytest.fixture
def client(tinybird):
    with Client(Settings(base_url=tinybird.url, token=Token(tinybird.token), max_retries=0)) as client:
        yield client


def result(rows: int, text: str = "x") -> QueryResult:
    return QueryResult(
        data=tuple({"a": text} for _ in range(rows)),
        meta=(ColumnMeta("a", "String"),),
        rows=rows,
        rows_before_limit_at_least=None,
        statistics={"elapsed": 0.1, "rows_read": 1, "bytes_read": 1},
    )


class TestXcom:
    def test_tinybirds_own_keys(self):
        value = xcom.query_xcom(result(2), "It")
        assert json.loads(json.dumps(value)) == {
            "data": [{"a": "x"}, {"a": "x"}],
            "meta": [{"name": "a", "type": "String"}],
            "rows": 2,
            "rows_before_limit_at_least": None,
            "statistics": {"elapsed": 0.1, "rows_read": 1, "bytes_read": 1},
        }

    def test_too_large(self):
        with pytest.raises(InvalidInputError, match=r"The query is 1,.* bytes.*output_path"):
            xcom.query_xcom(result(1, "x" * 1_000_000), "The query")

    def test_text(self):
        value = xcom.raw_xcom(RawResult("a,b\n1,ä\n".encode(), "CSV"), "It")
        assert value["data"] == "a,b\n1,ä\n"
        assert set(value) == {"data", "meta", "rows", "rows_before_limit_at_least", "statistics"}

    @pytest.mark.parametrize("format", ["Parquet", "parquet", "Arrow", "Native", "RowBinary"])
    def test_binary_by_its_name(self, format):
        with pytest.raises(InvalidInputError, match="no text: give output_path"):
            xcom.raw_xcom(RawResult(b"PAR1", format), "It")

    def test_binary_by_its_bytes(self):
        with pytest.raises(InvalidInputError, match="no text: give output_path"):
            xcom.raw_xcom(RawResult(b"\x93\xff\x00", "MsgPack"), "It")


class TestToFile:
    def test_it_streams_the_bytes(self, client, tinybird, tmp_path):
        tinybird.on("POST /v0/sql", (200, b"a,b\n1,2\n", {"Content-Type": "text/csv"}))
        place = tmp_path / "out.csv"
        value = xcom.write_result(client, query.sql_as("SELECT 1", "CSV"), str(place))
        assert value == {"output_path": str(place), "size": 8}
        assert place.read_bytes() == b"a,b\n1,2\n"

    def test_a_path_object(self, client, tinybird, tmp_path):
        tinybird.on("POST /v0/sql", (200, b"1"))
        value = xcom.write_result(client, query.sql_as("SELECT 1", "CSV"), tmp_path / "out.csv")
        assert json.loads(json.dumps(value))["output_path"] == str(tmp_path / "out.csv")

    def test_an_error_leaves_no_file(self, client, tinybird, tmp_path):
        tinybird.on("POST /v0/sql", (400, {"error": "Syntax error"}))
        with pytest.raises(BadRequestError, match="Syntax error"):
            xcom.write_result(client, query.sql_as("SELEC", "CSV"), str(tmp_path / "new" / "out.csv"))
        assert list(tmp_path.iterdir()) == []

    def test_an_answer_that_breaks_off_leaves_no_file(self, client, tinybird, tmp_path):
        tinybird.on("POST /v0/sql", (200, b"1,2", {"Content-Encoding": "gzip"}))  # which it is not
        with pytest.raises(TinybirdError):
            xcom.write_result(client, query.sql_as("SELECT 1", "CSV"), str(tmp_path / "out.csv"))
        assert list(tmp_path.iterdir()) == []

    def test_a_place_that_cannot_be_written(self, client, tinybird, tmp_path):
        tinybird.on("POST /v0/sql", (200, b"1"))
        with pytest.raises(InvalidInputError, match=r"output_path .* cannot be written"):
            xcom.write_result(client, query.sql_as("SELECT 1", "CSV"), str(tmp_path))
