"""Request bodies: how long they are, and that they start anew each time."""

from __future__ import annotations

import gzip
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_tinybird.api.body import CHUNK_BYTES, BytesBody, FileBody, MultipartBody, form
from airflow_provider_tinybird.api.errors import InvalidInputError


def file_body(content: bytes, **more) -> FileBody:
    return FileBody(lambda: io.BytesIO(content), len(content), "text/csv", **more)


@given(st.binary(max_size=200), st.text(max_size=20))
def test_the_length_is_that_of_the_bytes(content, name):
    name = name.encode("utf-8", "ignore").decode()
    for body in (
        BytesBody(content, "text/csv"),
        BytesBody(memoryview(content), "text/csv"),
        file_body(content),
        MultipartBody("csv", name, file_body(content)),
    ):
        first, second = b"".join(body.chunks()), b"".join(body.chunks())
        assert first == second
        assert len(first) == body.length
        assert content in first


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_pieces_are_small(size):
    """The HTTP library's cost grows with the square of the size of a piece."""
    content = bytes(size)
    for body in (BytesBody(content, "text/csv"), file_body(content)):
        pieces = list(body.chunks())
        assert max(map(len, pieces), default=0) <= CHUNK_BYTES
        assert b"".join(pieces) == content


def test_a_file_is_closed_after_its_last_piece():
    opened = []

    def open_file():
        opened.append(io.BytesIO(b"abc"))
        return opened[-1]

    list(FileBody(open_file, 3, "text/csv").chunks())
    assert [file.closed for file in opened] == [True]


def test_a_file_needs_no_memory():
    class Zeros(io.RawIOBase):
        left = 64 << 20

        def read(self, size=-1):
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    body = MultipartBody("csv", "f.csv", FileBody(Zeros, 64 << 20, "text/csv"))
    tracemalloc.start()
    try:
        assert sum(len(chunk) for chunk in body.chunks()) == body.length
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("real", "announced"), [(5, 4), (5, 6), (0, 1), (1, 0), (CHUNK_BYTES + 1, CHUNK_BYTES)])
def test_a_file_of_another_length(real, announced):
    sent = []
    body = FileBody(lambda: io.BytesIO(bytes(real)), announced, "text/csv")
    with pytest.raises(InvalidInputError, match="changed while it was sent"):
        sent.extend(body.chunks())
    # Exactly the announced number would be a whole request. A file that grows shows that in the piece that would be too much.
    assert sum(map(len, sent)) < announced or real > announced


def test_forms_are_encoded():
    body = form((("a", "1 + 1 = 2 & ü"), ("b", "")))
    assert body.content == b"a=1+%2B+1+%3D+2+%26+%C3%BC&b="
    assert body.content_type == "application/x-www-form-urlencoded"


def test_nothing_shows_the_content():
    assert "5ec3e7" not in repr(BytesBody(b"5ec3e7", "text/csv"))
    assert "5ec3e7" not in repr(form((("url", "https://h?sig=5ec3e7"),)))


def test_encodings_are_said():
    assert BytesBody(gzip.compress(b"x"), "text/csv", "gzip").content_encoding == "gzip"
    assert file_body(b"x", content_encoding="gzip").content_encoding == "gzip"
    assert MultipartBody("csv", "f", file_body(b"x")).content_encoding is None
