"""Values that a column would change without a word: found before they are sent, by Arrow kernels.

ClickHouse puts most misfits into quarantine. Some it stores as another value: a time out of range becomes the last one there is, digits
that are too fine are cut, a float that is too large becomes infinite. Within tuples, maps and nested arrays every misfit becomes a
default, so that there every value has to fit: a check there is *strict*.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Protocol, cast
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_tinybird.api.clickhouse_types import Type, unquoted
from airflow_provider_tinybird.ndjson.errors import BadValueError
from airflow_provider_tinybird.ndjson.objects import as_array
from airflow_provider_tinybird.ndjson.values import TOO_DEEP, to_plain

_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_DAY_AND_TIME = (
    r"^\s*(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?:[ T](?P<hour>\d{1,2})(?::(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2}))?)?(?:\.(?P<digits>\d+))?)?(?P<zone>Z|[+-]\d{2}:?\d{2})?\s*$"
)
_COMPACT = re.compile(r"\s*(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d))?\s*")
_YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_DAY = 86_400
_YEAR_SECONDS = 365 * _DAY
_FIRST_WIDE, _LAST_WIDE = -62_135_596_800, 253_402_300_799  # the years 0001 to 9999
_FIRST, _LAST = -2_208_988_800, 10_413_791_999  # 1900-01-01 00:00:00 and 2299-12-31 23:59:59
_LAST_DATETIME = 2**32 - 1  # DateTime has 32 bits of seconds
_LAST_DATE = 2**16 - 1  # Date has 16 bits of days
_EXACT = Context(prec=200)  # the default one would round what has more than 28 digits
_EPOCH_DIGITS = {9: 0, 10: 0, 13: 3, 16: 6, 19: 9}
"""How ClickHouse reads a whole number as a time: by its number of digits, as seconds or as parts of them."""
_FLOAT_DIGITS, _DOUBLE_DIGITS = 6, 15  # decimals of so many digits come back out of a float of 32 and of 64 bits
_MOST_DIGITS = 17  # no float of 64 bits is written with more

Found = tuple[int, str] | None
"""Position of a value that would be changed, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How the values are going to be read.

    :param typed: from a Parquet file, by type; else as JSON, by text.
    :param is_wide: asks whether the engine has the years 0001 to 9999 in ``Date32`` and ``DateTime64``, as ClickHouse has from 26 on;
        before, these end in 1900 and 2299.
    """

    typed: bool = False
    is_wide: Callable[[], bool] = lambda: False


class Target(Protocol):
    """A type, as far as values can be changed by it."""

    @property
    def type(self) -> str:
        """Its name."""

    @property
    def nullable(self) -> bool:
        """Whether it takes NULL."""

    @property
    def needs_look(self) -> bool:
        """Whether values outside of nested types can be changed by it."""


class Scalar(Target, Protocol):
    """A type without others inside."""

    def find(self, array: Any, reader: Reader, *, strict: bool) -> Found:
        """Find a value that would be changed.

        :param array: Arrow array of scalars, not all null.
        :param strict: whether each value that does not fit would be.
        """


@dataclass(slots=True)
class Cells:
    """Values on their way through the levels of a type.

    :param values: Arrow array, or Python values.
    :param rows: for each of them its row; ``None`` where it is the value's own position.
    """

    values: Any
    rows: Any = None

    def part(self, values: Any, positions: Any) -> Cells:
        """Make cells of some of the values, or of what is inside them."""
        return Cells(values, positions if self.rows is None else self.rows[positions])

    def refuse(self, position: int, what: str) -> BadValueError:
        """Make the error of a value."""
        return BadValueError(what, int(position if self.rows is None else self.rows[position]))


# What is looked at


def look(target: Target | None, cells: Cells, reader: Reader, *, strict: bool = False) -> None:
    """Look at values that are on their way into a column.

    :param target: its type; ``None`` where it is not known what it does to values.
    :param cells: the values.
    :param reader: how they are read.
    :param strict: whether each value that does not fit would be changed.
    :raises BadValueError: one would be changed.
    """
    if target is None or not len(cells.values) or not (strict or reader.typed or target.needs_look):
        return
    if isinstance(cells.values, list):
        for part in _parts(cells, target, strict):
            _look(target, part, reader, strict)
    else:
        _look(target, Cells(_decoded(cells.values), cells.rows), reader, strict)


def _look(target: Target, cells: Cells, reader: Reader, strict: bool) -> None:
    import pyarrow.compute as pc

    values = cells.values
    if not isinstance(values, list):
        if values.null_count and strict and not target.nullable:
            position = int(pc.index(pc.is_null(values), True).as_py())
            raise cells.refuse(position, _reason("null", f"has no place in {target.type}: a default would be stored"))
        if values.null_count == len(values):
            return
    if isinstance(target, Composite):
        target.look(cells, reader, strict)
        return
    if isinstance(values, list) or _is_nested(values.type):
        if strict:
            raise cells.refuse(0, _reason(_shown(values, 0), f"is no {target.type}"))
        return
    found = cast(Scalar, target).find(values, reader, strict=strict)
    if found is not None:
        raise cells.refuse(found[0], _reason(_shown(values, found[0]), found[1]))


def _reason(value: str, what: str) -> str:
    return (
        f"{value} {what}. ClickHouse would change it without a word: correct the value, change the column's type, or give "
        "on_narrowing='allow' to have it changed"
    )


def _shown(values: Any, position: int) -> str:
    import pyarrow as pa

    one = values[position]
    if not isinstance(values, list):
        try:
            one = one.cast(pa.string()).as_py() if not _is_nested(values.type) else one.as_py()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, UnicodeDecodeError):
            one = str(one)
        if _is_text(values.type):
            one = repr(one)
    text = str(one)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_nested(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_nested(kind)) or "list" in str(kind).partition("<")[0]


def _decoded(array: Any) -> Any:
    """The array without dictionaries, runs, views and extensions; bytes as texts where they are UTF-8."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        return _decoded(array.dictionary_decode())
    if str(kind).startswith("run_end_encoded"):
        return _decoded(pc.call_function("run_end_decode", [array]))
    if isinstance(kind, pa.BaseExtensionType):
        name = getattr(kind, "extension_name", "")
        if name == "arrow.uuid":
            return pa.array([None if one is None else str(UUID(bytes=one)) for one in array.storage.to_pylist()])
        return _decoded(array.storage.cast(pa.bool_()) if name == "arrow.bool8" else array.storage)
    if str(kind) == "string_view":
        return array.cast(pa.large_string())
    if "binary" in str(kind):
        try:
            return array.cast(pa.large_binary()).cast(pa.large_string())
        except pa.ArrowInvalid:  # the encoder refuses these; in a file they are for columns of texts
            return pa.nulls(len(array), pa.large_string())
    if pa.types.is_float16(kind):
        from airflow_provider_tinybird.ndjson.columns import _halves

        return pa.array(_halves(array), pa.float32(), mask=~array.is_valid().to_numpy(zero_copy_only=False))
    return array


