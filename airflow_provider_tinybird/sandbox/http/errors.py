"""What goes wrong in the sandbox, with the HTTP status that the caller sees."""

from __future__ import annotations

import re
from collections.abc import Mapping

# The engine repeats "Code: N. DB::Exception:" once for each thread that the error went through, and adds its version each time.
_REPEATED_CODE = re.compile(r"^(Code: \d+\. DB::Exception: )+")
_VERSION = re.compile(r"( \(version [^)]*\)\.?)+")
_CODE = re.compile(r"Code: (\d+)\.")


class ApiError(Exception):
    """An answer other than success.

    :param status: the HTTP status.
    :param text: the ``error`` of the JSON body.
    :param errors: further texts, for the ``errors`` of the body.
    :param headers: of the answer.
    """

    def __init__(
        self, status: int, text: str, errors: tuple[str, ...] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.errors = errors
        self.headers = dict(headers or {})


class EngineError(Exception):
    """The engine refused a statement.

    :param text: ClickHouse's own text, without repetitions.
    :param code: ClickHouse's number of the error; 0 when the text has none.
    """

    def __init__(self, text: str) -> None:
        text = _REPEATED_CODE.sub(r"\1", _VERSION.sub("", text)).strip()
        match = _CODE.search(text)
        super().__init__(text)
        self.text = text
        self.code = int(match[1]) if match else 0

    @property
    def is_timeout(self) -> bool:
        """Whether the time limit of the query ended it."""
        return self.code in (159, 160)

    @property
    def is_cancelled(self) -> bool:
        """Whether KILL QUERY ended it."""
        return self.code == 394


def bad_request(text: str) -> ApiError:
    """The caller's request cannot be served as it is."""
    return ApiError(400, text)


def not_found(kind: str, name: str) -> ApiError:
    """No such resource, or none that this token may see."""
    return ApiError(404, f"{kind} '{name}' not found")


def of_engine(error: EngineError) -> ApiError:
    """An engine's refusal of the caller's own SQL, as an answer."""
    if error.is_timeout:
        return ApiError(408, f"The query exceeded the time limit. {error.text}")
    return ApiError(400, error.text)
