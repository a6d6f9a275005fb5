"""How much zstd data can unpack to, from the headers of its blocks: Python cannot unpack it, and the engine would without a limit.

The layout is that of RFC 8878: frames of a header and blocks, each of which unpacks to 128 KiB at most.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

_FRAME = 0xFD2FB528
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_BLOCK_BYTES = 128 * 1024
_RAW, _RLE = 0, 1
_CHECKSUM_BYTES = 4
# Of a frame header, by two bits of its first byte.
_DICTIONARY_BYTES = (0, 1, 2, 4)
_SIZE_BYTES = (0, 2, 4, 8)
# Where a frame does not say its size: streams are often cut into blocks that are shorter than they may be.
_SHORTER = 8
# What any block counts at least, so that reading the headers of a file ends soon.
_LEAST = 1024


def may_exceed(path: Path, limit: int) -> bool:
    """Whether a file can unpack to more than a limit; one that is broken ends where it breaks."""
    most = 0
    with path.open("rb") as file:
        while most <= limit:
            magic = _number(file, 4)
            if magic in _SKIPPABLE:
                file.seek(_number(file, 4), 1)
            elif magic == _FRAME:
                most += _frame(file, limit)
            else:
                return False
    return True


def _frame(file: IO[bytes], limit: int) -> int:
    flags = _number(file, 1)
    single = bool(flags & 0x20)
    size_bytes = _SIZE_BYTES[flags >> 6] or int(single)
    file.seek((0 if single else 1) + _DICTIONARY_BYTES[flags & 3], 1)
    said = _number(file, size_bytes) + (256 if size_bytes == 2 else 0)
    most = _blocks(file, limit)
    if flags & 4:
        file.seek(_CHECKSUM_BYTES, 1)
    # The engine refuses a frame that does not unpack to what it says.
    return said if size_bytes else most // _SHORTER


def _blocks(file: IO[bytes], limit: int) -> int:
    most = 0
    while most <= _SHORTER * limit + _BLOCK_BYTES:
        head = file.read(3)
        if len(head) < 3:
            break
        number = int.from_bytes(head, "little")
        kind, size = number >> 1 & 3, number >> 3
        file.seek(1 if kind == _RLE else size, 1)
        most += max(_LEAST, size if kind in (_RAW, _RLE) else _BLOCK_BYTES)
        if number & 1:
            break
    return most


def _number(file: IO[bytes], size: int) -> int:
    return int.from_bytes(file.read(size), "little")
