"""How fast requests go, and whether they are compressed."""

from __future__ import annotations

import gzip
import sys
from typing import Any

import pytest
from unit.loads.small import EVENTS, ROW, accept, two_digits

from airflow_provider_tinybird.api.body import NDJSON, BytesBody
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.loads import Compression, LoadOptions
from airflow_provider_tinybird.loads.events.compression import Compressor, MeasuredBody, gzipped, pays
from airflow_provider_tinybird.loads.events.journal import NoJournal
from airflow_provider_tinybird.loads.events.loader import Load
from airflow_provider_tinybird.loads.events.progress import Progress, Ranges, rows_of
from airflow_provider_tinybird.loads.events.rate_limit import NoPace, Pace
from airflow_provider_tinybird.ndjson import batches

MB = 1_000_000


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand():
    return Hand()


class TestPace:
    def paced(self, hand: Hand, sizes: list[int]) -> list[float]:
        """When each request went, after the first."""
        pace, went = Pace(clock=hand), []
        for size in sizes:
            hand.now += pace.delay()
            pace.went(size)
            went.append(hand.now - 100.0)
        return went

    def test_19_mb_a_second(self, hand):
        assert self.paced(hand, [9_500_000] * 5)[-1] == pytest.approx(2.0, abs=0.26)

    def test_no_second_has_more_than_20_mb_for_long(self, hand):
        went = self.paced(hand, [9_500_000] * 60)
        for start in range(0, 25, 5):
            inside = sum(9.5 for moment in went if start <= moment < start + 5)
            assert inside <= 100

    def test_95_requests_a_second(self, hand):
        went = self.paced(hand, [10] * 500)
        assert sum(moment < 1 for moment in went) <= 95 + 24
        assert sum(1 <= moment < 2 for moment in went) <= 95

    def test_a_sender_that_falls_behind_does_not_catch_up_for_long(self, hand):
        pace = Pace(clock=hand)
        pace.went(1)
        hand.now += 3600
        pace.went(19 * MB)
        assert pace.delay() == pytest.approx(0.75)

    def test_none(self, hand):
        pace = NoPace(clock=hand)
        pace.went(10**12)
        assert pace.delay() == 0

    def test_a_load_waits_for_it(self, client, tinybird, hand, monkeypatch):
        """Bodies of two rows, four of which may go a second."""
        tinybird.on(EVENTS, accept)
        moments = []
        load = Load(
            client,
            LoadOptions(max_in_flight=1),
            NoJournal(),
            Progress("flights", clock=hand),
            pace=Pace(10**6, 4, clock=hand),
            clock=hand,
        )
        take, submit = load._senders.take, load._senders.submit

        def wait(timeout: float | None) -> Any:
            if load._senders.in_flight:
                return take(30)
            assert timeout is not None
            hand.now += timeout
            return None

        monkeypatch.setattr(load._senders, "take", wait)
        monkeypatch.setattr(load._senders, "submit", lambda chunk: moments.append(hand.now - 100) or submit(chunk))
        load.run(batches(two_digits(20), max_bytes=(ROW + 1) * 2))
        assert moments == pytest.approx([0.25 * number for number in range(10)], abs=0.02)

    def test_small_options_are_paced_unless_told(self, client):
        def pace(options: LoadOptions) -> type[Pace]:
            return type(Load(client, options, NoJournal(), Progress("flights"))._pace)

        assert (pace(LoadOptions()), pace(LoadOptions(pacing=False))) == (Pace, NoPace)


class TestCompression:
    @pytest.mark.parametrize("value", [None, "none"])
    def test_none(self, value):
        assert Compression.parse(value) is None

    @pytest.mark.parametrize("value", ["zstd", "GZIP", "", "br"])
    def test_one_that_tinybird_does_not_know(self, value):
        with pytest.raises(InvalidInputError, match="'gzip'"):
            Compression.parse(value)

    def test_isal_where_it_is_there_and_zlib_where_not(self, monkeypatch):
        text = b'{"n":1}\n' * 10_000
        assert gzip.decompress(gzipped(text)) == text
        monkeypatch.setitem(sys.modules, "isal", None)
        assert gzip.decompress(gzipped(memoryview(text))) == text
        assert gzipped(text) == gzip.compress(text, 1, mtime=0)

    @pytest.mark.parametrize(
        ("link", "compressor", "ratio", "pace", "expected"),
        [
            (2, 100, 0.2, 19, True),  # a slow link
            (18, 100, 0.2, 19, True),
            (25, 100, 0.2, 19, False),  # carries more than may be sent
            (25, 100, 0.2, None, True),
            (90, 100, 0.2, None, False),  # as fast as the compressor
            (18, 100, 0.9, 19, False),  # hardly anything to gain
            (2, 100, 1.0, 19, False),
        ],
    )
    def test_when_it_pays(self, link, compressor, ratio, pace, expected):
        assert pays(link=link, compressor=compressor, ratio=ratio, pace=pace) is expected


