"""Tinybird project files: ``.datasource`` and ``.pipe``, read into frozen dataclasses."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from airflow_provider_tinybird.sandbox.datafiles.lines import DatafileError, Instruction, instructions, once, shown
from airflow_provider_tinybird.sandbox.datafiles.schema import Column, SchemaError, columns_of

__all__ = [
    "Column",
    "DatafileError",
    "DatasourceFile",
    "NodeFile",
    "NodeKind",
    "PipeFile",
    "Project",
    "TokenGrant",
    "load_project",
    "name_problem",
    "parse_datasource",
    "parse_pipe",
    "parse_schema",
]

# Tinybird refuses these as names of data sources, pipes and nodes, whatever their case.
_RESERVED = """
    array boolean date date32 datetime datetime32 datetime64 decimal decimal128 decimal256 decimal32 decimal64 enum enum16 enum8
    fixedstring float32 float64 ipv4 ipv6 int128 int16 int256 int32 int64 int8 multipolygon point polygon ring string table uint128
    uint16 uint256 uint32 uint64 uint8 uuid _temporary_and_external_tables add after all and anti any as asc asof between by case
    collate column columns cross cube custom_error day_diff default defined desc distinct else end enumerate_with_last error exists
    from full functions generaterandom global group having if ilike in inner insert interval into join left like limit limits max min
    not null numbers_mt on one or order outer prewhere public right sample select semi split_to_array sql_and sql_unescape system then
    tinybird to union using where with zeros_mt
"""
_RESERVED_NAMES = frozenset(_RESERVED.split())
# Tables and views are files with these names.
_MOST_NAME = 100

_ENGINE = """
    engine engine_partition_key engine_sorting_key engine_primary_key engine_sampling_key engine_ttl engine_ver engine_sign
    engine_version engine_is_deleted engine_settings engine_columns engine_join_strictness engine_join_type engine_key_columns
"""
_ENGINE_KEYS = frozenset(_ENGINE.split())
# Harmless here: how a resource is labelled, moved between versions or indexed changes no row of it.
_IGNORED_KEYS = frozenset({"tags", "version", "indexes", "backfill", "deployment_method"})
_DATASOURCE_KEYS = (
    _ENGINE_KEYS | _IGNORED_KEYS | {"schema", "description", "token", "shared_with", "forward_query", "source"}
)
_CONNECTOR_PREFIXES = ("kafka_", "import_", "pg_")
# What the parser of Forward's own command line refuses.
_CLASSIC_KEYS = {
    "source": "load the data afterwards",
    "kafka_store_binary_headers": "the headers are always a Map(String, String) there: remove it",
    "kafka_key_avro_deserialization": "say KAFKA_KEY_FORMAT avro instead",
    "import_strategy": "a Forward workspace appends always: remove it",
}
_PERMISSIONS = ("READ", "APPEND", "CREATE", "DROP")
_FORWARD_PERMISSIONS = ("READ", "APPEND")
_NODE_KEYS = {
    "node",
    "sql",
    "type",
    "datasource",
    "target_datasource",
    "copy_mode",
    "copy_schedule",
    "on_demand_compute",
}
_PIPE_KEYS = _ENGINE_KEYS | _IGNORED_KEYS | _NODE_KEYS | {"description", "token"}
_SINK_PREFIXES = ("export_",)
_ENGINES_THAT_NEED = {
    "CollapsingMergeTree": ("sign",),
    "VersionedCollapsingMergeTree": ("sign", "version"),
}
COPY_MODES = ("append", "replace")
# What these connectors add to each row. Other ways to insert rows leave them at their defaults.
KAFKA_COLUMNS = (
    Column("__value", "String", default="''"),
    Column("__topic", "LowCardinality(String)", default="''"),
    Column("__partition", "Int16", default="0"),
    Column("__offset", "Int64", default="0"),
    Column("__timestamp", "DateTime", default="now()"),
    Column("__key", "String", default="''"),
    Column("__headers", "Map(String, String)", default="map()"),
)
DYNAMODB_COLUMNS = (
    Column("_record", "String", default="''"),
    Column("_old_record", "Nullable(String)"),
    Column("_timestamp", "DateTime64(3)", default="now64(3)"),
    Column("_event_name", "LowCardinality(String)", default="''"),
    Column("_is_deleted", "UInt8", default="0"),
)

# Classic's releases, as databases: here all of them are the one workspace.
_RELEASE = re.compile(r"\bv\d+_\d+_\d+\.(?=[A-Za-z_])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Flavor(enum.Enum):
    """The kind of workspace that files are for: what it takes, and what it makes of them, differs."""

    CLASSIC = "Classic"
    FORWARD = "Forward"


class NodeKind(enum.Enum):
    """What a node is published as; ``STANDARD`` is only read by other nodes."""

    STANDARD = "standard"
    ENDPOINT = "endpoint"
    COPY = "copy"
    SINK = "sink"
    MATERIALIZED = "materialized"


@dataclass(frozen=True)
class TokenGrant:
    """``TOKEN name READ``: a token by name, and what the file lets it do with the resource (upper case)."""

    name: str
    permission: str


@dataclass(frozen=True)
class DatasourceFile:
    """A ``.datasource`` file.

    :param engine_options: the ``ENGINE_...`` keys, without that prefix and in lower case: ``sorting_key``, ``ttl``, ...
    :param forward_query: the SELECT list that turns the deployed schema into this one.
    :param connector: the ``IMPORT_...`` or ``KAFKA_...`` keys, in lower case.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    engine: str
    engine_options: Mapping[str, str]
    forward_query: str | None
    tokens: tuple[TokenGrant, ...]
    shared_with: tuple[str, ...]
    source: Path
    connector: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class NodeFile:
    """One node of a pipe.

    :param settings: every other key of the node, in lower case: ``target_datasource``, ``copy_mode``, ``export_format``, ...
    """

    name: str
    sql: str
    kind: NodeKind
    description: str = ""
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class PipeFile:
    """A ``.pipe`` file: its nodes, in their order."""

    name: str
    description: str
    nodes: tuple[NodeFile, ...]
    tokens: tuple[TokenGrant, ...]
    source: Path


