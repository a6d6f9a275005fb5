"""What the first bytes of a file say, beside what its name says."""

from __future__ import annotations

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import FileFormat

LOOK_AT = 256
"""Bytes that are looked at."""

_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_OTHERS = {
    b"PK\x03\x04": "a zip archive (or a spreadsheet): unpack it, or compress it as gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: Tinybird takes gzip",
    b"\xfd7zXZ\x00": "compressed with xz: Tinybird takes gzip",
    b"BZh": "compressed with bzip2: Tinybird takes gzip",
    b"\xff\xfe": "text in UTF-16: write it in UTF-8",
    b"\xfe\xff": "text in UTF-16: write it in UTF-8",
    b"ORC": "an ORC file: write it as Parquet",
    b"Obj\x01": "an Avro file: write it as Parquet",
}
_ALSO_TEXT = {b"BZh", b"ORC"}  # a CSV file may begin with these letters


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


def _check_format(beginning: bytes, path: str, format: FileFormat) -> None:
    if beginning.startswith(_PARQUET) is not (format is FileFormat.PARQUET):
        what = "is Parquet" if beginning.startswith(_PARQUET) else f"is no Parquet: it begins with {beginning[:8]!r}"
        raise InvalidInputError(f"{path!r} is to be sent as '{format.value}', but {what}. Give its real format.")
    for bytes_, what in _OTHERS.items():
        if beginning.startswith(bytes_) and (
            bytes_ not in _ALSO_TEXT or b"\x00" in beginning or format is FileFormat.NDJSON
        ):
            raise InvalidInputError(f"{path!r} is to be sent as '{format.value}', but is {what}.")
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
