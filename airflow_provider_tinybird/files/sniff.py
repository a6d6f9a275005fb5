"""What the first bytes of a file say, beside what its name says."""

from __future__ import annotations

import re
import zlib

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.ndjson.signatures import other_kind

LOOK_AT = 65_536
"""Bytes that are looked at."""

_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"


def is_gzipped(beginning: bytes, path: str, format: FileFormat) -> bool:
    """Tell whether a file is gzipped, by its first bytes.

    :param beginning: the first bytes of the file.
    :param path: its path; a name that ends in ``.gz`` promises that it is gzipped.
    :param format: what it is going to be sent as.
    :raises InvalidInputError: the bytes contradict the name or the format.
    """
    if beginning.startswith(_GZIP):
        return True
    if path.lower().endswith(".gz"):
        raise InvalidInputError(
            f"The name {path!r} ends in .gz, but the file is not gzipped: it begins with {beginning[:8]!r}. Compress it, or rename it."
        )
    _check_format(beginning, path, format)
    return False


def has_rows(beginning: bytes, format: FileFormat) -> bool:
    """Tell whether a file of CSV or NDJSON holds rows: more than a header, or any line.

    :param beginning: its first bytes, gzipped or not; all of them where it is a small one.
    """
    text = unpacked(beginning).removeprefix(b"\xef\xbb\xbf")
    lines = [line for line in re.split(rb"[\r\n]+", _without_quoted(text)) if line.strip()]
    return len(lines) > (format is FileFormat.CSV) or len(text) >= LOOK_AT


def ends_lines_with_cr(beginning: bytes) -> bool:
    """Tell whether a file of CSV ends its lines with carriage returns alone, as old Macs did.

    :param beginning: its first bytes, gzipped or not.
    """
    text = _without_quoted(unpacked(beginning))
    return b"\n" not in text and b"\r" in text.rstrip(b"\r")


def unpacked(beginning: bytes) -> bytes:
    """The first bytes of a file as they are without gzip, as far as they can be read."""
    if not beginning.startswith(_GZIP):
        return beginning
    try:
        return zlib.decompressobj(wbits=31).decompress(beginning, LOOK_AT)
    except zlib.error:
        return b""


def _without_quoted(text: bytes) -> bytes:
    return re.sub(rb'"[^"]*"?', b"x", text)


def _check_format(beginning: bytes, path: str, format: FileFormat) -> None:
    if beginning.startswith(_PARQUET) is not (format is FileFormat.PARQUET):
        what = "is Parquet" if beginning.startswith(_PARQUET) else f"is no Parquet: it begins with {beginning[:8]!r}"
        raise InvalidInputError(f"{path!r} is to be sent as '{format.value}', but {what}. Give its real format.")
    other = other_kind(beginning, any_text=format is FileFormat.CSV)
    if other:
        raise InvalidInputError(f"{path!r} is to be sent as '{format.value}', but is {other}.")
    first = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if format is FileFormat.NDJSON and first and first != b"{":
        raise InvalidInputError(
            f"{path!r} is to be sent as 'ndjson', but begins with {beginning[:8]!r} and not with a JSON object. "
            + (
                "A JSON array has to be written as one object on each line."
                if first == b"["
                else "Give its real format."
            )
        )