@dataclass(frozen=True)
class Project:
    """Every data source and pipe below a directory, ordered by path."""

    datasources: tuple[DatasourceFile, ...]
    pipes: tuple[PipeFile, ...]

    def grants(self) -> dict[str, frozenset[str]]:
        """The tokens that the files name, and their scopes."""
        found: dict[str, set[str]] = {}
        for kind, files in (("DATASOURCES", self.datasources), ("PIPES", self.pipes)):
            for file in files:
                for token in file.tokens:
                    # The right to create is not for one resource.
                    resource = "" if token.permission == "CREATE" else f":{file.name}"
                    found.setdefault(token.name, set()).add(f"{kind}:{token.permission}{resource}")
        return {name: frozenset(scopes) for name, scopes in found.items()}


def load_project(directory: Path, flavor: Flavor = Flavor.CLASSIC) -> Project:
    """Read every ``.datasource`` and ``.pipe`` file below a directory, without those in hidden folders.

    :param directory: the root of the project; an empty one gives an empty project.
    :param flavor: the kind of workspace that it is for.
    :raises DatafileError: for the first file that cannot be used, and for two resources of one name.
    """
    if not directory.is_dir():
        raise DatafileError(directory, 1, "no such directory: give the root of a Tinybird project")
    datasources = tuple(parse_datasource(_read(path), path, flavor) for path in _files(directory, "*.datasource"))
    pipes = tuple(parse_pipe(_read(path), path, flavor) for path in _files(directory, "*.pipe"))
    _check_unique(datasources, pipes)
    return Project(datasources, pipes)


def project_of(files: Mapping[str, str], flavor: Flavor) -> Project:
    """A project out of the texts of its files, as a build brings them.

    :param files: texts by path.
    :raises DatafileError: as for ``load_project``.
    """
    paths = {Path(name): text for name, text in sorted(files.items())}
    datasources = tuple(
        parse_datasource(text, path, flavor) for path, text in paths.items() if path.suffix == ".datasource"
    )
    pipes = tuple(parse_pipe(text, path, flavor) for path, text in paths.items() if path.suffix == ".pipe")
    _check_unique(datasources, pipes)
    return Project(datasources, pipes)