# Python values


def _parts(cells: Cells, target: Target, strict: bool) -> Iterator[Cells]:
    """Python values by their kinds: arrays of scalars, lists of sequences, lists of mappings."""
    import numpy as np

    values = cells.values
    harmless = _HARMLESS.get(target.type.partition("(")[0])
    if harmless and not strict and set(map(type, values)) <= harmless:
        return
    array = _array_of(cells)
    if array is not None:
        yield Cells(array, cells.rows)
        return
    kinds = set(map(type, values))
    for kind in kinds:
        positions = np.fromiter((place for place, one in enumerate(values) if type(one) is kind), np.int64)
        group = [values[place] for place in positions] if len(kinds) > 1 else values
        yield from _group(cells.part(group, positions), kind, target, strict)


def _group(cells: Cells, kind: type, target: Target, strict: bool) -> Iterator[Cells]:
    import numpy as np
    import pyarrow as pa

    values = cells.values
    if kind is type(None):
        yield Cells(pa.nulls(len(values)), cells.rows)
    elif issubclass(kind, Mapping) or kind in (list, tuple) or (kind is np.ndarray and values[0].ndim == 1):
        yield cells
    elif issubclass(kind, dt.time) and not any(one.tzinfo for one in values):
        yield Cells(pa.array(values, pa.time64("us")), cells.rows)
    elif kind is Decimal:
        yield Cells(_decimals(values), cells.rows)
    elif (array := _array_of(cells)) is not None:
        yield Cells(array, cells.rows)
    elif kind is int:  # beyond 64 bits
        yield Cells(pa.array([str(one) if abs(one) < 2**256 else None for one in values]), cells.rows)
    elif kind is str or kind is float or kind is bool:
        raise AssertionError(f"{kind} has a type of Arrow")
    else:
        yield from _parts(Cells(_plain_values(cells), cells.rows), target, strict)


def _array_of(cells: Cells) -> Any | None:
    try:
        return as_array(cells.values)
    except BadValueError as error:
        raise cells.refuse(error.row or 0, error.reason) from None


def _plain_values(cells: Cells) -> list[Any]:
    found = []
    for position, value in enumerate(cells.values):
        try:
            found.append(to_plain(value))
        except BadValueError as error:
            raise cells.refuse(position, error.reason) from None
        except RecursionError:
            raise cells.refuse(position, TOO_DEEP) from None
    return found


def _decimals(values: Sequence[Decimal]) -> Any:
    import pyarrow as pa

    try:
        return pa.array([None if one.is_nan() else one for one in values])
    except pa.ArrowInvalid:  # more than 76 digits together
        return pa.array([None if one.is_nan() else format(one, "f") for one in values])


# Numbers that are read as text


def _number(text: str | None) -> Decimal | None:
    try:
        return Decimal(text.strip()) if text is not None and _NUMBER.fullmatch(text.strip()) else None
    except InvalidOperation:
        return None


def _fraction(number: Decimal) -> int:
    """Digits behind the point, without zeros at the end."""
    exponent = number.normalize(_EXACT).as_tuple().exponent
    return max(0, -int(exponent))


def _digits(number: Decimal) -> int:
    return len(number.normalize(_EXACT).as_tuple().digits)


def _numbers(array: Any) -> list[Decimal | None]:
    """The numbers as they are written in JSON; ``None`` for what is none."""
    import pyarrow as pa

    if pa.types.is_floating(array.type):
        text = repr if pa.types.is_float64(array.type) else _text_of_float32
        return [None if one is None else _number(_text_of_whole(one) or text(one)) for one in array.to_pylist()]
    if pa.types.is_boolean(array.type):
        return [None] * len(array)
    if pa.types.is_duration(array.type):
        array = array.view(pa.int64())
    if _is_text(array.type):
        return [_number(text) for text in array.to_pylist()]
    return [None if one is None else Decimal(one) for one in array.to_pylist()]


def _text_of_whole(value: float) -> str | None:
    return str(int(value)) if abs(value) < 2.0**63 and value.is_integer() else None


def _text_of_float32(value: float) -> str:
    import numpy as np

    return str(np.float32(value))


def _find_number(array: Any, complaint: Callable[[Decimal | None], str | None], only: Any = None) -> Found:
    """The first number that there is a complaint about; :param only: those to look at, as a mask."""
    import numpy as np

    places = np.arange(len(array)) if only is None else np.flatnonzero(only)
    chosen = array if only is None else array.take(_arrow(places))
    valid = chosen.is_valid().to_pylist()
    for place, number, is_there in zip(places, _numbers(chosen), valid, strict=True):
        what = complaint(number) if is_there else None
        if what:
            return int(place), what
    return None


def _find_text(array: Any, complaint: Callable[[str], str | None], places: Any) -> Found:
    """The first text that there is a complaint about; :param places: positions of those to look at."""
    for place in places.tolist():
        what = complaint(array[place].as_py())
        if what:
            return place, what
    return None


def _find_plain_number(array: Any, kind: str, complaint: Callable[[Decimal], str | None]) -> Found:
    """The first text that is no number as JSON writes them, or that there is a complaint about."""
    for place, text in enumerate(array.to_pylist()):
        if text is not None:
            what = complaint(Decimal(text)) if _PLAIN_NUMBER.fullmatch(text) else f"is no {kind}"
            if what:
                return place, what
    return None


def _arrow(values: Any) -> Any:
    import pyarrow as pa

    return pa.array(values)


def _first_there(array: Any) -> int:
    """Position of the first value that is not null."""
    import pyarrow.compute as pc

    return int(pc.index(pc.is_valid(array), True).as_py())


def _first(mask: Any) -> int | None:
    """Position of the first true value of a mask of numpy, or none."""
    position = int(mask.argmax()) if len(mask) else 0
    return position if len(mask) and mask[position] else None


def _plain(array: Any) -> Any:
    """As numpy, with 0 for null."""
    return (array.fill_null(0) if array.null_count else array).to_numpy(zero_copy_only=False)


def _mask(array: Any) -> Any:
    """An array of booleans as a mask of numpy."""
    return (array.fill_null(False) if array.null_count else array).to_numpy(zero_copy_only=False)


# Scalars


@dataclass(frozen=True, slots=True)
class Anything:
    """A column that takes each text: ``String``."""

    type: str
    nullable: bool
    needs_look: bool = False

    def find(self, array: Any, reader: Reader, *, strict: bool) -> Found:  # noqa: ARG002
        """See :class:`Scalar`."""
        import pyarrow as pa

        is_changed = reader.typed and pa.types.is_time(array.type)
        return (_first_there(array), "would be stored as a time of 1970: write it as text") if is_changed else None


