"""How values are written into query strings and forms, and which names Tinybird refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from urllib.parse import quote
from uuid import UUID

from airflow_provider_tinybird.api.errors import InvalidInputError

Pairs = tuple[tuple[str, str], ...]

# Request lines are cut at about 8 kB (HTTP 414); Tinybird's own command line switches to POST at 4,096 characters.
LONGEST_QUERY_STRING = 4096

# Names that Tinybird forbids for data sources, pipes and nodes, whatever their case ("Forbidden names" in its API
# overview).
RESERVED_NAMES = frozenset(
    [
        "array",
        "boolean",
        "date",
        "date32",
        "datetime",
        "datetime32",
        "datetime64",
        "decimal",
        "decimal128",
        "decimal256",
        "decimal32",
        "decimal64",
        "enum",
        "enum16",
        "enum8",
        "fixedstring",
        "float32",
        "float64",
        "ipv4",
        "ipv6",
        "int128",
        "int16",
        "int256",
        "int32",
        "int64",
        "int8",
        "multipolygon",
        "point",
        "polygon",
        "ring",
        "string",
        "table",
        "uint128",
        "uint16",
        "uint256",
        "uint32",
        "uint64",
        "uint8",
        "uuid",
        "_temporary_and_external_tables",
        "add",
        "after",
        "all",
        "and",
        "anti",
        "any",
        "as",
        "asc",
        "asof",
        "between",
        "by",
        "case",
        "collate",
        "column",
        "columns",
        "cross",
        "cube",
        "custom_error",
        "day_diff",
        "default",
        "defined",
        "desc",
        "distinct",
        "else",
        "end",
        "enumerate_with_last",
        "error",
        "exists",
        "from",
        "full",
        "functions",
        "generaterandom",
        "global",
        "group",
        "having",
        "if",
        "ilike",
        "in",
        "inner",
        "insert",
        "interval",
        "into",
        "join",
        "left",
        "like",
        "limit",
        "limits",
        "max",
        "min",
        "not",
        "null",
        "numbers_mt",
        "on",
        "one",
        "or",
        "order",
        "outer",
        "prewhere",
        "public",
        "right",
        "sample",
        "select",
        "semi",
        "split_to_array",
        "sql_and",
        "sql_unescape",
        "system",
        "then",
        "tinybird",
        "to",
        "union",
        "using",
        "where",
        "with",
        "zeros_mt",
    ]
)

# Query keys that the server claims for itself: as a pipe's parameter they would change the request instead of reaching
# the pipe.
RESERVED_PARAMETERS = frozenset(
    [
        "__tb__csv_header",
        "__tb__semver",
        "__tb__deployment",
        "debug",
        "debug_source_tables",
        "explain",
        "finalize_aggregations",
        "format",
        "pipeline",
        "playground",
        "q",
        "query_id",
        "release_replacements",
        "tag",
        "template_parameters",
        "token",
        "_mode",
        "on_demand_compute",
    ]
)

_NAME = re.compile(r"[^\s/?#%\\\x00-\x1f\x7f]+")
_ID = re.compile(r"t_[0-9a-f]{32}")


def is_id(name: str) -> bool:
    """Tell whether it is the id of something, ``t_`` and 32 hexadecimal digits, and not a name that begins alike.

    :param name: name or id.
    """
    return _ID.fullmatch(name) is not None


def resource_name(kind: str, name: str) -> str:
    """Check a name before it is sent and return it percent-encoded for a path.

    :param kind: what it names, for the message: ``data source``, ``pipe``, ``node``.
    :param name: name or id (``t_...``); a data source shared from another workspace is ``workspace.datasource``.
    :raises InvalidInputError: the name is empty, has characters that no name can have, or is a reserved word.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidInputError(
            f"The name of the {kind} is empty ({name!r}): give the name that Tinybird shows, or its id (t_...)."
        )
    if not _NAME.fullmatch(name) or not name.strip("."):  # dots alone would climb up in the path
        raise InvalidInputError(
            f"{name!r} cannot be the name of a {kind}: it has a space or one of / \\ ? # %, a control character, or only dots."
        )
    if name.lower() in RESERVED_NAMES:
        raise InvalidInputError(
            f"{name!r} is a reserved word in Tinybird, so no {kind} can have that name: check the name."
        )
    return quote(name, safe="")


def loadable_name(datasource: str) -> str:
    """Check the name of a data source that rows are to go into, and return it percent-encoded for a path.

    :param datasource: name or id.
    :raises InvalidInputError: see :func:`resource_name`; or it is ``None``, which is what Python and Jinja make of a name that is not
        there. A Classic workspace would create a data source of that name.
    """
    if isinstance(datasource, str) and datasource.strip() == "None":
        raise InvalidInputError(
            "The name of the data source is the text 'None', which is what becomes of a value that is None. Nothing was sent. Check where "
            "the name comes from."
        )
    return resource_name("data source", datasource)


def parameter(name: str, value: object) -> str:
    """Write one value as Tinybird reads it in a query string or a form.

    Booleans become ``true`` and ``false``, lists one comma-joined value (repeated keys arrive broken), times
    ``YYYY-MM-DD HH:MM:SS`` in UTC (a ``T`` may be rejected).

    :raises InvalidInputError: the value has no such form (a mapping, bytes, a list item with a comma in it).
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str.__str__(value)  # the text of an enum too, whose own str() is its name
    if isinstance(value, int | float | Decimal | UUID):
        return str(value)
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(UTC).replace(tzinfo=None)
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple | set | frozenset):
        items = [parameter(name, item) for item in value]
        for item in items:
            if "," in item:
                raise InvalidInputError(
                    f"Parameter {name!r}: {item!r} holds a comma, and Tinybird splits lists at commas; no item of a list may have one."
                )
        return ",".join(items)
    raise InvalidInputError(
        f"Parameter {name!r} is a {type(value).__name__}, which has no form in a request: use text, a number, a boolean, a date, "
        "a datetime, or a list of these."
    )


def pairs(values: Mapping[str, object]) -> Pairs:
    """Encode named values; those that are ``None`` are left out."""
    return tuple((name, parameter(name, value)) for name, value in values.items() if value is not None)


def pipe_parameters(parameters: Mapping[str, object] | None, *, meant: frozenset[str] = frozenset()) -> Pairs:
    """Encode the parameters of a pipe or of a template.

    :param meant: names that the server claims for itself and that are meant as such here.
    :raises InvalidInputError: they are no mapping, or a name is not text or is one that the server claims for itself,
        such as ``q`` or ``token``.
    """
    if parameters and not isinstance(parameters, Mapping):
        raise InvalidInputError(
            f"The parameters of a pipe are {parameters!r}: give a mapping of their names to their values. A template makes text "
            "of a mapping; put templates into its values, or have it from another task."
        )
    for name in parameters or ():
        if not isinstance(name, str) or not name:
            raise InvalidInputError(f"A pipe's parameter has the name {name!r}: names are text.")
        if name.lower() in RESERVED_PARAMETERS - meant:
            raise InvalidInputError(
                f"Tinybird keeps the parameter name {name!r} for itself, so no pipe can receive it: rename it in the pipe."
            )
    return pairs(parameters or {})
