"""The id of a batch, and how it gets into each of its rows.

What a row carries is the id and, behind it, a few random digits, new for each request. Tinybird's tables drop a block of rows that
equals a recent one, also when its rows were deleted since, so a batch that is sent again must not equal what was sent before.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.loads.events.chunks import Chunk, digest

_LOAD_DIGITS = 16
_SENDING_DIGITS = 7
# With positions of up to twelve digits. Another number would cut the batches elsewhere than the attempt before an upgrade did.
_ID_BYTES = _LOAD_DIGITS + 1 + 12 + 1 + 24 + 1 + _SENDING_DIGITS
_ID = re.compile(r"([0-9a-f]+\.[0-9]+\.[0-9a-f]+)(?:\.[0-9a-f]+)?")
_TOP = re.compile(r"\$\.([^.\[\]]+)|\$\['([^']+)'\]")


def id_in(carried: str) -> str:
    """Read the id of a batch out of what its rows carry; rows of earlier versions carry nothing else."""
    found = _ID.fullmatch(carried)
    return found[1] if found else carried


def load_hash(load_id: str, datasource: str) -> str:
    """Name a load by 16 hexadecimal digits: the same for each attempt and after each clear."""
    return hashlib.sha256(json.dumps([load_id, datasource]).encode()).hexdigest()[:_LOAD_DIGITS]


@dataclass(frozen=True, slots=True)
class FoundId:
    """What an id in the data source says.

    :param first_row: position of the batch's first row.
    :param digest: of the batch's body.
    """

    first_row: int
    digest: str

    @classmethod
    def of(cls, batch_id: str) -> FoundId:
        """Read an id.

        :raises ValueError: it is none.
        """
        _, first_row, digits = batch_id.split(".")
        return cls(int(first_row), digits)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Writes the ids of batches into their rows.

    :param load: hash of the load.
    :param key: member of the JSON objects that the column is filled from.
    """

    load: str
    key: str

    @property
    def prefix(self) -> str:
        """What all ids of the load begin with."""
        return f"{self.load}."

    @property
    def row_overhead(self) -> int:
        """Bytes by which a row grows, or fewer."""
        return len(f',{json.dumps(self.key)}:""') + _ID_BYTES

    def id_of(self, chunk: Chunk) -> str:
        """Make the id of a batch, by what is in it and where it begins."""
        return f"{self.load}.{chunk.first_row}.{digest(chunk.body)}"

    def check(self, chunk: Chunk) -> None:
        """Check that the rows have no such member of their own.

        :raises InvalidInputError: one has; the message names it.
        """
        body = bytes(chunk.body)
        name = json.dumps(self.key).encode()
        if name not in body:  # within texts its quotes would be escaped
            return
        for number, line in enumerate(body.split(b"\n")):
            if name in line and self.key in json.loads(line):
                raise InvalidInputError(
                    f"Row {chunk.first_row + number} has a {self.key!r} of its own, where the id of its batch is to go: take another "
                    "batch_id_column, or rename that column of the data."
                )

    def stamped(self, chunk: Chunk) -> bytes:
        """Return the body with the id in each row, and digits of this sending.

        No newline stands within a JSON text, so each ``}`` before one is the end of a row.
        """
        carried = f"{chunk.batch_id}.{secrets.token_hex(_SENDING_DIGITS)[:_SENDING_DIGITS]}"
        member = f"{json.dumps(self.key)}:{json.dumps(carried)}}}\n".encode()
        body = bytes(chunk.body)
        stamped = body.replace(b"}\n", b"," + member)
        if any(start in body for start in (b"{}", b"{ ", b"{\t", b"{\r")):  # perhaps a row without members
            stamped = re.sub(rb"^\{[ \t\r]*,", b"{", stamped, flags=re.MULTILINE)
        return stamped


def key_of(column: str, jsonpath: str | None) -> str:
    """Tell which member of a row's JSON object a column is filled from.

    :raises InvalidInputError: it is none at the top.
    """
    if not jsonpath:
        return column
    found = _TOP.fullmatch(jsonpath)
    if not found:
        raise InvalidInputError(
            f"batch_id_column={column!r} is filled from {jsonpath!r}, and the id of a batch is written to the top of each row: give the "
            f"column the path `json:$.{column}`."
        )
    return found[1] or found[2]
