"""How files begin that hold neither NDJSON nor CSV nor Parquet, and what to do with them."""

from __future__ import annotations

_BEGINNINGS = {
    b"PK\x03\x04": "a zip archive (or a spreadsheet): unpack it, or compress it as gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: Tinybird takes gzip",
    b"\xfd7zXZ\x00": "compressed with xz: Tinybird takes gzip",
    b"BZh": "compressed with bzip2: Tinybird takes gzip",
    b"\xff\xfe": "text in UTF-16: write it in UTF-8",
    b"\xfe\xff": "text in UTF-16: write it in UTF-8",
    b"ORC": "an ORC file: write it as Parquet",
    b"Obj\x01": "an Avro file: write it as Parquet",
}
_ALSO_TEXT = frozenset({b"BZh", b"ORC"})  # a CSV file may begin with these letters


def other_kind(beginning: bytes, *, any_text: bool) -> str | None:
    """Say what a file is by its first bytes, and what to do, to follow "is"; ``None`` where they do not tell.

    :param beginning: the first bytes of the file.
    :param any_text: whether it may begin with any letters, as CSV may.
    """
    for known, what in _BEGINNINGS.items():
        if beginning.startswith(known) and not (any_text and known in _ALSO_TEXT and b"\x00" not in beginning):
            return what
    return None
