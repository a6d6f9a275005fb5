"""Bodies: their limits, their rows, how lazily they are made, and what memory they take."""

from __future__ import annotations

import itertools
import json
import random
import tracemalloc
import weakref
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
import pytest

from airflow_provider_tinybird.ndjson import Batch, EncodeError, batches
from airflow_provider_tinybird.ndjson.batches import DEFAULT_MAX_BYTES

ROWS = 30_000
TEXTS = [f"{n}:" + "é" * (n * 7919 % 97) for n in range(ROWS)]
TABLE = pa.table({"n": list(range(ROWS)), "s": TEXTS})
RECORDS = TABLE.to_pylist()
WHOLE = "".join(f'{{"n":{n},"s":"{text}"}}\n' for n, text in enumerate(TEXTS)).encode()

KINDS = {
    "arrow": lambda: TABLE,
    "arrow, many chunks": lambda: pa.concat_tables([TABLE.slice(start, 700) for start in range(0, ROWS, 700)]),
    "pandas": lambda: pd.DataFrame({"n": range(ROWS), "s": TEXTS}),
    "records": lambda: RECORDS,
    "records, one by one": lambda: iter(RECORDS),
    "text": lambda: WHOLE.decode(),
    "generator of small frames": lambda: (TABLE.slice(start, 333) for start in range(0, ROWS, 333)),
}


def check(made: list[Batch], limit: int) -> None:
    assert b"".join(batch.body for batch in made) == WHOLE
    assert max(len(batch.body) for batch in made) <= limit
    first = 0
    for batch in made:
        body = bytes(batch.body)
        assert body.startswith(b'{"n":%d,' % first)
        assert body.endswith(b"}\n")
        assert batch.first_row == first
        assert batch.rows == body.count(b"\n")
        first += batch.rows
    assert first == ROWS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [2_000, 10_007, 500_000, 10_000_000])
def test_whole_and_within_the_limit(kind, limit):
    check(list(batches(KINDS[kind](), max_bytes=limit)), limit)


def greedy(limit: int, overhead: int) -> list[tuple[int, int]]:
    """First row and size of each body, when a body ends where the next row does not fit."""
    cuts, first, size, filled = [], 0, 0, 0
    for row, line in enumerate(WHOLE.splitlines(keepends=True)):
        if filled + len(line) + overhead > limit:
            cuts.append((first, size))
            first, size, filled = row, 0, 0
        size += len(line)
        filled += len(line) + overhead
    return [*cuts, (first, size)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("limit", "overhead"), [(3_000, 0), (200_000, 0), (200_000, 77), (10_007, 1)])
def test_cuts_depend_on_the_lines_only(kind, limit, overhead):
    made = list(batches(KINDS[kind](), max_bytes=limit, row_overhead=overhead))
    assert [(batch.first_row, len(batch.body)) for batch in made] == greedy(limit, overhead)
    assert all(len(batch.body) + overhead * batch.rows <= limit for batch in made)
    check(made, limit)


def test_a_row_that_is_too_long_with_its_overhead():
    rows = [{"a": 1}, {"a": 22}]
    assert [batch.rows for batch in batches(rows, max_bytes=20, row_overhead=11)] == [1, 1]
    with pytest.raises(EncodeError, match="row 1: the row alone takes 9 bytes and 11 more when it is sent, and a body"):
        list(batches(rows, max_bytes=19, row_overhead=11))
    with pytest.raises(ValueError, match="row_overhead must be at least 0"):
        list(batches(rows, row_overhead=-1))


def test_a_limit_that_rows_fill_exactly():
    rows = [{"a": 1}] * 10
    made = list(batches(rows, max_bytes=16))
    assert [(bytes(batch.body), batch.rows, batch.first_row) for batch in made] == [
        (b'{"a":1}\n' * 2, 2, first) for first in range(0, 10, 2)
    ]


@pytest.mark.parametrize("kind", ["table", "frame", "records", "text"])
def test_a_row_that_is_too_long(kind):
    table = pa.table({"s": ["x"] * 5000 + ["y" * 100] + ["x"]})
    data = {
        "table": table,
        "frame": table.to_pandas(),
        "records": table.to_pylist(),
        "text": "".join(f'{{"s":"{text}"}}\n' for text in table["s"].to_pylist()),
    }[kind]
    with pytest.raises(EncodeError, match="row 5000: the row alone takes 109 bytes, and a body may have 108") as caught:
        list(batches(data, max_bytes=108))
    assert caught.value.row == 5000
    assert sum(batch.rows for batch in batches(data, max_bytes=109)) == 5002


def test_limit_of_nothing():
    with pytest.raises(ValueError, match="max_bytes must be at least 1"):
        list(batches([], max_bytes=0))


def test_bodies_can_be_compared_and_hashed_like_bytes():
    body = next(batches(pa.table({"a": ["é"]}))).body
    assert body == '{"a":"é"}\n'.encode()
    assert bytes(body) == '{"a":"é"}\n'.encode()
    assert memoryview(body).readonly


