"""gzip at its fastest, and whether it pays."""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock

from airflow_provider_tinybird.api.body import Body
from airflow_provider_tinybird.loads.events.options import Compression
from airflow_provider_tinybird.loads.events.rate_limit import BYTES_PER_SECOND

log = logging.getLogger(__name__)

Content = bytes | memoryview

SAMPLE = 1_000_000
"""Bytes that ``auto`` compresses to find out what it gains; a body below tells nothing of the link, as buffers take it at once."""


# Level 1: with the rows of a load it is four times as fast as the default level and compresses nearly as well.
def gzipped(content: Content) -> bytes:
    """Compress: with isal where it is installed (extra ``fast``), which is four times as fast again, else with zlib."""
    try:
        from isal import igzip
    except ImportError:
        return gzip.compress(content, compresslevel=1, mtime=0)
    packed: bytes = igzip.compress(content, compresslevel=1)
    return packed


def pays(*, link: float, compressor: float, ratio: float, pace: float | None) -> bool:
    """Tell whether compressing makes a load faster.

    A byte takes ``1 / link`` as it is, and ``1 / compressor + ratio / link`` compressed. A link that carries as much as the load
    may send is no bottleneck, whatever the compressor does.

    :param link: bytes a second that a connection takes.
    :param compressor: bytes a second that go into the compressor.
    :param ratio: compressed size by size.
    :param pace: bytes a second that are sent at the most; ``None`` without a limit.
    """
    return link < compressor * (1 - ratio) and (pace is None or link < pace)


@dataclass(slots=True)
class MeasuredBody:
    """A body that takes the time of its second half: of the first a good deal only goes into buffers of this machine.

    :param body: the body.
    :param clock: tells seconds.
    :param speed: bytes a second, once it was sent.
    """

    body: Body
    clock: Callable[[], float]
    speed: float | None = None

    @property
    def content_type(self) -> str:
        """That of the body."""
        return self.body.content_type

    @property
    def content_encoding(self) -> str | None:
        """That of the body."""
        return self.body.content_encoding

    @property
    def length(self) -> int:
        """That of the body."""
        return self.body.length

    @property
    def reads_files(self) -> bool:
        """That of the body."""
        return self.body.reads_files

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; the next chunk is asked for when the socket took the one before."""
        sent, half, began = 0, 0, 0.0
        for chunk in self.body.chunks():
            if not half and sent * 2 >= self.length:
                half, began = sent, self.clock()
            sent += len(chunk)
            yield chunk
        if half:
            self.speed = (sent - half) / max(self.clock() - began, 1e-9)


class Compressor:
    """Decides for each body whether it is compressed. Safe to use from several threads.

    :param mode: what was asked for.
    :param paced: whether the load keeps to the documented rate.
    :param clock: tells seconds.
    """

    def __init__(
        self, mode: Compression | None, *, paced: bool, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._pace = BYTES_PER_SECOND if paced else None
        self._on = mode is Compression.GZIP
        self._is_open = mode is Compression.AUTO
        self._lock = Lock()

    @property
    def is_on(self) -> bool:
        """Whether bodies are compressed."""
        return self._on

    def measure(self, body: Body) -> MeasuredBody | None:
        """Return a body to send in place of this one, where that is to be measured. It is one body of a load."""
        with self._lock:
            if not self._is_open or body.length < SAMPLE:
                return None
            self._is_open = False
        return MeasuredBody(body, self._clock)

    def decide(self, content: Content, measured: MeasuredBody) -> None:
        """Decide for the bodies to come, by one that was sent."""
        if measured.speed is None:
            return
        sample = content[:SAMPLE]
        began = self._clock()
        size = len(gzipped(sample))
        speed = len(sample) / max(self._clock() - began, 1e-9)
        ratio = size / len(sample)
        self._on = pays(link=measured.speed, compressor=speed, ratio=ratio, pace=self._pace)
        log.info(
            "compression='auto': the next requests are sent %s. A connection takes %.0f MB/s, gzip %.0f MB/s and makes of 1 MB %.2f MB.",
            "compressed" if self._on else "as they are",
            measured.speed / 1e6,
            speed / 1e6,
            ratio,
        )