class TestAuto:
    BODY = (b'{"n":1,"name":"a flight"}\n' * 80_000)[: 2 * MB]

    def sent(self, compressor: Compressor, hand: Hand, megabytes_a_second: float) -> MeasuredBody | None:
        """Send one over a link so fast, whose first half is taken by buffers at once."""
        body = compressor.measure(BytesBody(self.BODY, NDJSON))
        taken = 0
        for chunk in body.chunks() if body else ():
            taken += len(chunk)
            if taken > len(self.BODY) / 2:
                hand.now += len(chunk) / megabytes_a_second / MB
        return body

    @pytest.mark.parametrize(("speed", "expected"), [(2, True), (200, False)])
    def test_the_first_large_body_decides(self, hand, monkeypatch, speed, expected):
        """By a compressor of 100 MB/s."""
        compressor = Compressor(Compression.AUTO, paced=True, clock=hand)
        assert not compressor.is_on
        measured = self.sent(compressor, hand, speed)
        assert measured is not None
        assert measured.speed == pytest.approx(speed * MB, rel=0.3)

        def slow(content: Any) -> bytes:
            hand.now += len(content) / (100 * MB)
            return gzipped(content)

        monkeypatch.setattr("airflow_provider_tinybird.loads.events.compression.gzipped", slow)
        compressor.decide(self.BODY, measured)
        assert compressor.is_on is expected
        assert compressor.measure(BytesBody(self.BODY, NDJSON)) is None

    def test_small_bodies_tell_nothing(self, hand):
        compressor = Compressor(Compression.AUTO, paced=True, clock=hand)
        assert compressor.measure(BytesBody(b"x" * 1000, NDJSON)) is None
        assert compressor.measure(BytesBody(self.BODY, NDJSON)) is not None

    def test_a_load_over_a_slow_link(self, client, tinybird, monkeypatch):
        """The first body goes as it is, those after the decision compressed."""
        monkeypatch.setattr("airflow_provider_tinybird.loads.events.compression.pays", lambda **_: True)

        def accepted(request: Any) -> dict[str, int]:
            zipped = request.headers.get("content-encoding") == "gzip"
            return {"successful_rows": (gzip.decompress(request.body) if zipped else request.body).count(b"\n")}

        tinybird.on(EVENTS, accepted)
        data = [{"n": number, "text": "x" * 1000} for number in range(6000)]
        options = LoadOptions(compression=Compression.AUTO, max_in_flight=1, pacing=False)
        Load(client, options, NoJournal(), Progress("flights")).run(batches(data, max_bytes=2 * MB))
        encodings = [request.headers.get("content-encoding") for request in tinybird.requests]
        assert encodings == [None, "gzip", "gzip", "gzip"]
        bodies = [
            gzip.decompress(request.body) if gz else request.body
            for request, gz in zip(tinybird.requests, encodings, strict=True)
        ]
        assert b"".join(bodies).count(b"\n") == 6000


class TestRanges:
    def test_neighbours_become_one(self):
        ranges = Ranges()
        for first, rows in ((4, 2), (0, 2), (2, 2), (9, 1), (20, 5)):
            ranges.add(first, rows)
        assert str(ranges) == "rows 0 to 5, 9 and 20 to 24"
        assert (ranges.batches, ranges.rows) == (5, 12)

    def test_many_are_cut(self):
        ranges = Ranges()
        for number in range(30):
            ranges.add(number * 2, 1)
        assert str(ranges).endswith("18 and 20 more ranges up to 58")


@pytest.mark.parametrize(
    ("data", "expected"),
    [([{"n": 1}, {"n": 2}], 2), ([], 0), ("{}\n", None), (list, None), (iter([]), None), ({"n": 1}, None)],
)
def test_rows_that_are_known_before(data, expected):
    assert rows_of(data) == expected


def test_rows_of_frames():
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    frame = pd.DataFrame({"a": [1, 2, 3], "b": [1, 2, 3]})
    for data in (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame)):
        assert rows_of(data) == 3
    assert rows_of([frame, frame]) == 6
