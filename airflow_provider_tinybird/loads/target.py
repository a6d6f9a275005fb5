"""What a load goes into: looked up once, before the first row is sent."""

from __future__ import annotations

import logging
import re

from airflow_provider_tinybird.api import datasources
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.encoding import loadable_name
from airflow_provider_tinybird.api.errors import AccessDeniedError, NotFoundError, TinybirdError
from airflow_provider_tinybird.api.models import Datasource

log = logging.getLogger(__name__)

_IS_MISSING = re.compile(r"exist|not found|unknown|no such|could not find", re.IGNORECASE)
"""Words of a 404 that speak of the data source. Tinybird documents none."""


class MissingDatasourceError(TinybirdError):
    """The data source that a load names does not exist, and the load may not create it. Nothing was sent."""

    retry_can_help = False


def look_up(client: Client, datasource: str, *, create_missing: bool = False) -> Datasource | None:
    """Read the data source that rows are to go into: one call for each load, which serves all that is asked of it.

    :param client: asks.
    :param datasource: name or id.
    :param create_missing: let Tinybird create it where it does not exist.
    :return: the data source with its columns; ``None`` where the token may not read it, or where it is yet to be created.
    :raises MissingDatasourceError: it does not exist.
    :raises InvalidInputError: no data source can have this name.
    """
    loadable_name(datasource)
    try:
        return client.send(datasources.get_datasource(datasource))
    except AccessDeniedError as e:
        if not e.is_final:  # a page of something in front of Tinybird says nothing of the data source
            raise
        log.info("Whether data source '%s' exists was not checked, since this token may not read it. %s", datasource, e)
    except NotFoundError as e:
        if not e.is_final:
            raise
        if not _IS_MISSING.search(e.answer.text):
            log.warning("Whether data source '%s' exists was not found out. %s", datasource, e)
            return None
        if not create_missing:
            raise MissingDatasourceError(
                f"Data source '{datasource}' does not exist in this workspace. Nothing was sent.\n"
                "Check its name, and which workspace the connection belongs to. A Classic workspace creates it from rows that are sent "
                f"as events where create_missing=True says so.\n{e}"
            ) from e
        log.warning("Data source '%s' does not exist: Tinybird creates it, as create_missing=True says.", datasource)
    return None
