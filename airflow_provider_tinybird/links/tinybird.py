"""The links, and how a task says what they lead to.

On Airflow 3 a worker makes them each time that a task ends or defers, and Airflow keeps what they returned in XCom. On 2.11 the web
server makes them when somebody looks. Neither may ask Tinybird, nor fail: a link that cannot be made is empty, and Airflow shows none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_tinybird._compat import BaseOperatorLink, XCom
from airflow_provider_tinybird.links import addresses
from airflow_provider_tinybird.links.addresses import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_tinybird._compat import Context
    from airflow_provider_tinybird.api.models import Job

log = logging.getLogger(__name__)

XCOM_KEY = "tinybird_link"
"""XCom in which a task leaves its :class:`~airflow_provider_tinybird.links.addresses.Target`: small JSON, without secrets."""


class LinkedTask:
    """What an operator or a sensor needs for its links: it notes what the task works on, from what the task knows anyway."""

    operator_extra_links: Collection[BaseOperatorLink] = ()

    _starts_job: ClassVar[bool] = False
    _link_since: float = 0.0
    _link_until: float = 0.0
    _link_job_id: str = ""
    _link_datasource: str = ""
    _is_resumed: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class the links that suit what it takes."""
        super().__init_subclass__(**kwargs)
        if "operator_extra_links" not in cls.__dict__:
            cls.operator_extra_links = tuple(_links_of(getattr(cls, "template_fields", ()), cls._starts_job))

    def pre_execute(self, context: Any) -> None:
        """Note when the task began."""
        self._link_since = time.time()
        super().pre_execute(context)  # type: ignore[misc]

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Note that this task has run before, and left what it knew then."""
        self._is_resumed = True
        return super().resume_execution(next_method, next_kwargs, context)  # type: ignore[misc]

    def post_execute(self, context: Any, result: Any = None) -> None:
        """Leave what the task worked on, as below Airflow 3 the web server has nothing else to go by."""
        super().post_execute(context, result)  # type: ignore[misc]
        self._link_until = time.time()
        if self._knows_server():
            self.leave_link(context)

    def leave_link(self, context: Context | Mapping[str, Any], job: Job | None = None) -> None:
        """Leave what the task works on in XCom, where links that are made elsewhere or later find it.

        :param job: its job, once there is one.
        """
        if job:
            self._link_job_id, self._link_datasource = job.id, job.datasource
        push = getattr(context.get("ti"), "xcom_push", None)
        target = self.link_target()
        if push is None or target is None:
            return
        try:
            push(key=XCOM_KEY, value=target.as_xcom())
        except Exception as e:  # whatever it is, the work of the task is worth more than its links
            log.warning("The links of this task are not to be had: %s", type(e).__name__)

    def resume_link(self, job: Job, waited: float) -> None:
        """Note what the part of the task before its deferral knew.

        :param job: its job.
        :param waited: seconds since it began.
        """
        self._link_job_id, self._link_datasource = job.id, job.datasource
        self._link_since = time.time() - waited

    def _knows_server(self) -> bool:
        """Tell whether Tinybird has answered, or the sandbox."""
        hook = self.__dict__.get("hook")
        client = hook.__dict__.get("client") if hook else None
        return client is not None and client.server is not None

    def link_target(self) -> Target | None:
        """Say what the task works on; ``None`` before it knows where Tinybird is. Asks nobody."""
        hook = self.__dict__.get("hook")
        settings = hook.__dict__.get("settings") if hook else None
        if settings is None:
            return None
        client = hook.__dict__.get("client") if hook else None
        return Target(
            base_url=settings.base_url,
            workspace=settings.workspace or "",
            datasource=_name(self, "datasource") or self._link_datasource,
            pipe=_name(self, "pipe"),
            job_id=self._link_job_id or _name(self, "job_id"),
            since=round(self._link_since, 3),
            until=round(self._link_until, 3),
            is_sandbox=client is not None and client.server == addresses.SANDBOX_SERVER,
        )


class _TinybirdLink(BaseOperatorLink):
    """Base of the links: from what a task says, or has left in XCom, to an address."""

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address, or nothing. Never raises: Airflow would show the failure in the place of the task's own."""
        try:
            target = self._target(operator, ti_key)
            return self.address(target) if target else ""
        except Exception as e:
            log.debug("No link '%s': %s", self.name, type(e).__name__)
            return ""

    def address(self, target: Target) -> str:
        """Make the address."""
        raise NotImplementedError

    def _target(self, operator: Any, ti_key: Any) -> Target | None:
        # A task that comes back from the triggerer may know less than what it left before; web servers have the latter alone.
        own = operator.link_target() if isinstance(operator, LinkedTask) else None
        if own and operator._knows_server():
            return own
        # Airflow logs an error where there is no such XCom, and a task that runs here from its start left all that it knows.
        if own and operator._link_since and not operator._is_resumed:
            return own
        return Target.from_xcom(XCom.get_value(ti_key=ti_key, key=XCOM_KEY)) or own


class TinybirdDatasourceLink(_TinybirdLink):
    """Link to the data source that a task reads or writes."""

    name = "Tinybird data source"

    def address(self, target: Target) -> str:
        """Make the address."""
        return addresses.datasource_url(target)


class TinybirdPipeLink(_TinybirdLink):
    """Link to the pipe that a task runs."""

    name = "Tinybird pipe"

    def address(self, target: Target) -> str:
        """Make the address."""
        return addresses.pipe_url(target)


class TinybirdJobLink(_TinybirdLink):
    """Link to the job of a task."""

    name = "Tinybird job"

    def address(self, target: Target) -> str:
        """Make the address."""
        return addresses.job_url(target)


class TinybirdActivityLink(_TinybirdLink):
    """Link to what went on in Tinybird while a task ran."""

    name = "Tinybird activity"

    def address(self, target: Target) -> str:
        """Make the address."""
        return addresses.activity_url(target)


def _links_of(fields: Collection[str], starts_job: bool) -> Iterator[BaseOperatorLink]:
    if starts_job or "datasource" in fields:
        yield TinybirdDatasourceLink()
    if "pipe" in fields:
        yield TinybirdPipeLink()
    if starts_job or "job_id" in fields:
        yield TinybirdJobLink()
    yield TinybirdActivityLink()


def _name(operator: object, attribute: str) -> str:
    value = getattr(operator, attribute, None)
    return value if isinstance(value, str) else ""