def parse_datasource(text: str, path: Path, flavor: Flavor = Flavor.CLASSIC) -> DatasourceFile:
    """Read the text of a ``.datasource`` file.

    :param text: the text of the file.
    :param path: where it came from; its stem names the data source, in Classic with its version behind.
    :param flavor: the kind of workspace that it is for.
    :raises DatafileError: naming the line and what is wrong there.
    """
    _check_name("data source", path.stem, path, 1)
    lines = list(instructions(text, path, _DATASOURCE_KEYS, _CONNECTOR_PREFIXES))
    single = once(lines, path, repeatable={"token"})
    if flavor is Flavor.FORWARD:
        _refuse_classic(lines, path)
    engine = single["engine"].value if "engine" in single and single["engine"].value else "MergeTree"
    options = {
        key.removeprefix("engine_"): one.value for key, one in single.items() if key.startswith("engine_") and one.value
    }
    for option in _ENGINES_THAT_NEED.get(engine, ()):
        if option not in options:
            raise DatafileError(path, single["engine"].line, f"ENGINE {engine} needs ENGINE_{option.upper()}: add it")
    connector = {key: one.value for key, one in single.items() if key.startswith(_CONNECTOR_PREFIXES)}
    return DatasourceFile(
        name=_versioned(path, single, flavor),
        description=single["description"].value if "description" in single else "",
        columns=with_meta_columns(_schema_columns(single.get("schema"), path, flavor), connector, flavor),
        engine=engine,
        engine_options=MappingProxyType(options),
        forward_query=single["forward_query"].value or None if "forward_query" in single else None,
        tokens=_tokens(lines, path, flavor),
        shared_with=tuple(re.findall(r"[^\s,]+", single["shared_with"].value)) if "shared_with" in single else (),
        source=path,
        connector=MappingProxyType(connector),
    )


def parse_pipe(text: str, path: Path, flavor: Flavor = Flavor.CLASSIC) -> PipeFile:
    """Read the text of a ``.pipe`` file.

    :param text: the text of the file.
    :param path: where it came from; its stem names the pipe.
    :param flavor: the kind of workspace that it is for: in Classic the last node is the endpoint of a pipe that is nothing else.
    :raises DatafileError: naming the line and what is wrong there.
    """
    _check_name("pipe", path.stem, path, 1)
    lines = list(instructions(text, path, _PIPE_KEYS, _SINK_PREFIXES))
    head, groups = _split_nodes(lines)
    if not groups:
        raise DatafileError(path, 1, "the pipe has no NODE: add NODE <name> and SQL >")
    _refuse_node_keys(head, path)
    single = once(head, path, repeatable={"token"})
    if flavor is Flavor.FORWARD:
        _refuse_classic(lines, path)
    nodes = tuple(_node(group, path) for group in groups)
    _check_nodes(nodes, groups, path)
    if flavor is Flavor.CLASSIC:
        nodes = tuple(replace(node, sql=_RELEASE.sub("", node.sql)) for node in nodes)
    if flavor is Flavor.CLASSIC and all(node.kind is NodeKind.STANDARD for node in nodes):
        nodes = (*nodes[:-1], replace(nodes[-1], kind=NodeKind.ENDPOINT))
    return PipeFile(
        name=_versioned(path, single, flavor),
        description=single["description"].value if "description" in single else "",
        nodes=nodes,
        tokens=_tokens(lines, path, flavor),
        source=path,
    )


def parse_schema(text: str) -> tuple[Column, ...]:
    """Read a schema by itself, as the ``schema`` parameter of the data sources API carries it.

    :param text: columns, separated by commas: name, type, and any of a JSONPath in backticks, DEFAULT and CODEC.
    :raises DatafileError: with ``SCHEMA`` for a path, naming the column that cannot be read.
    """
    try:
        return columns_of(text)
    except SchemaError as error:
        raise DatafileError(Path("SCHEMA"), error.line, error.reason) from None