@dataclass(frozen=True, slots=True)
class Exactly:
    """A column that puts into quarantine what is not one of its values: they are only looked at where there is none.

    :param takes: whether it has a value, which is a text, a number or a boolean.
    """

    type: str
    nullable: bool
    takes: Callable[[Any], bool]
    needs_look: bool = False

    def find(self, array: Any, reader: Reader, *, strict: bool) -> Found:
        """See :class:`Scalar`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        types = pa.types
        is_cut = reader.typed and (types.is_temporal(array.type) or types.is_decimal(array.type) or self.type == "Bool")
        if not (strict or is_cut):
            return None
        if types.is_temporal(array.type) and not types.is_duration(array.type):
            return _first_there(array), f"is no {self.type}"
        if pa.types.is_integer(array.type) and len(array) > 2:
            ends = pc.min_max(array)
            if self.takes(ends["min"].as_py()) and self.takes(ends["max"].as_py()) and "Int" in self.type:
                return None
        if pa.types.is_duration(array.type):
            array = array.view(pa.int64())
        for position, value in enumerate(array.to_pylist()):
            if value is None or value != value:
                continue
            if (
                isinstance(value, Decimal)
                and (reader.typed or not array.type.scale)
                and value == value.to_integral_value()
            ):
                value = int(value)  # as text with a point it would be none
            if not self.takes(value):
                return position, f"is no {self.type}"
        return None


@dataclass(frozen=True, slots=True)
class Float:
    """``Float32`` or ``Float64``: a float has its nearest value there, an integer or decimal has to have its own.

    :param bits: 32 or 64.
    """

    type: str
    nullable: bool
    bits: int
    needs_look: bool = True

    def find(self, array: Any, reader: Reader, *, strict: bool) -> Found:
        """See :class:`Scalar`."""
        import pyarrow as pa

        types = pa.types
        if types.is_floating(array.type):
            return self._floats(array) if self.bits == 32 and types.is_float64(array.type) else None
        if types.is_duration(array.type):
            array = array.view(pa.int64())
        if types.is_integer(array.type):
            return self._integers(array)
        if types.is_decimal(array.type):
            return self._decimals(array)
        if _is_text(array.type):
            return self._texts(array, strict)
        if (strict or reader.typed) and not types.is_boolean(array.type):
            return _first_there(array), f"is no {self.type}"
        return None

    def _floats(self, array: Any) -> Found:
        import numpy as np
        import pyarrow.compute as pc

        ends = pc.min_max(pc.abs(array))
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if low is None or (low >= 2.0**-126 and high < 3.4028234e38):
            return None
        doubles = _plain(array)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            rounded = doubles.astype(np.float32).astype(np.float64)
            bad = np.isfinite(doubles) & (np.abs(rounded - doubles) > np.abs(doubles) * 2.0**-24)
        position = _first(bad)
        return None if position is None else (position, f"is outside of what {self.type} holds")

    def _integers(self, array: Any) -> Found:
        import pyarrow as pa
        import pyarrow.compute as pc

        exact = 2**24 if self.bits == 32 else 2**53
        ends = pc.min_max(array)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if low is None or (low >= -exact and high <= exact):
            return None
        large = pc.greater(array, pa.scalar(min(exact, high), array.type))
        if low < -exact:
            large = pc.or_(large, pc.less(array, pa.scalar(-exact, array.type)))
        return _find_number(array, self._complaint_of_exact, _mask(large))

    def _decimals(self, array: Any) -> Found:
        most = _FLOAT_DIGITS if self.bits == 32 else _DOUBLE_DIGITS
        return None if array.type.precision <= most else _find_number(array, self._complaint_of_exact)

    def _texts(self, array: Any, strict: bool) -> Found:
        import pyarrow.compute as pc

        if strict:
            return _find_plain_number(array, self.type, self._complaint)
        at_risk = _plain(pc.binary_length(array)) > _MOST_DIGITS
        if self.bits == 32:
            at_risk |= _mask(pc.match_substring_regex(array, "[eE]"))
        return _find_number(array, self._complaint, at_risk)

    def _complaint_of_exact(self, number: Decimal | None) -> str | None:
        """Of an integer or decimal: it has to come back as it was."""
        if number is None or self._comes_back(number):
            return None
        return f"has more digits than {self.type} keeps"

    def _complaint(self, number: Decimal | None) -> str | None:
        """Of a text: it may be any writing of a float."""
        if number is None or self._comes_back(number):
            return None
        stored = self._stored(number)
        if abs(Decimal(stored) - number) > abs(number) * Decimal(2) ** -(24 if self.bits == 32 else 53):
            return f"is outside of what {self.type} holds"
        if _digits(number) > _MOST_DIGITS:
            return f"has more digits than {self.type} keeps"
        return None

    def _stored(self, number: Decimal) -> float:
        import numpy as np

        if self.bits == 64:
            return float(number)
        with np.errstate(over="ignore", under="ignore"):
            return float(np.float32(float(number)))

    def _comes_back(self, number: Decimal) -> bool:
        import numpy as np

        stored = self._stored(number)
        if stored in (float("inf"), float("-inf")):
            return False
        return Decimal(stored) == number or Decimal(str(np.float32(stored) if self.bits == 32 else stored)) == number


@dataclass(frozen=True, slots=True)
class Decimals:
    """``Decimal(precision, scale)``: digits behind its scale are cut; a number that is too large goes to quarantine.

    :param precision: digits in all.
    :param scale: of these behind the point.
    """

    type: str
    nullable: bool
    precision: int
    scale: int
    needs_look: bool = True

    def find(self, array: Any, reader: Reader, *, strict: bool) -> Found:
        """See :class:`Scalar`."""
        import pyarrow as pa

        types = pa.types
        if types.is_duration(array.type):
            array = array.view(pa.int64())
        if types.is_integer(array.type):
            return _find_number(array, self._complaint_of_size) if strict else None
        if types.is_decimal(array.type):
            found = self._decimals(array)
        elif types.is_floating(array.type):
            found = self._floats(array, reader)
        elif _is_text(array.type):
            return self._texts(array, strict)
        else:
            is_cut = strict or (reader.typed and not types.is_boolean(array.type))
            return (_first_there(array), f"is no {self.type}") if is_cut else None
        return found or (_find_number(array, self._complaint_of_size) if strict else None)

    @property
    def _too_fine(self) -> str:
        return f"has more digits behind the point than {self.type} keeps"

    def _decimals(self, array: Any) -> Found:
        import pyarrow as pa
        import pyarrow.compute as pc

        scale = array.type.scale
        if scale <= self.scale:
            return None
        whole = 38 if scale - self.scale + array.type.precision <= 38 and pa.types.is_decimal128(array.type) else 76
        kind = pa.decimal128 if whole == 38 else pa.decimal256
        try:
            pc.cast(array, kind(whole - (scale - self.scale), self.scale), safe=True)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return _find_number(array, self._complaint)
        return None

    def _floats(self, array: Any, reader: Reader) -> Found:
        """By their texts, which have the fewest digits; what is read as a float from a file is cut."""
        import numpy as np

        numbers = _plain(array)
        finite = np.isfinite(numbers)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = np.where(finite, numbers, 0).astype(np.float64) * float(10**self.scale)
            units = np.trunc(moved) if reader.typed else np.rint(moved)
            fits = (np.abs(units) <= 2.0**53) & ((units / float(10**self.scale)).astype(numbers.dtype) == numbers)
        doubtful = finite & ~fits
        if reader.typed:
            position = _first(doubtful)
            return (
                None if position is None else (position, f"is cut by ClickHouse on its way from a float to {self.type}")
            )
        return _find_number(array, self._complaint, doubtful) if doubtful.any() else None

    def _texts(self, array: Any, strict: bool) -> Found:
        import pyarrow.compute as pc

        if strict:
            return _find_plain_number(
                array, self.type, lambda number: self._complaint(number) or self._complaint_of_size(number)
            )
        # ClickHouse reads 1.2.3.4 as 1.234, too.
        at_risk = pc.match_substring_regex(array, rf"[eE]|\.\d{{{self.scale}}}\d*[1-9]|\.\d*\D|\d[^\d.]")
        return _find_text(array, self._complaint_of_text, _mask(at_risk).nonzero()[0])

    def _complaint(self, number: Decimal | None) -> str | None:
        return self._too_fine if number is not None and _fraction(number) > self.scale else None

    def _complaint_of_text(self, text: str) -> str | None:
        number = _number(text)
        return (
            self._complaint(number) if number is not None else f"is no {self.type}" if re.search(r"\d", text) else None
        )

    def _complaint_of_size(self, number: Decimal | None) -> str | None:
        if number is not None and abs(number) >= Decimal(10) ** (self.precision - self.scale):
            return f"is outside of what {self.type} holds"
        return None


@dataclass(frozen=True, slots=True)
class Moments:
    """``DateTime`` or ``DateTime64(digits)``: what is out of range becomes the nearest there is, finer digits are cut.

    :param digits: of a second.
    :param zone: its time zone; ``None`` for UTC.
    :param is_long: whether it is a ``DateTime64``.
    """

    type: str
    nullable: bool
    digits: int
    zone: str | None
    is_long: bool
    needs_look: bool = True

    def find(self, array: Any, reader: Reader, *, strict: bool) -> Found:
        """See :class:`Scalar`."""
        import pyarrow as pa

        types = pa.types
        if types.is_timestamp(array.type):
            return self._times(array, reader)
        if types.is_date(array.type):
            return self._times(array.cast(pa.date32()).cast(pa.timestamp("s")), reader)
        if _is_text(array.type):
            return self._texts(array, reader, strict)
        if types.is_time(array.type):
            return _first_there(array), f"is a time of day, and {self.type} wants a day as well"
        if types.is_boolean(array.type):
            return (_first_there(array), f"is no {self.type}") if strict else None
        odd = None
        if not reader.typed and (types.is_integer(array.type) or types.is_floating(array.type)):
            odd = ~self._are_seconds(_plain(array))
        return _find_number(array, lambda number: self._complaint(number, reader), odd)

    @staticmethod
    def _are_seconds(numbers: Any) -> Any:
        """Which numbers are whole seconds since 1970, of as many digits as they need, within all ranges."""
        import numpy as np

        with np.errstate(invalid="ignore"):
            return (numbers >= 10**8) & (numbers <= _LAST_DATETIME) & (np.floor(numbers) == numbers)

    def _times(self, array: Any, reader: Reader) -> Found:
        import numpy as np
        import pyarrow as pa

        unit = _UNITS[array.type.unit]
        if array.type.tz is None and self.zone is not None and not reader.typed and not self._is_plain(array, unit):
            utc, gap = _in_zone(array, self.zone)
            if gap is not None:
                return gap, f"is a time that {self.zone} does not have, as clocks were put forward over it"
            array = utc
        found = self._outside(array.view(pa.int64()), unit, reader)
        if found is None and unit > self.digits:
            step = np.int64(10 ** (unit - self.digits))
            ticks = _plain(array.view(pa.int64()))
            position = _first(ticks // step * step != ticks)
            found = None if position is None else (position, self._too_fine)
        return found

    def _is_plain(self, array: Any, unit: int) -> bool:
        """Whether wall clocks are in no gap of the zone, and so far within all ranges that the zone does not matter."""
        import pyarrow as pa
        import pyarrow.compute as pc

        ticks = array.view(pa.int64())
        ends = pc.min_max(ticks)
        low, high = ends["min"].as_py() // 10**unit, ends["max"].as_py() // 10**unit
        if low < _DAY or high > _LAST_DATETIME - _DAY:
            return False
        numbers = _plain(ticks)
        gaps = _gaps(str(self.zone), low // _YEAR_SECONDS, high // _YEAR_SECONDS)
        return gaps is not None and not any(
            ((numbers >= begin * 10**unit) & (numbers < end * 10**unit)).any()
            for begin, end in gaps
            if end > low and begin <= high
        )

    @property
    def _too_fine(self) -> str:
        return f"is finer than {self.type}, which has {self.digits or 'no'} digits of a second"

    def _outside(self, ticks: Any, unit: int, reader: Reader) -> Found:
        import numpy as np
        import pyarrow.compute as pc

        ends = pc.min_max(ticks)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if low is None:
            return None
        scale = 10**unit
        first, last = self._range(low // scale, high // scale, reader)
        if low // scale >= first and high // scale <= last:
            return None
        seconds = _plain(ticks) // np.int64(scale)
        valid = ticks.is_valid().to_numpy(zero_copy_only=False)
        position = _first(valid & ((seconds < first) | (seconds > last)))
        return None if position is None else (position, self._too_far(first, last))

    def _range(self, low: int, high: int, reader: Reader) -> tuple[int, int]:
        if not self.is_long:
            return 0, _LAST_DATETIME
        first, last = _FIRST, _LAST
        if (low < first or high > last) and reader.is_wide():
            first, last = _FIRST_WIDE, _LAST_WIDE
        most = 2**63 // 10**self.digits - 1
        return max(first, -most), min(last, most)

    def _too_far(self, first: int, last: int) -> str:
        return f"is outside of {self.type}, which holds {_moment(first)} to {_moment(last)} UTC"

    def _complaint(self, number: Decimal | None, reader: Reader) -> str | None:
        """Of a number, which is read by its digits."""
        if number is None:
            return None
        if reader.typed:
            second = number // 1
            first, last = self._range(int(second), int(second), reader)
            return self._too_far(first, last) if not first <= second <= last else self._complaint_of_digits(number)
        whole = int(number)
        unit = _EPOCH_DIGITS.get(len(str(abs(whole)))) if number > 0 else None
        if unit is None or (unit and number != whole):
            return f"is no {self.type}: a number is read by its digits, 10 as seconds since 1970, 13 as milliseconds, and others as a date"
        second = whole // 10**unit
        first, last = self._range(second, second, reader)
        if not first <= second <= last:
            return self._too_far(first, last)
        return self._complaint_of_digits(number.scaleb(-unit, _EXACT))

    def _complaint_of_text(self, text: str, reader: Reader, strict: bool) -> str | None:
        """Of a text that is no day and time in the usual form."""
        number = _number(text)
        if number is not None:
            return self._complaint(number, Reader(False, reader.is_wide))
        has_no_year = bool(re.search(r"\d", text)) and not _YEAR.search(text)
        return f"is no {self.type}" if strict or has_no_year else None

    def _complaint_of_digits(self, seconds: Decimal) -> str | None:
        return self._too_fine if _fraction(seconds) > self.digits else None

    def _texts(self, array: Any, reader: Reader, strict: bool) -> Found:
        """Texts of a day and a time; how others are read is known to ClickHouse alone."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        array, parts, odd = _days_and_times(array)
        found = _find_text(array, lambda text: self._complaint_of_text(text, reader, strict), odd)
        if found is not None:
            return found
        places = np.flatnonzero(parts.is_valid().to_numpy(zero_copy_only=False))
        if not len(places):
            return None
        texts = _iso_texts(parts.take(_arrow(places)))
        digits, zones, naive = texts
        times, bad = _parsed(naive)
        if bad is not None:
            return int(places[bad]), "is a time that there is not"
        finest = pc.max(pc.binary_length(digits)).as_py()
        if finest > self.digits:
            position = _first(_plain(pc.binary_length(digits)) > self.digits)
            return int(places[position or 0]), self._too_fine
        zoned = _plain(pc.binary_length(zones)) > 0
        shifts = _shifts(zones) if zoned.any() else None
        if shifts is not None:
            with_zone = np.flatnonzero(zoned)
            moved = pa.array(_plain(times.view(pa.int64()))[with_zone] - shifts[with_zone])
            found = self._outside(moved, 0, reader)
            if found:
                return int(places[with_zone[found[0]]]), found[1]
            without = np.flatnonzero(~zoned)
            times, places = times.take(_arrow(without)), places[without]
        found = self._times(times, Reader(False, reader.is_wide)) if len(times) else None
        return None if found is None else (int(places[found[0]]), found[1])


