"""polars frames."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pytest

from airflow_provider_tinybird.ndjson import EncodeError, UnsupportedDataError, batches
from airflow_provider_tinybird.ndjson.frames import PolarsSource

pl = pytest.importorskip("polars")


def sent(data: object) -> str:
    return b"".join(batch.body for batch in batches(data)).decode()


def test_types():
    frame = pl.DataFrame(
        {
            "i": pl.Series([2**64 - 1], dtype=pl.UInt64),
            "f": pl.Series([0.1], dtype=pl.Float32),
            "s": ['a"é'],
            "b": [True],
            "d": [dt.date(2024, 2, 29)],
            "t": pl.Series([dt.datetime(2024, 1, 1, 12)]).dt.replace_time_zone("Europe/Madrid"),
            "n": pl.Series([dt.datetime(2024, 1, 1)], dtype=pl.Datetime("ns")),
            "c": pl.Series(["x"], dtype=pl.Categorical),
            "e": pl.Series(["y"], dtype=pl.Enum(["y"])),
            "m": pl.Series([Decimal("1.50")], dtype=pl.Decimal(9, 2)),
            "l": [[1, None]],
            "o": [{"k": "v"}],
            "h": [dt.time(1, 2, 3)],
            "u": pl.Series([dt.timedelta(seconds=1)], dtype=pl.Duration("ms")),
            "z": [None],
        }
    )
    assert sent(frame) == (
        '{"i":18446744073709551615,"f":0.1,"s":"a\\"é","b":true,"d":"2024-02-29","t":"2024-01-01T11:00:00.000000Z",'
        '"n":"2024-01-01 00:00:00.000000000","c":"x","e":"y","m":"1.50","l":[1,null],"o":{"k":"v"},'
        '"h":"01:02:03.000000000","u":1000,"z":null}\n'
    )


def test_slice_and_empty():
    assert sent(pl.DataFrame({"a": ["x", "y", "z"]}).slice(1, 1)) == '{"a":"y"}\n'
    assert list(batches(pl.DataFrame({"a": []}))) == []


def test_lazy_frame():
    assert sent(pl.LazyFrame({"a": [1, 2]}).filter(pl.col("a") > 1)) == '{"a":2}\n'


def test_integers_of_128_bits_are_sent_as_text():
    signed = pl.Series([2**127 - 1, None, -(2**127)], dtype=pl.Int128)
    unsigned = pl.Series([2**128 - 1, None, 0], dtype=pl.UInt128)
    assert sent(pl.DataFrame({"s": signed, "u": unsigned})) == (
        f'{{"s":"{2**127 - 1}","u":"{2**128 - 1}"}}\n{{"s":null,"u":null}}\n{{"s":"{-(2**127)}","u":"0"}}\n'
    )


def test_series():
    with pytest.raises(UnsupportedDataError, match=r"call to_frame\(\) first"):
        sent(pl.Series([1]))


@pytest.mark.parametrize(
    "column",
    [pl.Series([object()], dtype=pl.Object), pl.Series([b"\xff"])],
    ids=["object", "binary"],
)
def test_refused(column):
    with pytest.raises(EncodeError, match="column 'bad'"):
        sent(pl.DataFrame({"bad": column}))


@pytest.mark.parametrize("items", [["a", "b"], [{"t": "a"}, {"t": "b"}], [["a"], ["b"]]])
def test_a_slice_of_lists_does_not_convert_those_of_all_rows(items):
    """Else the time would grow with the square of the rows."""
    source = PolarsSource(pl.DataFrame({"n": range(1000), "l": [items] * 1000}))
    table = source.arrow(900, 10)
    assert table.to_pylist() == [{"n": n, "l": items} for n in range(900, 910)]
    assert len(table["l"].chunk(0).values) == 10 * len(items)
    lines = bytes(source.encode(998, 5, 0).body).splitlines()
    assert [json.loads(line) for line in lines] == [{"n": n, "l": items} for n in (998, 999)]
