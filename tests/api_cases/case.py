"""What a case is, and what several of them are made of."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from starlette.routing import Match, Route

from airflow_provider_tinybird.api import definitions, nodes, pipe_definitions, tokens, variables
from airflow_provider_tinybird.api.body import FileBody
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.api.resources import Scope
from airflow_provider_tinybird.sandbox import app

Sequence = tuple[Any, ...]
Send = Callable[[Call[Any]], Any]
CSV = b"day,shop,amount\n2026-01-01,a,1\n"


@dataclass(frozen=True)
class Case:
    """One use of one function.

    :param sent: method and target of the request.
    :param body: its body; of a multipart one a piece of it.
    :param before: what is done to the sandbox first.
    :param live: makes the arguments for the sandbox, where only it knows them, such as ids.
    :param shows: tells by the result, and by further calls, whether the sandbox did it.
    :param refused: the error that the sandbox answers with, where that is the point.
    :param canned: what a server with a prepared answer answers, where the sandbox does not have the call.
    """

    function: Callable[..., Call[Any]]
    arguments: Sequence
    sent: str
    body: bytes = b""
    kw: dict[str, Any] = field(default_factory=dict)
    before: tuple[Call[Any], ...] = ()
    live: Callable[[Send], Sequence] | None = None
    shows: Callable[[Any, Send], object] | None = None
    refused: type[TinybirdError] | None = None
    canned: Any = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.function.__module__.rpartition('.')[2]}.{self.function.__name__}"

    @property
    def id(self) -> str:
        return f"{self.name}[{self.sent.partition('?')[0]}]"

    def call(self, arguments: Sequence | None = None) -> Call[Any]:
        return self.function(*(self.arguments if arguments is None else arguments), **self.kw)

    @property
    def in_sandbox(self) -> bool:
        """Whether the sandbox has the call; decides where it is tried, and is told in docs/api-coverage.md."""
        method, _, target = self.sent.partition(" ")
        scope = {"type": "http", "method": method, "path": target.partition("?")[0], "headers": []}
        return any(
            Route(path, lambda _: None, methods=[known]).matches(scope)[0] is Match.FULL
            for known, path, _ in app.ROUTES
        )

    @property
    def result(self) -> Any:
        """The type that the function says its call has for a result."""
        return get_args(get_type_hints(self.function)["return"])[0]


def a_file() -> FileBody:
    return FileBody(lambda: io.BytesIO(CSV), len(CSV), "text/csv")


JOB = {"id": "j-1", "job_id": "j-1", "status": "waiting", "kind": "import"}
PIPE = {"id": "t_1", "name": "p", "nodes": []}
NODE = {"id": "t_2", "name": "n", "sql": "SELECT 1"}
TOKEN = {"id": "1", "name": "reader", "token": "p.e30.s", "scopes": [{"type": "PIPES:READ", "resource": "shops"}]}
VARIABLE = {"name": "key", "type": "secret"}
CSV_ = {"format": FileFormat.CSV}
URL = "http://127.0.0.1:9/x.csv"
FORM_URL = b"url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv"
READER = Scope("PIPES:READ", "shops")
A_TOKEN = (tokens.create_token("reader", [READER]),)
A_VARIABLE = (variables.create_variable("key", "v"),)
A_PIPE = (
    pipe_definitions.create_pipe(
        "mine", [pipe_definitions.NewNode("SELECT shop, amount AS total FROM sales", "first")]
    ),
)
TWO = (*A_PIPE, nodes.create_node("mine", "SELECT * FROM first", name="second"))
A_COPY = (*TWO, pipe_definitions.create_copy("mine", "second", "totals"))
A_SINK = (
    *TWO,
    pipe_definitions.create_sink("mine", "second", connection="bucket", path="s3://b/x", file_template="f"),
)
AN_OTHER = (definitions.create_datasource("other", "day Date, n Int64"),)
TWINS = (*AN_OTHER, definitions.create_datasource("twin", "day Date, n Int64"))