@dataclass(frozen=True, slots=True)
class Days:
    """``Date`` or ``Date32``: what is out of range becomes the nearest there is, and a time of day is cut.

    :param is_long: whether it is a ``Date32``.
    """

    type: str
    nullable: bool
    is_long: bool
    needs_look: bool = True

    def find(self, array: Any, reader: Reader, *, strict: bool) -> Found:
        """See :class:`Scalar`."""
        import pyarrow as pa

        types = pa.types
        if types.is_date(array.type):
            return self._outside(array.cast(pa.date32()), reader)
        if types.is_timestamp(array.type):
            return self._times(array, reader, strict)
        if _is_text(array.type):
            return self._texts(array, reader, strict)
        if types.is_time(array.type):
            return _first_there(array), f"is a time of day, and {self.type} wants a day"
        if types.is_boolean(array.type):
            return (_first_there(array), f"is no {self.type}") if strict else None
        read = None
        if not strict and not reader.typed and (types.is_integer(array.type) or types.is_floating(array.type)):
            numbers = _plain(array)
            read = (numbers >= 10**7) & (numbers < 10**8)  # others go to quarantine
        return _find_number(array, lambda number: self._complaint(number, reader, strict), read)

    def _outside(self, days: Any, reader: Reader) -> Found:
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = days.view(pa.int32())
        ends = pc.min_max(numbers)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if low is None:
            return None
        first, last = self._range(low, high, reader)
        if low >= first and high <= last:
            return None
        bad = pc.or_(pc.less(numbers, pa.scalar(first, pa.int32())), pc.greater(numbers, pa.scalar(last, pa.int32())))
        return int(pc.index(bad, True).as_py()), self._too_far(first, last)

    def _range(self, low: int, high: int, reader: Reader) -> tuple[int, int]:
        if not self.is_long:
            return 0, _LAST_DATE
        first, last = _FIRST // _DAY, _LAST // _DAY
        if (low < first or high > last) and reader.is_wide():
            return _FIRST_WIDE // _DAY, _LAST_WIDE // _DAY
        return first, last

    def _too_far(self, first: int, last: int) -> str:
        return f"is outside of {self.type}, which holds {_moment(first * _DAY)[:10]} to {_moment(last * _DAY)[:10]}"

    def _times(self, array: Any, reader: Reader, strict: bool) -> Found:
        import numpy as np
        import pyarrow as pa

        if strict:
            return _first_there(array), f"has a time of day, which {self.type} has not: give a date"
        ticks = _plain(array.view(pa.int64()))
        step = np.int64(_DAY * 10 ** _UNITS[array.type.unit])
        position = _first(ticks // step * step != ticks)
        if position is not None:
            return position, f"has a time of day, which {self.type} has not: give a date"
        days = pa.array((ticks // step).astype(np.int32), mask=~array.is_valid().to_numpy(zero_copy_only=False))
        return self._outside(days.view(pa.date32()), reader)

    def _complaint(self, number: Decimal | None, reader: Reader, strict: bool) -> str | None:
        """Of a number: eight digits are read as a day, and others go to quarantine."""
        if number is None:
            return None
        if reader.typed:
            return None if 0 <= number <= _LAST_DATE and number == int(number) else f"is no {self.type}"
        text = str(int(number)) if number == int(number) else ""
        if strict or len(text) != len("20240101"):
            return f"is no {self.type}" if strict else None
        try:
            day = (dt.date(int(text[:4]), int(text[4:6]), int(text[6:])) - dt.date(1970, 1, 1)).days
        except ValueError:
            return f"is no {self.type}"
        first, last = self._range(day, day, reader)
        return None if first <= day <= last else self._too_far(first, last)

    def _texts(self, array: Any, reader: Reader, strict: bool) -> Found:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        there = array.is_valid().to_numpy(zero_copy_only=False)
        if strict:
            odd = there & ~_mask(pc.match_substring_regex(array, r"^\d{4}-\d{2}-\d{2}$"))
            if odd.any():
                return int(odd.argmax()), f"is no {self.type}"
        array, parts, _ = _days_and_times(array)
        places = np.flatnonzero(parts.is_valid().to_numpy(zero_copy_only=False))
        if not len(places):
            return None
        digits, _, naive = _iso_texts(parts.take(_arrow(places)))
        times, bad = _parsed(naive)
        if bad is not None:
            return int(places[bad]), "is a day that there is not"
        fine = _plain(pc.binary_length(digits)) > 0
        seconds = _plain(times.view(pa.int64()))
        position = _first(fine | (seconds % _DAY != 0))
        if position is not None:
            return int(places[position]), f"has a time of day, which {self.type} has not: give a date"
        found = self._outside(pa.array((seconds // _DAY).astype(np.int32)).view(pa.date32()), reader)
        return None if found is None else (int(places[found[0]]), found[1])


@dataclass(frozen=True, slots=True)
class TimesOfDay:
    """``Time`` or ``Time64(digits)``: finer digits are cut.

    :param digits: of a second.
    """

    type: str
    nullable: bool
    digits: int
    needs_look: bool = True

    def find(self, array: Any, reader: Reader, *, strict: bool) -> Found:  # noqa: ARG002
        """See :class:`Scalar`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_time(array.type):
            array = pc.cast(array, pa.string())
        if not _is_text(array.type):
            return (_first_there(array), f"is no {self.type}") if strict else None
        position = _first(_mask(pc.match_substring_regex(array, rf"\.\d{{{self.digits}}}\d*[1-9]")))
        return None if position is None else (position, f"is finer than {self.type}")


def _moment(second: int) -> str:
    return str(dt.datetime(1970, 1, 1) + dt.timedelta(seconds=second))


@lru_cache(maxsize=64)
def _gaps(zone: str, first_year: int, last_year: int) -> tuple[tuple[int, int], ...] | None:
    """Wall clocks that a zone does not have, in seconds: from each to the other. ``None`` where the zone is not known here.

    :param zone: the zone.
    :param first_year: years since 1970, of 365 days.
    :param last_year: the last of them.
    """
    try:
        clocks = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return None

    def ahead(second: int) -> int:
        return int((dt.datetime.fromtimestamp(second, clocks).utcoffset() or dt.timedelta()).total_seconds())

    found = []
    start, end = first_year * _YEAR_SECONDS - 2 * _DAY, (last_year + 1) * _YEAR_SECONDS + 2 * _DAY
    for before in range(start, end, _DAY):
        low, high = before, before + _DAY
        if ahead(high) <= ahead(low):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if ahead(middle) == ahead(before) else (low, middle)
        found.append((high + ahead(before), high + ahead(high)))
    return tuple(found)


def _in_zone(array: Any, zone: str) -> tuple[Any, int | None]:
    """Wall clocks of a zone as instants; and the position of the first that the zone does not have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.assume_timezone(array, zone, ambiguous="earliest", nonexistent="raise"), None
    except pa.ArrowInvalid:
        pass
    try:
        found = pc.assume_timezone(array, zone, ambiguous="earliest", nonexistent="earliest")
    except pa.ArrowInvalid:  # no such zone here
        return array, None
    same = pc.equal(pc.local_timestamp(found), array)
    return found, _first(~(same.fill_null(True)).to_numpy(zero_copy_only=False))


def _days_and_times(array: Any) -> tuple[Any, Any, Any]:
    """The texts, their parts, null where they are no day and time; and the positions of those that are not."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = pc.extract_regex(array, _DAY_AND_TIME)
    if parts.null_count == array.null_count:
        return array, parts, np.array([], np.int64)
    odd = np.flatnonzero(
        ~parts.is_valid().to_numpy(zero_copy_only=False) & array.is_valid().to_numpy(zero_copy_only=False)
    )
    compact = {place: found for place in odd.tolist() if (found := _COMPACT.fullmatch(array[place].as_py()))}
    if not compact:
        return array, parts, odd
    texts = array.to_pylist()
    for place, found in compact.items():
        texts[place] = "-".join(found.groups()[:3]) + (f" {found[4]}:{found[5]}:{found[6]}" if found[4] else "")
    array = pa.array(texts, pa.large_string())
    parts = pc.extract_regex(array, _DAY_AND_TIME)
    return array, parts, np.setdiff1d(odd, np.fromiter(compact, np.int64))


def _iso_texts(parts: Any) -> tuple[Any, Any, Any]:
    """Digits of a second without zeros at the end, zones, and the rest as ``YYYY-MM-DD HH:MM:SS``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    year, *numbers, digits, zone = (one.cast(pa.string()) for one in parts.flatten())
    month, day, *clock = (pc.utf8_lpad(one.fill_null("") if one.null_count else one, 2, "0") for one in numbers)
    days = pc.binary_join_element_wise(year, month, day, "-")
    naive = pc.binary_join_element_wise(days, pc.binary_join_element_wise(*clock, ":"), " ")
    return pc.utf8_rtrim(digits.fill_null(""), "0"), zone.fill_null(""), naive


def _parsed(texts: Any) -> tuple[Any, int | None]:
    """Times, and the position of the first text that is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        times = pc.cast(texts, pa.timestamp("s"))
    except pa.ArrowInvalid:
        times = None
    if times is not None and not pc.any(pc.starts_with(texts, "0000")).as_py():
        return times, None
    for position, text in enumerate(texts.to_pylist()):
        try:
            dt.datetime.fromisoformat(text)
        except ValueError:
            return None, position
    return times, None


def _shifts(zones: Any) -> Any:
    """Seconds that the texts of zones are ahead of UTC."""
    import numpy as np

    known: dict[str, int] = {}
    for zone in set(zones.to_pylist()):
        sign = -1 if zone.startswith("-") else 1
        known[zone] = sign * (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60) if len(zone) > 1 else 0
    return np.fromiter((known[zone] for zone in zones.to_pylist()), np.int64)


# Types with others inside


class Composite:
    """A type with others inside."""

    __slots__ = ()

    def look(self, cells: Cells, reader: Reader, strict: bool) -> None:
        """Look at what is inside of values, none of which is null.

        :raises BadValueError: one would be changed.
        """
        raise NotImplementedError


def _as_objects(target: Target, cells: Cells, reader: Reader, strict: bool) -> None:
    """Look at what no array has: text that is JSON, or a misfit."""
    values = cells.values
    if not isinstance(values, list) and _is_text(values.type):
        found = []
        for text in values.to_pylist():
            try:
                found.append(json.loads(text, parse_float=Decimal) if text is not None else None)
            except (ValueError, RecursionError):
                found.append(text)
        containers = [place for place, one in enumerate(found) if isinstance(one, (list, dict))]
        if containers and not strict:
            _look_inside(
                target, cells.part([found[place] for place in containers], _places(containers)), reader, strict
            )
            return
    if strict:
        valid = 0 if isinstance(values, list) else values.is_valid().to_pylist().index(True)
        raise cells.refuse(valid, _reason(_shown(values, valid), f"is no {target.type}"))


def _look_inside(target: Target, cells: Cells, reader: Reader, strict: bool) -> None:
    for part in _parts(cells, target, strict):
        _look(target, part, reader, strict)


def _places(positions: Any) -> Any:
    import numpy as np

    return np.asarray(positions, np.int64)


@dataclass(frozen=True, slots=True)
class Items(Composite):
    """``Array(item)``: an item that does not fit puts its row into quarantine, but where it can be NULL becomes that.

    :param item: type of the items.
    """

    type: str
    nullable: bool
    item: Target | None

    @property
    def needs_look(self) -> bool:
        """See :class:`Target`."""
        return self.item is not None and (self.item.needs_look or self._is_strict)

    @property
    def _is_strict(self) -> bool:
        return self.item is not None and (self.item.nullable or isinstance(self.item, Composite))

    def look(self, cells: Cells, reader: Reader, strict: bool) -> None:
        """See :class:`Composite`."""
        inside = items_of(cells)
        if inside is None:
            _as_objects(self, cells, reader, strict)
        else:
            look(self.item, inside, reader, strict=strict or reader.typed or self._is_strict)


def items_of(cells: Cells) -> Cells | None:
    """The items of arrays; ``None`` where the values are none.

    :param cells: the arrays.
    """
    import numpy as np
    import pyarrow.compute as pc

    values = cells.values
    if isinstance(values, list):
        if not all(isinstance(one, (list, tuple, np.ndarray)) or one is None for one in values):
            return None
        lengths = np.fromiter((0 if one is None else len(one) for one in values), np.int64, count=len(values))
        flat = [item for one in values if one is not None for item in one]
        return cells.part(flat, np.repeat(np.arange(len(values)), lengths))
    if not hasattr(values.type, "value_type") or "list" not in str(values.type).partition("<")[0]:
        return None
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    return cells.part(values.flatten(), np.repeat(np.arange(len(values)), lengths))


def member_of(cells: Cells, key: str) -> Cells | None:
    """What objects have under a key; ``None`` where nothing is there.

    :param cells: structs, maps or mappings; other values have nothing.
    :param key: the key.
    """
    import pyarrow as pa

    values = cells.values
    if isinstance(values, list):
        found = [one.get(key) if isinstance(one, Mapping) else None for one in values]
        return Cells(found, cells.rows)
    values = _decoded(values)
    if pa.types.is_struct(values.type):
        place = values.type.get_field_index(key)
        return None if place < 0 else Cells(values.flatten()[place], cells.rows)
    if pa.types.is_map(values.type):
        return Cells([None if one is None else dict(one).get(key) for one in values.to_pylist()], cells.rows)
    if _is_text(values.type) or not pa.types.is_nested(values.type):
        return None
    return None


@dataclass(frozen=True, slots=True)
class Fields(Composite):
    """``Tuple(...)``: a field that is missing or does not fit becomes a default, and one too many is left out.

    :param names: of its fields; empty texts where they have none.
    :param fields: their types.
    """

    type: str
    nullable: bool
    names: tuple[str, ...]
    fields: tuple[Target | None, ...]
    needs_look: bool = True

    def look(self, cells: Cells, reader: Reader, strict: bool) -> None:
        """See :class:`Composite`."""
        values = cells.values
        if isinstance(values, list) and values and isinstance(values[0], Mapping):
            self._mappings(cells, reader)
        elif isinstance(values, list):
            self._sequences(cells, reader)
        elif hasattr(values.type, "get_field_index"):
            self._structs(cells, reader)
        elif (inside := items_of(cells)) is not None and inside is not None:
            self._sequences(Cells(values.to_pylist(), cells.rows), reader)
        elif "map<" in str(values.type):
            self._mappings(
                Cells([None if one is None else dict(one) for one in values.to_pylist()], cells.rows), reader
            )
        else:
            _as_objects(self, cells, reader, strict)

    @property
    def _is_named(self) -> bool:
        return all(self.names)

    def _structs(self, cells: Cells, reader: Reader) -> None:
        import numpy as np

        struct = cells.values
        if struct.null_count:
            there = np.flatnonzero(struct.is_valid().to_numpy(zero_copy_only=False))
            cells = cells.part(struct.take(_arrow(there)), there)
            struct = cells.values
        names = [one.name for one in struct.type]
        columns = dict(zip(names, struct.flatten(), strict=True))
        wanted = self._wanted(names, cells, 0)
        for name, target in wanted:
            look(target, Cells(columns[name], cells.rows), reader, strict=True)

    def _wanted(self, names: Sequence[str], cells: Cells, position: int) -> list[tuple[str, Target | None]]:
        """The fields that are there, each with its type; missing ones must be such as can be NULL."""
        if not self._is_named:
            if len(names) != len(self.fields):
                raise cells.refuse(position, self._odd_number(len(names)))
            return list(zip(names, self.fields, strict=True))
        more = [name for name in names if name not in self.names]
        if more:
            raise cells.refuse(position, _reason(f"field {more[0]!r}", f"has no place in {self.type}"))
        found = []
        for name, target in zip(self.names, self.fields, strict=True):
            if name in names:
                found.append((name, target))
            elif target is not None and not target.nullable:
                raise cells.refuse(
                    position, _reason(f"field {name!r}", f"of {self.type} is missing: a default would be stored")
                )
        return found

    def _odd_number(self, many: int) -> str:
        return _reason(f"a value with {many} fields", f"is no {self.type}")

    def _mappings(self, cells: Cells, reader: Reader) -> None:
        shapes: dict[tuple[str, ...], list[int]] = {}
        for place, one in enumerate(cells.values):
            if one is not None:
                shapes.setdefault(tuple(one), []).append(place)
        for shape, places in shapes.items():
            wanted = self._wanted(shape, cells, places[0])
            for name, target in wanted:
                part = cells.part([cells.values[place][name] for place in places], _places(places))
                look(target, part, reader, strict=True)

    def _sequences(self, cells: Cells, reader: Reader) -> None:
        places = [place for place, one in enumerate(cells.values) if one is not None]
        for place in places:
            if not len(cells.values[place]) == len(self.fields):
                raise cells.refuse(place, self._odd_number(len(cells.values[place])))
        for number, target in enumerate(self.fields):
            part = cells.part([cells.values[place][number] for place in places], _places(places))
            look(target, part, reader, strict=True)


@dataclass(frozen=True, slots=True)
class Pairs(Composite):
    """``Map(key, value)``: a key or value that does not fit becomes a default.

    :param key: type of the keys.
    :param value: type of the values.
    """

    type: str
    nullable: bool
    key: Target | None
    value: Target | None
    needs_look: bool = True

    def look(self, cells: Cells, reader: Reader, strict: bool) -> None:
        """See :class:`Composite`."""
        import pyarrow as pa

        values = cells.values
        if not isinstance(values, list) and (pa.types.is_struct(values.type) or pa.types.is_map(values.type)):
            if pa.types.is_struct(values.type):
                self._mappings(Cells(values.to_pylist(), cells.rows), reader)
                return
            entry = pa.struct([("key", values.type.key_type), ("value", values.type.item_type)])
            inside = items_of(Cells(values.view(pa.list_(entry)), cells.rows))
            if inside is not None:
                keys, held = inside.values.flatten()
                look(self.key, Cells(keys, inside.rows), reader, strict=True)
                look(self.value, Cells(held, inside.rows), reader, strict=True)
        elif isinstance(values, list) and all(isinstance(one, Mapping) or one is None for one in values):
            self._mappings(cells, reader)
        elif isinstance(values, list) and strict:
            raise cells.refuse(0, _reason(_shown(values, 0), f"is no {self.type}"))
        elif not isinstance(values, list):
            _as_objects(self, cells, reader, strict)

    def _mappings(self, cells: Cells, reader: Reader) -> None:
        import numpy as np

        lengths = np.fromiter((len(one or ()) for one in cells.values), np.int64, count=len(cells.values))
        places = np.repeat(np.arange(len(cells.values)), lengths)
        pairs = [pair for one in cells.values if one for pair in one.items()]
        look(self.key, cells.part([key for key, _ in pairs], places), reader, strict=True)
        look(self.value, cells.part([value for _, value in pairs], places), reader, strict=True)


# Types by their names


@lru_cache(maxsize=1024)
def target_of(kind: Type) -> Target | None:
    """What a type does to values; ``None`` for one whose rules are its own, such as ``JSON``.

    :param kind: the type.
    """
    inner, nullable = kind.inner, kind.is_nullable
    make = _MAKERS.get(inner.name)
    return None if make is None else make(inner, nullable)


def _integer(kind: Type, nullable: bool) -> Target:
    bits = int(kind.name.rpartition("Int")[2])
    low, high = (0, 2**bits) if kind.name.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1))

    def takes(value: Any) -> bool:
        if isinstance(value, str):
            return re.fullmatch(r"-?\d{1,80}", value) is not None and low <= int(value) < high
        return isinstance(value, (bool, int, float)) and value == value // 1 and low <= value < high

    return Exactly(kind.name, nullable, takes)


def _text_of(argument: Type) -> str:
    return unquoted(argument.name)


def _date_time(kind: Type, nullable: bool) -> Target:
    is_long = kind.name == "DateTime64"
    arguments = list(kind.args)
    digits = int(arguments.pop(0).name) if is_long and arguments else 3 if is_long else 0
    zone = _text_of(arguments[0]) if arguments else None
    shown = kind.name + (f"({digits})" if is_long else "")
    return Moments(shown, nullable, digits, None if zone in (None, "UTC", "Etc/UTC") else zone, is_long)


def _decimal(kind: Type, nullable: bool) -> Target | None:
    arguments = [int(one.name) for one in kind.args if one.name.isdecimal()]
    if kind.name == "Decimal":
        precision, scale = (*arguments, *(10, 0)[len(arguments) :])[:2]
    else:
        precision = {"Decimal32": 9, "Decimal64": 18, "Decimal128": 38, "Decimal256": 76}[kind.name]
        scale = arguments[0] if arguments else 0
    return Decimals(f"Decimal({precision}, {scale})", nullable, precision, scale)


def _fixed(kind: Type, nullable: bool) -> Target:
    size = int(kind.args[0].name) if kind.args and kind.args[0].name.isdecimal() else 0
    return Exactly(
        f"FixedString({size})", nullable, lambda value: isinstance(value, str) and len(value.encode()) <= size
    )


def _parses(make: Callable[[str], object]) -> Callable[[Any], bool]:
    def takes(value: Any) -> bool:
        try:
            make(value)
        except (ValueError, AttributeError, TypeError):
            return False
        return isinstance(value, str)

    return takes


def _enum(kind: Type, nullable: bool) -> Target:
    names = set(kind.elements.values())
    return Exactly(kind.name, nullable, lambda value: isinstance(value, str) and value in names)


def _array(kind: Type, nullable: bool) -> Target | None:
    return Items("Array", nullable, target_of(kind.args[0])) if kind.args else None


def _tuple(kind: Type, nullable: bool) -> Target:
    names = kind.labels or ("",) * len(kind.args)
    fields = tuple(target_of(one) for one in kind.args)
    return Fields("Tuple", nullable, names if all(names) else ("",) * len(kind.args), fields)


def _map(kind: Type, nullable: bool) -> Target | None:
    return Pairs("Map", nullable, target_of(kind.args[0]), target_of(kind.args[1])) if len(kind.args) == 2 else None


def _time(kind: Type, nullable: bool) -> Target:
    digits = int(kind.args[0].name) if kind.args and kind.args[0].name.isdecimal() else 0
    return TimesOfDay(kind.name + (f"({digits})" if digits else ""), nullable, digits)


_MAKERS: dict[str, Callable[[Type, bool], Target | None]] = {
    **{f"{sign}Int{bits}": _integer for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)},
    "Bool": lambda _, nullable: Exactly("Bool", nullable, lambda one: not isinstance(one, str) and one in (0, 1)),
    "Float32": lambda _, nullable: Float("Float32", nullable, 32),
    "Float64": lambda _, nullable: Float("Float64", nullable, 64),
    **dict.fromkeys(("Decimal", "Decimal32", "Decimal64", "Decimal128", "Decimal256"), _decimal),
    **dict.fromkeys(("DateTime", "DateTime32", "DateTime64"), _date_time),
    "Date": lambda _, nullable: Days("Date", nullable, is_long=False),
    "Date32": lambda _, nullable: Days("Date32", nullable, is_long=True),
    **dict.fromkeys(("Time", "Time64"), _time),
    "String": lambda _, nullable: Anything("String", nullable),
    "FixedString": _fixed,
    "UUID": lambda _, nullable: Exactly("UUID", nullable, _parses(UUID)),
    "IPv4": lambda _, nullable: Exactly("IPv4", nullable, _parses(ipaddress.IPv4Address)),
    "IPv6": lambda _, nullable: Exactly("IPv6", nullable, _parses(ipaddress.ip_address)),
    **dict.fromkeys(("Enum", "Enum8", "Enum16"), _enum),
    "Array": _array,
    "Tuple": _tuple,
    "Nested": lambda kind, nullable: Items("Nested", nullable, _tuple(kind, False)),
    "Map": _map,
}

_HARMLESS: dict[str, frozenset[type]] = {
    "Float64": frozenset({float, bool, type(None)}),
    "Decimal": frozenset({int, bool, type(None)}),
}
"""Kinds of Python values that a column never changes."""
