"""The workspace: which data sources, pipes and tokens there are."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from airflow_provider_tinybird.sandbox.datafiles.datafile import DatafileError, DatasourceFile, Project, name_problem
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, Pipe, Variable, now, resource_id
from airflow_provider_tinybird.sandbox.engine.engine import Engine
from airflow_provider_tinybird.sandbox.engine.jsonpath import JsonPathError, parse_jsonpath
from airflow_provider_tinybird.sandbox.engine.references import References
from airflow_provider_tinybird.sandbox.engine.tables import create_table, drop_table, tables_of
from airflow_provider_tinybird.sandbox.http import jwt
from airflow_provider_tinybird.sandbox.http.auth import ADMIN, CREATE, Grants, Token, new_token_text
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError, bad_request
from airflow_provider_tinybird.sandbox.workspace import saved_state

TOKEN_VARIABLE = "TB_LOCAL_WORKSPACE_TOKEN"  # noqa: S105 - the name of a variable
NAME = "Tinybird_Local_Testing"
USER_EMAIL = "local@tinybird.co"
# Those that Tinybird Local knows, and those that each workspace of Tinybird has at first.
FIXED_TOKENS = {
    "user token": ADMIN,
    "admin token": ADMIN,
    "workspace admin token": ADMIN,
    f"admin {USER_EMAIL}": ADMIN,
    "create datasource token": CREATE,
}


class Workspace:
    """Data sources, pipes and tokens, by name.

    :param file: where what is not of the project is kept between runs.
    """

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine = engine
        self.references = References(engine)
        self._file = file
        self._lock = threading.RLock()
        kept = saved_state.load(file)
        self.id = kept.workspace_id or str(uuid.uuid4())
        self.user_id = kept.user_id or str(uuid.uuid4())
        self.datasources: dict[str, DataSource] = {one.name: one for one in kept.datasources}
        self.pipes: dict[str, Pipe] = {one.name: one for one in kept.pipes}
        self._tokens: dict[str, Token] = {one.value: one for one in kept.tokens}
        self._variables: dict[str, Variable] = {one.name: one for one in kept.variables}
        self._make_fixed_tokens()
        self.save()

    def _make_fixed_tokens(self) -> None:
        for name, scope in FIXED_TOKENS.items():
            known = next((token for token in self._tokens.values() if token.name == name), None)
            wanted = os.environ.get(TOKEN_VARIABLE) if name == "workspace admin token" else None
            if known is None or (wanted and known.value != wanted):
                if known:
                    del self._tokens[known.value]
                token_id = str(uuid.uuid4())
                value = wanted or new_token_text(self.user_id, token_id)
                self._tokens[value] = Token(name, value, frozenset({scope}), token_id)

    def load(self, project: Project) -> None:
        """Take over the resources of a project.

        :raises DatafileError: when the engine refuses the schema of a data source, or another one has its name already.
        """
        tables = tables_of(self._engine)
        for file in project.datasources:
            before = self.datasources.get(file.name)
            loaded = datasource_of(file, before)
            if before and _definition(before) != _definition(loaded):
                reason = f"data source {file.name} has another schema in the data directory: use another --data, or an empty one"
                raise DatafileError(file.source, 1, reason)
            try:
                self._create(loaded, tables)
            except (ApiError, EngineError) as error:
                raise DatafileError(file.source, 1, error.text) from None
        for pipe in project.pipes:
            known = self.pipes.get(pipe.name)
            self.pipes[pipe.name] = Pipe(pipe.name, pipe.nodes, pipe.description, True, *_identity(known))
        self._load_tokens(project.grants())
        self.save()

    def _load_tokens(self, grants: Mapping[str, frozenset[str]]) -> None:
        """Let the tokens that a project names be as it says; one that was there keeps its text."""
        for name, scopes in grants.items():
            known = next((token for token in self._tokens.values() if token.name == name), None)
            if known is None:
                token_id = str(uuid.uuid4())
                known = Token(name, new_token_text(self.user_id, token_id), scopes, token_id)
            elif ADMIN in known.scopes:
                continue
            self._tokens[known.value] = replace(known, scopes=scopes, filters={}, from_project=True)

    def is_as_in(self, project: Project) -> bool:
        """Whether what came from a project is as it came."""
        datasources = {one.name: _as_loaded(one) for one in self.datasources.values() if one.from_project}
        pipes = {one.name: (one.nodes, one.description) for one in self.pipes.values() if one.from_project}
        tokens = {one.name: one.scopes for one in self._tokens.values() if one.from_project}
        return (
            datasources == _files(project)
            and pipes == {one.name: (one.nodes, one.description) for one in project.pipes}
            and tokens == {name: scopes for name, scopes in project.grants().items() if name not in FIXED_TOKENS}
        )

    def drop_what_differs_from(self, project: Project) -> None:
        """Drop the data sources and pipes of a project that are not as they came."""
        files = _files(project)
        with self._lock:
            for datasource in list(self.datasources.values()):
                if files.get(datasource.name) != _as_loaded(datasource):
                    self.drop(datasource)
            self.pipes = {}

    def forget_of_the_project(self, project: Project) -> None:
        """Drop pipes and tokens of the project before that another one does not have; its data sources are left alone."""
        pipes, grants = {one.name for one in project.pipes}, project.grants()
        with self._lock:
            self.pipes = {name: one for name, one in self.pipes.items() if name in pipes or not one.from_project}
            self._tokens = {
                value: one for value, one in self._tokens.items() if one.name in grants or not one.from_project
            }

    def save(self) -> None:
        """Write what a later run with the same data directory must know."""
        with self._lock:
            kept = saved_state.State(
                self.id,
                self.user_id,
                list(self.datasources.values()),
                list(self.pipes.values()),
                list(self._tokens.values()),
                list(self._variables.values()),
            )
            saved_state.save(self._file, kept)

    def token(self, value: str) -> Token | None:
        """The token with this text, or that a JWT is."""
        return self._tokens.get(value) or jwt.token_of(value, self.id, self.signing_key)

    @property
    def signing_key(self) -> str:
        """What JWTs are signed with."""
        return self.fixed_token("workspace admin token")

    def tokens(self) -> list[Token]:
        """All tokens."""
        return list(self._tokens.values())

    def fixed_token(self, name: str) -> str:
        """The text of one of the three tokens that are always there."""
        return next(token.value for token in self._tokens.values() if token.name == name)

    def add_token(self, name: str, grants: Grants, description: str) -> Token:
        """Make a token.

        :raises ApiError: 409, when the name is taken.
        """
        with self._lock:
            if any(token.name == name for token in self._tokens.values()):
                raise ApiError(409, f"Token with name '{name}' already exists")
            token_id = str(uuid.uuid4())
            text = new_token_text(self.user_id, token_id)
            token = Token(name, text, grants.scopes, token_id, description, grants.filters)
            self._tokens[token.value] = token
            self.save()
        return token

    def token_named(self, name_or_id: str) -> Token:
        """A token by name, id, or its text.

        :raises ApiError: 403, as Tinybird answers for a token that there is not.
        """
        for token in self.tokens():
            if name_or_id in (token.name, token.id, token.value):
                return token
        # Without what was asked for, which can be the text of a token.
        raise ApiError(403, "Token has not enough permissions to get information about this token")

    def put_token(self, old: Token, new: Token | None) -> None:
        """Let a token take another's place; None for none.

        :raises ApiError: 403, for the tokens that the workspace always has.
        """
        if old.name in FIXED_TOKENS:
            raise ApiError(403, f"The token '{old.name}' cannot be changed")
        with self._lock:
            self._tokens.pop(old.value, None)
            if new:
                self._tokens[new.value] = new
            self.save()

    def variables(self) -> list[Variable]:
        """All variables."""
        return list(self._variables.values())

    def secrets(self) -> dict[str, str]:
        """The values of the variables, for templates."""
        return {one.name: one.value for one in self.variables()}

    def put_variable(self, variable: Variable) -> None:
        """Make a variable, or give it another value."""
        with self._lock:
            self._variables[variable.name] = variable
            self.save()

    def drop_variable(self, variable: Variable) -> None:
        """Drop a variable."""
        with self._lock:
            self._variables.pop(variable.name, None)
            self.save()

    def readers_of(self, name: str) -> list[Pipe]:
        """The pipes that read a data source or a pipe."""
        return [
            pipe
            for pipe in self.pipes.values()
            if any(self.references.possible(node.sql, {name}) for node in pipe.nodes)
        ]

    def find_datasource(self, name_or_id: str) -> DataSource | None:
        """A data source by name or id, or None."""
        return self.datasources.get(name_or_id) or next(
            (one for one in self.datasources.values() if one.id == name_or_id), None
        )

    def datasource(self, name_or_id: str) -> DataSource:
        """A data source by name or id.

        :raises ApiError: 404.
        """
        found = self.find_datasource(name_or_id)
        if found is None:
            raise ApiError(404, f'Data Source "{name_or_id}" does not exist')
        return found

    def datasource_or_quarantine(self, name_or_id: str) -> DataSource:
        """A data source by name or id, or the quarantine of one by its name, for what may be done with both.

        :raises ApiError: 404.
        """
        owner = self.find_datasource(name_or_id.removesuffix("_quarantine"))
        if owner and name_or_id == owner.quarantine and name_or_id not in self.datasources:
            return replace(owner, name=owner.quarantine)
        return self.datasource(name_or_id)

    def pipe(self, name_or_id: str) -> Pipe:
        """A pipe by name or id.

        :raises ApiError: 404.
        """
        found = self.pipes.get(name_or_id) or next((one for one in self.pipes.values() if one.id == name_or_id), None)
        if found is None:
            raise ApiError(404, f"The pipe '{name_or_id}' does not exist")
        return found

    def create(self, datasource: DataSource) -> None:
        """Make a data source.

        :raises ApiError: 400 for a bad name or schema, 409 when the name is taken.
        """
        with self._lock:
            self.check_name("data source", datasource.name)
            try:
                self._create(datasource)
            except EngineError as error:
                drop_table(self._engine, datasource.name)
                raise bad_request(error.text) from None
            self.save()

    def _create(self, datasource: DataSource, tables: Collection[str] = ()) -> None:
        """Make a data source.

        :param tables: those that there are, of which one may have its name.
        """
        for column in datasource.columns:
            try:
                parse_jsonpath(column.jsonpath or "$")
            except JsonPathError as error:
                raise bad_request(f"column '{column.name}': {error}") from None
        if datasource.name not in tables or datasource.quarantine not in tables:
            create_table(self._engine, datasource)
        self.datasources[datasource.name] = datasource

    def put_datasource(self, old: DataSource, new: DataSource) -> None:
        """Let a data source take another's place, among the others at the same position."""
        with self._lock:
            found = [new if one.name == old.name else one for one in self.datasources.values()]
            self.datasources = {one.name: one for one in found}
            self.save()

    def add_pipe(self, pipe: Pipe) -> None:
        """Make a pipe.

        :raises ApiError: 400 for a bad name, 409 when it is taken.
        """
        with self._lock:
            self.check_name("pipe", pipe.name)
            self.pipes[pipe.name] = pipe
            self.save()

    def put_pipe(self, old: Pipe, new: Pipe) -> None:
        """Let a pipe take another's place, among the others at the same position."""
        with self._lock:
            pipes = [new if pipe.name == old.name else pipe for pipe in self.pipes.values()]
            self.pipes = {pipe.name: pipe for pipe in pipes}
            self.save()

    def check_name(self, kind: str, name: str) -> None:
        """Refuse a name that is reserved or taken."""
        problem = name_problem(kind, name)
        if problem:
            raise bad_request(problem)
        if name in self.datasources or name in self.pipes:
            raise ApiError(409, f"There is already a resource with the name '{name}'")

    def drop(self, datasource: DataSource) -> None:
        """Drop a data source and its rows."""
        with self._lock:
            self.datasources.pop(datasource.name, None)
            drop_table(self._engine, datasource.name)
            drop_table(self._engine, datasource.quarantine)
            self.save()

    def drop_pipe(self, pipe: Pipe) -> None:
        """Drop a pipe."""
        with self._lock:
            self.pipes.pop(pipe.name, None)
            self.save()

    def forget_what_is_not_of_the_project(self) -> None:
        """Drop every data source, pipe, token and variable that was made over HTTP."""
        with self._lock:
            for datasource in [one for one in self.datasources.values() if not one.from_project]:
                self.drop(datasource)
            self.pipes = {name: one for name, one in self.pipes.items() if one.from_project}
            self._tokens = {
                value: one for value, one in self._tokens.items() if one.from_project or one.name in FIXED_TOKENS
            }
            self._variables = {}
            self.save()


def _identity(known: DataSource | Pipe | None) -> tuple[str, datetime]:
    return (known.id, known.created_at) if known else (resource_id(), now())


def datasource_of(file: DatasourceFile, before: DataSource | None) -> DataSource:
    """The data source that a file is for.

    :param before: the one that there is by this name, whose id it takes over.
    """
    return DataSource(
        file.name,
        file.columns,
        file.engine,
        dict(file.engine_options),
        file.description,
        True,
        *_identity(before),
        connector=dict(file.connector),
    )


def _files(project: Project) -> dict[str, tuple[object, ...]]:
    return {file.name: _as_loaded(datasource_of(file, None)) for file in project.datasources}


def _as_loaded(datasource: DataSource) -> tuple[object, ...]:
    known = _definition(datasource)
    return datasource.name, known, datasource.description, dict(datasource.connector), datasource.shared_with


def _definition(datasource: DataSource) -> tuple[object, ...]:
    return datasource.columns, datasource.engine, dict(datasource.engine_options)
