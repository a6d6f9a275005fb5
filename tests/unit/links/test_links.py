"""Links of a task: which addresses they are, and that nothing that they meet makes them fail."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_tinybird._compat import XCom
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.regions import REGIONS
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.get_provider_info import LINK_CLASSES, get_provider_info
from airflow_provider_tinybird.links import addresses
from airflow_provider_tinybird.links import tinybird as links
from airflow_provider_tinybird.links.addresses import Target
from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator, TinybirdTruncateOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator, TinybirdEndpointOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor

TOKEN = "p.secret-token"
KINDS = (addresses.datasource_url, addresses.pipe_url, addresses.job_url, addresses.activity_url)


def urls(**known: Any) -> list[str]:
    return [make(Target(**known)) for make in KINDS]


ALL = {"workspace": "shop", "datasource": "flights", "pipe": "daily", "job_id": "j-1"}


def test_addresses_in_the_cloud():
    root = "https://cloud.tinybird.co/aws/us-east-1/shop"
    assert urls(base_url="https://api.us-east.aws.tinybird.co", **ALL) == [
        f"{root}/datasources/flights",
        f"{root}/pipes/daily",
        f"{root}/jobs",
        f"{root}/jobs",
    ]


def test_addresses_of_each_region_are_its_own():
    found = {addresses.activity_url(Target(base_url=one.base_url, workspace="w")) for one in REGIONS}
    assert found == {f"https://cloud.tinybird.co/{one.provider}/{one.name}/w/jobs" for one in REGIONS}
    assert len(found) == len(REGIONS)


def test_without_a_workspace_only_the_region_is_known():
    known = ALL | {"workspace": ""}
    assert urls(base_url="https://api.tinybird.co", **known) == [
        "",
        "",
        "",
        "https://cloud.tinybird.co/gcp/europe-west3",
    ]


def test_addresses_of_tinybird_local():
    assert (
        urls(base_url="http://localhost:7181", **ALL)[0]
        == "https://cloud.tinybird.co/local/7181/shop/datasources/flights"
    )


def test_a_host_that_is_not_known_has_no_ui_that_is_known():
    assert urls(base_url="https://gateway.example/tinybird", **ALL) == ["", "", "", ""]


def test_addresses_in_the_sandbox():
    page = "http://127.0.0.1:7181/sandbox"
    assert urls(base_url="http://127.0.0.1:7181", is_sandbox=True, since=1e9 + 0.9, until=1e9 + 59.1, **ALL) == [
        f"{page}#datasource-flights",
        f"{page}#pipe-daily",
        f"{page}#job-j-1",
        f"{page}?since=2001-09-09T01%3A46%3A40Z&until=2001-09-09T01%3A47%3A40Z#activity",
    ]


def test_names_are_quoted():
    hostile = {"workspace": "../x?y", "datasource": "a/b#c", "pipe": '"><script>', "job_id": "j"}
    assert urls(base_url="https://api.tinybird.co", **hostile)[:2] == [
        "https://cloud.tinybird.co/gcp/europe-west3/..%2Fx%3Fy/datasources/a%2Fb%23c",
        "https://cloud.tinybird.co/gcp/europe-west3/..%2Fx%3Fy/pipes/%22%3E%3Cscript%3E",
    ]


@pytest.mark.parametrize(
    "value",
    [None, "", 1, [], {}, {"base_url": None}, {"base_url": "javascript:alert(1)"}, {"base_url": 5}, "http://x"],
)
def test_what_is_no_target(value):
    assert Target.from_xcom(value) is None


@pytest.mark.parametrize(
    "moment", ["x", None, True, float("inf"), float("nan"), -1, 1e300, 10**400], ids=lambda one: str(one)[:9]
)
def test_moments_that_are_none(moment):
    target = Target.from_xcom({"base_url": "http://localhost:1", "is_sandbox": True, "since": moment, "pipe": ["x"]})
    assert target is not None
    assert addresses.activity_url(target).startswith("http://localhost:1/sandbox")
    assert addresses.pipe_url(target) == ""


def test_a_target_is_small_json_and_comes_back():
    target = Target(base_url="http://localhost:7181", is_sandbox=True, since=1.5, **ALL)
    assert Target.from_xcom(json.loads(json.dumps(target.as_xcom()))) == target
    assert Target(base_url="http://x").as_xcom() == {"base_url": "http://x"}


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (TinybirdAppendUrlOperator, {"data source", "job", "activity"}),
        (TinybirdTruncateOperator, {"data source", "activity"}),
        (TinybirdCopyOperator, {"data source", "pipe", "job", "activity"}),
        (TinybirdEndpointOperator, {"pipe", "activity"}),
        (TinybirdQueryOperator, {"activity"}),
        (TinybirdJobSensor, {"pipe", "job", "activity"}),
    ],
)
def test_a_class_has_the_links_that_suit_what_it_takes(cls, names):
    assert {link.name for link in cls.operator_extra_links} == {f"Tinybird {name}" for name in names}


def test_a_class_of_a_user_keeps_its_own():
    class Mine(TinybirdTruncateOperator):
        operator_extra_links = ()

    class Inherits(TinybirdTruncateOperator):
        pass

    assert Mine.operator_extra_links == ()
    assert len(Inherits.operator_extra_links) == 2


def test_all_are_registered():
    assert get_provider_info()["extra-links"] == [f"{links.__name__}.{name}" for name in LINK_CLASSES]
    used = {type(one) for one in TinybirdCopyOperator.operator_extra_links}
    assert used == {getattr(links, name) for name in LINK_CLASSES}


class Ti:
    """A task instance that keeps what is pushed."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