def name_problem(kind: str, name: str) -> str | None:
    """Say why a data source, pipe or node cannot have this name.

    :param kind: ``data source``, ``pipe`` or ``node``: what the sentence calls it.
    :return: a sentence with the way out, or None for a good name.
    """
    if not _NAME.fullmatch(name):
        return (
            f"{kind} name {name!r} may only hold letters, digits and underscores, and not start with a digit: rename it"
        )
    if len(name) > _MOST_NAME:
        return f"{kind} name {name[:20]}... is too long: {len(name)} characters, the limit is {_MOST_NAME}"
    if name.lower() in _RESERVED_NAMES:
        return f"{kind} name {name!r} is a reserved word: rename it"
    return None


def with_meta_columns(columns: tuple[Column, ...], connector: Mapping[str, str], flavor: Flavor) -> tuple[Column, ...]:
    """The columns of a data source, with those that its connector brings and its schema need not name."""
    meta: tuple[Column, ...] = ()
    if any(key.startswith("kafka_") for key in connector):
        has_headers = connector.get("kafka_store_headers", "").lower() == "true"
        meta = KAFKA_COLUMNS if has_headers else KAFKA_COLUMNS[:-1]
    elif flavor is Flavor.CLASSIC and (
        "import_table_arn" in connector or connector.get("import_service", "").lower() == "dynamodb"
    ):
        meta = DYNAMODB_COLUMNS
    named = {column.name for column in columns}
    return (*columns, *(column for column in meta if column.name not in named))


def _files(directory: Path, pattern: str) -> list[Path]:
    """Files below a directory, but not in folders that are hidden or of installed packages."""
    return [
        path
        for path in sorted(directory.rglob(pattern))
        if not any(part.startswith(".") or part == "node_modules" for part in path.relative_to(directory).parts)
    ]


def _versioned(path: Path, single: Mapping[str, Instruction], flavor: Flavor) -> str:
    version = single["version"].value if "version" in single else ""
    if flavor is Flavor.FORWARD or not version:
        return path.stem
    if not version.isdigit():
        raise DatafileError(path, single["version"].line, f"VERSION must be a number, found {shown(version)}")
    return f"{path.stem}__v{version}"


def _refuse_classic(lines: Iterable[Instruction], path: Path) -> None:
    """Refuse what a Forward workspace does not take: it would pass here, and fail when it is deployed."""
    for one in lines:
        reason = _CLASSIC_KEYS.get(one.key)
        if reason is None and path.suffix == ".pipe" and one.key in _ENGINE_KEYS:
            reason = "the engine stands in the .datasource file that the node fills"
        if reason:
            raise DatafileError(path, one.line, f"{one.key.upper()} is for Classic workspaces: {reason}")


