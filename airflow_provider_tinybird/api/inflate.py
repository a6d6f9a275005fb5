"""Decompress answers bit by bit: a small answer can become so large that it fills the memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import httpx

from airflow_provider_tinybird.api import answers
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.api.settings import Settings

_PIECE = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS


class Inflater:
    """Passes bytes on as they are."""

    def inflate(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what comes out of a piece, in pieces of a megabyte at the most."""
        yield chunk

    def rest(self) -> Iterator[bytes]:
        """Yield what is left at the end.

        :raises httpx.DecodingError: the end is missing.
        """
        return iter(())


class _Zlib(Inflater):
    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._zlib = self._new(_GZIP if coding == "gzip" else zlib.MAX_WBITS)
        self._is_begun = False

    @staticmethod
    def _new(bits: int) -> Any:
        return zlib.decompressobj(bits)

    def inflate(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            if self._zlib.eof:
                if self._coding != "gzip":
                    return
                self._zlib = self._new(_GZIP)  # a gzip file may consist of several
            out = self._step(chunk)
            self._is_begun = True
            if out:
                yield out
            chunk = self._zlib.unconsumed_tail or (self._zlib.unused_data if self._zlib.eof else b"")

    def _step(self, chunk: bytes) -> bytes:
        try:
            return bytes(self._zlib.decompress(chunk, _PIECE))
        except zlib.error as e:
            error = e
        if self._coding == "deflate" and not self._is_begun:
            self._zlib = self._new(-zlib.MAX_WBITS)  # some send it without its frame
            self._is_begun = True
            return self._step(chunk)
        raise httpx.DecodingError(f"the answer is not compressed as it says: {error}")

    def rest(self) -> Iterator[bytes]:
        if self._is_begun and not self._zlib.eof:
            raise httpx.DecodingError("the compressed answer ends too early")
        return iter(())


def inflater_of(settings: Settings, call: Call[Any], answer: httpx.Response) -> Inflater:
    """Find out how an answer is compressed.

    :raises UnreadableAnswerError: in a way that was not asked for.
    """
    codings = [one.strip() for one in answer.headers.get("content-encoding", "").lower().split(",")]
    codings = [one for one in codings if one not in ("", "identity")]
    if not codings:
        return Inflater()
    if codings in (["gzip"], ["x-gzip"]):
        return _Zlib("gzip")
    if codings == ["deflate"]:
        return _Zlib("deflate")
    raise _odd(settings, call, answer)


def _odd(settings: Settings, call: Call[Any], answer: httpx.Response) -> TinybirdError:
    status, coding = answer.status_code, answer.headers["content-encoding"][:50]
    if not answer.is_success:
        return answers.from_status(settings, call, status, answer.headers, f"(compressed as {coding})".encode())
    return answers.unreadable(
        settings, call, status, b"", why=f"it is compressed as {coding!r}, which was not asked for"
    )