def with_hook(operator: Any, server: str | None, base_url: str = "https://api.tinybird.co") -> Any:
    settings = Settings(base_url=base_url, token=Token(TOKEN), workspace="shop")
    operator.__dict__["hook"] = SimpleNamespace(settings=settings, client=SimpleNamespace(server=server))
    return operator


def link_of(operator: Any, kind: type[Any]) -> str:
    found: str = kind().get_link(operator, ti_key=SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1))
    return found


@pytest.fixture
def stored(monkeypatch):
    """What the task has left in XCom."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr(XCom, "get_value", lambda *, ti_key, key: kept.get(key))
    return kept


def test_a_worker_asks_nobody(monkeypatch):
    def forbidden(**_: Any) -> None:
        raise AssertionError("it asked")

    monkeypatch.setattr(XCom, "get_value", forbidden)
    operator = with_hook(
        TinybirdTruncateOperator(task_id="t", datasource="flights"), "tinybird-sandbox", "http://127.0.0.1:9"
    )
    assert link_of(operator, links.TinybirdDatasourceLink) == "http://127.0.0.1:9/sandbox#datasource-flights"


def test_a_task_that_never_got_an_answer_uses_what_was_left(stored):
    operator = with_hook(TinybirdTruncateOperator(task_id="t", datasource="flights"), None)
    assert "/gcp/europe-west3/shop/datasources/flights" in link_of(operator, links.TinybirdDatasourceLink)
    stored[links.XCOM_KEY] = Target(base_url="http://127.0.0.1:9", is_sandbox=True, datasource="flights").as_xcom()
    assert link_of(operator, links.TinybirdDatasourceLink) == "http://127.0.0.1:9/sandbox#datasource-flights"


def test_nothing_known_is_no_link(stored):
    operator = TinybirdTruncateOperator(task_id="t", datasource="flights")
    assert [link_of(operator, type(one)) for one in operator.operator_extra_links] == ["", ""]
    assert link_of(object(), links.TinybirdActivityLink) == ""


def test_xcom_that_fails_is_no_link(monkeypatch):
    def broken(**_: Any) -> None:
        raise RuntimeError(TOKEN)

    monkeypatch.setattr(XCom, "get_value", broken)
    assert link_of(TinybirdTruncateOperator(task_id="t", datasource="x"), links.TinybirdDatasourceLink) == ""


def test_what_a_task_leaves_holds_no_token():
    ti = Ti()
    operator = with_hook(TinybirdTruncateOperator(task_id="t", datasource="flights"), "nginx")
    operator.pre_execute({"ti": ti})
    operator.post_execute({"ti": ti}, None)
    assert TOKEN not in json.dumps(ti.pushed)
    left = ti.pushed[links.XCOM_KEY]
    assert 0 < left["since"] <= left["until"]
    assert {k: v for k, v in left.items() if k not in ("since", "until")} == {
        "base_url": "https://api.tinybird.co",
        "workspace": "shop",
        "datasource": "flights",
    }


def test_a_push_that_fails_does_not_fail_the_task(caplog):
    class Broken(Ti):
        def xcom_push(self, key: str, value: Any) -> None:
            raise OSError(TOKEN)

    operator = with_hook(TinybirdTruncateOperator(task_id="t", datasource="flights"), "nginx")
    operator.post_execute({"ti": Broken()}, None)
    assert TOKEN not in caplog.text