def test_a_body_is_in_memory_once():
    """While a body is made, the one before is alive: two of 10 MB, and in Arrow's memory no more than one slice."""
    table = pa.table({"s": ["x" * 1000] * 40_000})
    list(batches(table.slice(0, 1)))
    usual, arrow = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(arrow)
    tracemalloc.start()  # knows the memory of bodies; not Arrow's
    try:
        sizes = [len(batch.body) for batch in batches(table)]
        highest = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)
    assert len(sizes) == 5
    assert highest < 2.5 * DEFAULT_MAX_BYTES
    assert arrow.max_memory() < 0.5 * DEFAULT_MAX_BYTES


@pytest.mark.parametrize("limit", [25_000_000, 10**15])
def test_bodies_beyond_the_usual_size(limit):
    table = pa.table({"n": range(300_000), "s": ["x" * 90] * 300_000})
    bodies = [bytes(batch.body) for batch in batches(table, max_bytes=limit)]
    assert [json.loads(line)["n"] for line in b"".join(bodies).splitlines()] == list(range(300_000))
    assert [len(body) > 20_000_000 for body in bodies] == ([True, False] if limit == 25_000_000 else [True])


def test_a_frame_is_let_go_before_the_next_is_made():
    alive: list[weakref.ref[pd.DataFrame]] = []

    def data() -> Iterator[pd.DataFrame]:
        for _ in range(5):
            assert all(frame() is None for frame in alive)
            frame = pd.DataFrame({"n": range(1000)})
            alive.append(weakref.ref(frame))
            yield frame
            del frame

    assert sum(batch.rows for batch in batches(data)) == 5000
    assert len(alive) == 5


def test_each_row_is_encoded_once(monkeypatch):
    from airflow_provider_tinybird.ndjson import tables

    lengths: list[int] = []
    plain = tables.encode_table

    def counted(table: pa.Table, first_row: int) -> object:
        lengths.append(table.num_rows)
        return plain(table, first_row)

    monkeypatch.setattr(tables, "encode_table", counted)
    made = list(batches(TABLE, max_bytes=200_000))
    assert sum(lengths) == ROWS
    assert len(lengths) <= 2 * len(made) + 3


class Counted:
    """An endless iterator that knows how much was taken from it."""

    def __init__(self, make: object) -> None:
        self.taken = 0
        self._make = make

    def __iter__(self) -> Iterator[object]:
        for n in itertools.count():
            self.taken += 1
            yield self._make(n)


def test_records_are_taken_only_as_the_next_body_needs():
    source = Counted(lambda n: {"n": n, "s": "x" * 80})
    made = batches(source, max_bytes=100_000)
    assert source.taken == 0
    for _ in range(5):
        batch = next(made)
        assert source.taken <= batch.first_row + 2.2 * batch.rows + 1


def test_short_records_do_not_make_the_next_step_a_giant_one():
    source = Counted(lambda n: {"s": "" if n < 256 else "x" * 10_000})
    next(batches(source))
    assert source.taken < 10_000


def test_frames_are_taken_one_at_a_time():
    source = Counted(lambda n: pd.DataFrame({"n": range(n * 1000, n * 1000 + 1000)}))
    made = batches(source, max_bytes=50_000)
    for _ in range(5):
        batch = next(made)
        assert source.taken <= (batch.first_row + batch.rows) // 1000 + 1


def test_bodies_before_an_error_of_the_generator_are_handed_out():
    def data() -> Iterator[object]:
        yield pa.table({"n": range(1000)})
        raise RuntimeError("their own")

    made = batches(data, max_bytes=1000)
    assert next(made).first_row == 0
    with pytest.raises(RuntimeError, match="their own"):
        list(made)


def test_memory_does_not_grow_with_the_data():
    """200 MB of text in 40 frames, where at most a few bodies are alive."""
    word = "".join(random.Random(1).choices("abcdef", k=100))

    def data() -> Iterator[pa.Table]:
        for _ in range(40):
            yield pa.table({"s": pa.array([word] * 50_000)})

    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    highest = total = 0
    for batch in batches(data(), max_bytes=5_000_000):
        highest = max(highest, pool.bytes_allocated() - before)
        total += len(batch.body)
    assert total > 200_000_000
    assert highest < 30_000_000


@pytest.mark.parametrize("kind", ["arrow", "pandas"])
def test_rows_that_suddenly_grow_are_not_encoded_all_at_once(kind):
    """Slices are sized by the rows before; here the next ones are 500 times as long."""
    table = pa.table({"s": ["x"] * 300_000 + ["y" * 5000] * 20_000})
    data = table if kind == "arrow" else table.to_pandas(types_mapper=pd.ArrowDtype)
    pool = pa.default_memory_pool()
    before, highest, rows = pool.bytes_allocated(), 0, 0
    for batch in batches(data, max_bytes=5_000_000):
        highest = max(highest, pool.bytes_allocated() - before)
        rows += batch.rows
        del batch
    assert rows == 320_000
    assert highest < 60_000_000