def _read(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatafileError(path, line, "the file is not UTF-8 text: save it as UTF-8") from None


def _schema_columns(schema: Instruction | None, path: Path, flavor: Flavor) -> tuple[Column, ...]:
    if schema is None:
        raise DatafileError(path, 1, "SCHEMA is missing: add SCHEMA > and the columns, indented, separated by commas")
    try:
        return columns_of(schema.value, trailing_comma=flavor is Flavor.FORWARD)
    except SchemaError as error:
        line = schema.value_line + error.line - 1 if schema.value.strip() else schema.line
        raise DatafileError(path, line, error.reason) from None


def _tokens(lines: Iterable[Instruction], path: Path, flavor: Flavor) -> tuple[TokenGrant, ...]:
    tokens = []
    known = _FORWARD_PERMISSIONS if flavor is Flavor.FORWARD else _PERMISSIONS
    for one in lines:
        if one.key != "token":
            continue
        match = re.fullmatch(r"(?P<quote>[\"']?)(?P<name>.+?)(?P=quote)\s+(?P<permission>\w+)", one.value)
        if match is None:
            raise DatafileError(path, one.line, f"TOKEN needs a name and READ or APPEND, found {shown(one.value)}")
        if match["permission"].upper() not in known:
            reason = f"TOKEN {match['name']} has the permission {match['permission']}: use one of {', '.join(known)}"
            raise DatafileError(path, one.line, reason)
        tokens.append(TokenGrant(match["name"], match["permission"].upper()))
    return tuple(tokens)


def _split_nodes(lines: list[Instruction]) -> tuple[list[Instruction], list[list[Instruction]]]:
    head: list[Instruction] = []
    groups: list[list[Instruction]] = []
    for one in lines:
        if one.key == "node":
            groups.append([one])
        else:
            (groups[-1] if groups else head).append(one)
    return head, groups


def _refuse_node_keys(head: list[Instruction], path: Path) -> None:
    for one in head:
        if one.key not in _IGNORED_KEYS | {"description", "token"}:
            raise DatafileError(path, one.line, f"{one.key.upper()} belongs to a node: put it after a NODE line")


def _node(group: list[Instruction], path: Path) -> NodeFile:
    start = group[0]
    _check_name("node", start.value, path, start.line)
    single = once(group, path, repeatable={"token"})
    sql = single.get("sql")
    if sql is None or not sql.value.strip():
        raise DatafileError(
            path, (sql or start).line, f"node {start.value!r} has no SQL: add SQL > and the query, indented"
        )
    kind = _kind(single.get("type"), path)
    own = {"node", "sql", "type", "description", "token"}
    settings = {key: one.value for key, one in single.items() if key not in own}
    if "copy_mode" in settings:
        settings["copy_mode"] = _copy_mode(single["copy_mode"], path)
    for needed, kind_that_needs in (("target_datasource", NodeKind.COPY), ("datasource", NodeKind.MATERIALIZED)):
        if kind is kind_that_needs and not settings.get(needed):
            reason = f"node {start.value!r} is of TYPE {kind.value} and needs {needed.upper()} <data source>"
            raise DatafileError(path, single["type"].line, reason)
    description = single["description"].value if "description" in single else ""
    return NodeFile(start.value, sql.value, kind, description, MappingProxyType(settings))


def _kind(one: Instruction | None, path: Path) -> NodeKind:
    if one is None:
        return NodeKind.STANDARD
    try:
        return NodeKind(one.value.lower())
    except ValueError:
        kinds = ", ".join(kind.value for kind in NodeKind if kind is not NodeKind.STANDARD)
        raise DatafileError(path, one.line, f"TYPE {shown(one.value)} is unknown: use one of {kinds}") from None


def _copy_mode(one: Instruction, path: Path) -> str:
    if one.value.lower() not in COPY_MODES:
        raise DatafileError(path, one.line, f"COPY_MODE {shown(one.value)} is unknown: use append or replace")
    return one.value.lower()


def _check_nodes(nodes: tuple[NodeFile, ...], groups: list[list[Instruction]], path: Path) -> None:
    seen: dict[str, int] = {}
    published: list[NodeFile] = []
    for node, group in zip(nodes, groups, strict=True):
        line = group[0].line
        if node.name in seen:
            raise DatafileError(
                path, line, f"node {node.name!r} is defined twice, first in line {seen[node.name]}: rename one"
            )
        seen[node.name] = line
        if node.kind is not NodeKind.STANDARD:
            published.append(node)
        if len(published) > 1 and any(one.kind is not NodeKind.MATERIALIZED for one in published):
            names = " and ".join(f"{one.name!r} ({one.kind.value})" for one in published)
            raise DatafileError(
                path, line, f"a pipe has one endpoint, copy or sink node and no other output, this one has {names}"
            )


def _check_unique(datasources: tuple[DatasourceFile, ...], pipes: tuple[PipeFile, ...]) -> None:
    resources: dict[str, Path] = {}
    for name, source in [(one.name, one.source) for one in datasources] + [(one.name, one.source) for one in pipes]:
        if name in resources:
            raise DatafileError(source, 1, f"{name!r} is also the name of {resources[name]}: rename one of them")
        resources[name] = source
    for pipe in pipes:
        for node in pipe.nodes:
            if node.name in resources and node.name != pipe.name:
                reason = f"node {node.name!r} has the name of {resources[node.name]}: rename the node"
                raise DatafileError(pipe.source, _line_of_node(pipe, node.name), reason)


def _line_of_node(pipe: PipeFile, name: str) -> int:
    lines = instructions(_read(pipe.source), pipe.source, _PIPE_KEYS, _SINK_PREFIXES)
    return next((one.line for one in lines if one.key == "node" and one.value == name), 1)


def _check_name(kind: str, name: str, path: Path, line: int) -> None:
    problem = name_problem(kind, name)
    if problem:
        raise DatafileError(path, line, problem)
