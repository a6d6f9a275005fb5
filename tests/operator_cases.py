"""Every operator and sensor of the package, found where they are, and arguments with which each can run against the sandbox.

Tests that hold for all of them start here, so that none is forgotten. They need the project of ``tests/sandbox/project``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from airflow_provider_tinybird import operators as operator_package
from airflow_provider_tinybird import sensors as sensor_package
from airflow_provider_tinybird._compat import BaseOperator
from airflow_provider_tinybird.get_provider_info import get_provider_info

PACKAGE = "airflow_provider_tinybird"
BASES = {
    "PunctualSensor",
    "TinybirdGuardedOperator",
    "TinybirdOperator",
    "TinybirdQuarantineOperator",
    "TinybirdWriterOperator",
}
"""What users do not put into DAGs, and Python does not know as abstract."""

PROJECT = Path(__file__).parent / "sandbox" / "project"
CSV = "day,carrier,delay\n2013-01-01,UA,2\n"
SIGNATURE = "5ec3e7c0ffee5ec3e7"

# Looks that find it is not yet so, then the timeout: so that a trigger has something to say too.
ONCE = {"poke_interval": 0.05, "timeout": 0.2}

Make = Callable[[str, Path, str], dict[str, Any]]
# Arguments of each: of the address of the sandbox, a file with CSV in it, and the id of a job. A new operator needs a line here.
ARGUMENTS: dict[str, Make] = {
    "TinybirdAppendUrlOperator": lambda url, file, job: {
        "datasource": "flights",
        "url": f"{url}/files/flights.csv?X-Amz-Credential=a&X-Amz-Signature={SIGNATURE}",
    },
    "TinybirdAppendFileOperator": lambda url, file, job: {"datasource": "flights", "path": str(file)},
    "TinybirdTruncateOperator": lambda url, file, job: {"datasource": "flights"},
    "TinybirdDeleteOperator": lambda url, file, job: {
        "datasource": "flights",
        "delete_condition": "delay > 1",
        "allow_all": True,  # the one row of CSV may be all there is
    },
    "TinybirdEventsOperator": lambda url, file, job: {
        "datasource": "flights",
        "data": [{"day": "2013-01-01", "carrier": "UA", "delay": 1}],
    },
    "TinybirdLoadOperator": lambda url, file, job: {
        "datasource": "flights",
        "data": [{"day": "2013-01-01", "carrier": "UA", "delay": 1}],
        "via": "files",
    },
    "TinybirdReplaceIntervalOperator": lambda url, file, job: {
        "datasource": "flights",
        "column": "day",
        "data": [{"day": "2013-01-01", "carrier": "UA", "delay": 1}],
        "start": "2013-01-01",
        "end": "2013-02-01",
    },
    "TinybirdCopyOperator": lambda url, file, job: {"pipe": "copy_totals"},
    "TinybirdCopyRangeOperator": lambda url, file, job: {
        "pipe": "copy_range",
        "start": "2013-01-01",
        "end": "2013-01-03",
        "window": "week",
    },
    "TinybirdQuarantineCheckOperator": lambda url, file, job: {"datasource": "flights", "start": "2000-01-01"},
    "TinybirdCheckOperator": lambda url, file, job: {"sql": "SELECT count() FROM flights"},
    "TinybirdValueCheckOperator": lambda url, file, job: {"sql": "SELECT count() FROM flights", "pass_value": 1},
    "TinybirdIntervalCheckOperator": lambda url, file, job: {
        "table": "flights",
        "day": "2013-01-01",
        "metrics_thresholds": {"count()": 2},
        "date_filter_column": "day",
    },
    "TinybirdColumnCheckOperator": lambda url, file, job: {
        "table": "flights",
        "column_mapping": {"delay": {"max": {"equal_to": 2}}},
    },
    "TinybirdTableCheckOperator": lambda url, file, job: {
        "table": "flights",
        "checks": {"rows": {"check_statement": "count() = 1"}},
    },
    "TinybirdSinkOperator": lambda url, file, job: {"pipe": "out"},
    "TinybirdPopulateOperator": lambda url, file, job: {"pipe": "by_carrier_view", "node": "by_carrier_node"},
    "TinybirdEndpointOperator": lambda url, file, job: {"pipe": "top"},
    "TinybirdQueryOperator": lambda url, file, job: {"sql": "SELECT count() AS n FROM flights"},
    "TinybirdJobSensor": lambda url, file, job: {"job_id": job, "poke_interval": 0.05},
    "TinybirdCopySucceededSensor": lambda url, file, job: {"pipe": "copy_totals", "since": "2000-01-01", **ONCE},
    "TinybirdFreshnessSensor": lambda url, file, job: {
        "datasource": "flights",
        "column": "day",
        "at_least": "2013-01-02",
        **ONCE,
    },
    "TinybirdRowsSensor": lambda url, file, job: {"datasource": "flights", "min_rows": 2, **ONCE},
    "TinybirdSqlSensor": lambda url, file, job: {"sql": "SELECT 0", **ONCE},
    "TinybirdQuarantineSensor": lambda url, file, job: {
        "datasource": "flights",
        "start": "2000-01-01",
        "end": "2100-01-01",
        **ONCE,
    },
}


def _modules(package: ModuleType) -> list[ModuleType]:
    names = [one.name for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [importlib.import_module(name) for name in names]


def _of_users(module: ModuleType) -> dict[str, type[Any]]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, BaseOperator)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and name not in BASES
        and not inspect.isabstract(value)
    }


def operators() -> dict[str, type[Any]]:
    """Every operator and sensor that there is."""
    modules = [*_modules(operator_package), *_modules(sensor_package)]
    return {name: value for module in modules for name, value in _of_users(module).items()}


def operators_of_the_metadata() -> dict[str, type[Any]]:
    """Every operator and sensor in the modules that the provider tells Airflow of."""
    info = get_provider_info()
    modules = [name for kind in ("operators", "sensors") for entry in info[kind] for name in entry["python-modules"]]
    return {name: value for module in modules for name, value in _of_users(importlib.import_module(module)).items()}


def own_arguments(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Arguments that this package defines, of a class and its bases."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if base.__module__.startswith(PACKAGE) and "__init__" in vars(base):
            signature = inspect.signature(inspect.unwrap(vars(base)["__init__"])).parameters
            found |= {name: one for name, one in signature.items() if name not in found}
    return {name: one for name, one in found.items() if name != "self" and one.kind is not one.VAR_KEYWORD}


def required(cls: type[Any]) -> dict[str, Any]:
    """Any values for the arguments that a class cannot be made without."""
    return {name: f"some {name}" for name, one in own_arguments(cls).items() if one.default is one.empty}


def default(cls: type[Any], name: str) -> Any:
    """What an argument is when nobody gives it."""
    one = own_arguments(cls).get(name)
    return None if one is None or one.default is one.empty else one.default


def templated(cls: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of all template fields that have one: what is given, and the defaults of the others."""
    values = {name: given[name] if name in given else default(cls, name) for name in cls.template_fields}
    return {name: value for name, value in values.items() if value is not None}
