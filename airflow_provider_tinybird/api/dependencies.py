"""What hangs on what. It is in the official command line, not in the published reference."""

from __future__ import annotations

from typing import Any

from airflow_provider_tinybird.api.call import Call, Repeat, Reply
from airflow_provider_tinybird.api.encoding import pairs, resource_name
from airflow_provider_tinybird.api.resources import Dependencies

# The official command line waits as long.
_TIMEOUT = 60.0


def get_dependencies(
    *,
    datasource: str | None = None,
    pipe: str | None = None,
    match: str | None = None,
    no_deps: bool = False,
    check_for_partial_replace: bool = False,
    recursive: bool = False,
) -> Call[Dependencies]:
    """Ask what hangs on a data source or a pipe. ``GET /v0/dependencies``.

    Ask it before a replace by condition: rows are replaced in the data sources downstream too, and only where the partition keys go
    together.

    :param datasource: name of the data source.
    :param pipe: name of the pipe.
    :param match: regular expression that the names must match.
    :param no_deps: only data sources that nothing hangs on.
    :param check_for_partial_replace: sort out what a replace by condition could not be carried on to.
    :param recursive: also what hangs on these.
    :return: what was found. Scope: ``ADMIN`` or read on all of it.
    :raises NotFoundError: there is no such data source or pipe.
    """
    for kind, name in (("data source", datasource), ("pipe", pipe)):
        if name is not None:
            resource_name(kind, name)
    return Call(
        what=f"ask what depends on '{datasource or pipe or match or 'each data source'}'",
        method="GET",
        path="/v0/dependencies",
        params=pairs(
            {
                "no_deps": no_deps,
                "check_for_partial_replace": check_for_partial_replace,
                "recursive": recursive,
                "match": match,
                "pipe": pipe,
                "datasource": datasource,
            }
        ),
        read=_dependencies,
        repeat=Repeat.READ,
        scope=f"DATASOURCES:READ:{datasource}" if datasource else "ADMIN",
        min_timeout=_TIMEOUT,
    )


def _dependencies(reply: Reply) -> Dependencies:
    body = reply.json_object()
    # Without it an answer says nothing, and must not pass for "nothing hangs on it".
    return Dependencies(
        dependencies=_names(body["dependencies"]),
        incompatible_datasources=_names(body.get("incompatible_datasources") or {}),
        raw=body,
    )


# The clients read the keys, and print the values: names, or objects with one.
def _names(found: Any) -> dict[str, tuple[str, ...]]:
    if isinstance(found, list):
        return {_name(item): () for item in found}
    return {
        str(name): tuple(_name(item) for item in (items if isinstance(items, list) else ()))
        for name, items in found.items()
    }


def _name(item: Any) -> str:
    return str(item.get("name") or item.get("datasource") or "") if isinstance(item, dict) else str(item)
