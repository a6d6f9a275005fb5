"""What operators and sensors share as Airflow's tasks: their hook, how their templates are rendered, and that they can be copied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.links.tinybird import LinkedTask
from airflow_provider_tinybird.operators.given import GivenArguments

if TYPE_CHECKING:
    import jinja2

    from airflow_provider_tinybird._compat import Context

_PACKAGE = __name__.partition(".")[0]
_SQL_FILE = ".sql"


class TinybirdTask(GivenArguments, LinkedTask):
    """Base of all operators and sensors.

    Text without a template stays what it is, also where Airflow renders to native Python objects: ``1.10`` remains text. Text that ends
    in ``.sql`` names a file in fields that hold SQL, and in no others. No argument that was given may come out as ``None``.
    """

    tinybird_conn_id: str
    template_ext: Sequence[str]
    template_fields: Sequence[str]

    _rendered_field: str | None = None

    @cached_property
    def hook(self) -> TinybirdHook:
        """The hook for the connection."""
        return TinybirdHook(self.tinybird_conn_id)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process, and the token."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {name: None if name == "_settings" else value for name, value in state.items() if name != "hook"}

    def resolve_template_files(self) -> None:
        """Read the files that template fields name. Airflow would look for them in every field."""
        before = vars(self).get("template_fields")
        all_fields, without_files = self.template_fields, _fields_without_files(type(self))
        vars(self)["template_fields"] = tuple(
            name for name in all_fields if name not in without_files or not _names_sql_file(getattr(self, name, None))
        )
        try:
            super().resolve_template_files()  # type: ignore[misc]
        finally:
            if before is None:
                del vars(self)["template_fields"]
            else:
                vars(self)["template_fields"] = before

    def _do_render_template_fields(self, parent: Any, template_fields: Iterable[str], *args: Any, **kwargs: Any) -> Any:
        """Render one field after the other, so that ``render_template`` knows whose text it renders.

        All supported versions call this for plain and for mapped tasks. One that did not would treat all fields as Airflow does.
        """
        for name in template_fields:
            outer = self._rendered_field
            self._rendered_field = name if parent is self else outer
            try:
                super()._do_render_template_fields(parent, (name,), *args, **kwargs)
            finally:
                self._rendered_field = outer

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render a value of a template field; text without a template is returned as it is."""
        if isinstance(content, str) and not self._names_file(content):
            env = jinja_env or self.get_template_env()  # type: ignore[attr-defined]
            if not _has_template(content, env):
                return content
            if content.endswith(tuple(self.template_ext)):
                # An empty comment behind it: Airflow takes text for the name of a file by its end.
                content = f"{content}{env.comment_start_string}{env.comment_end_string}"
        return super().render_template(content, context, jinja_env, seen_oids)  # type: ignore[misc]

    def _names_file(self, text: str) -> bool:
        if not text.endswith(tuple(self.template_ext)):
            return False
        return not (text.endswith(_SQL_FILE) and self._rendered_field in _fields_without_files(type(self)))


def _fields_without_files(cls: type[Any]) -> frozenset[str]:
    """Template fields of this package that hold no SQL. Those that users add to their own classes are their own."""
    own = [vars(base) for base in cls.__mro__ if base.__module__.partition(".")[0] == _PACKAGE]
    sql = {name for base in own for name, kind in base.get("template_fields_renderers", {}).items() if kind == "sql"}
    return frozenset(name for base in own for name in base.get("template_fields", ())) - sql


def _names_sql_file(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, str) and item.endswith(_SQL_FILE) for item in items)


def _has_template(text: str, env: jinja2.Environment) -> bool:
    marks = (
        env.variable_start_string,
        env.block_start_string,
        env.comment_start_string,
        env.line_statement_prefix,
        env.line_comment_prefix,
    )
    return any(mark in text for mark in marks if mark)
