"""What Airflow reads about this provider, and the one description of its connection form.

Every Airflow process that asks for providers runs this module: scheduler, API server, workers and CLI. So it imports nothing but the
standard library, and is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

CONNECTION_TYPE = "tinybird"
HOOK_CLASS = "airflow_provider_tinybird.hooks.tinybird.TinybirdHook"
HOOK_NAME = "Tinybird"

LINK_CLASSES = ("TinybirdDatasourceLink", "TinybirdPipeLink", "TinybirdJobLink", "TinybirdActivityLink")


class FieldKind(Enum):
    """How an extra is entered in the connection form. Each has a form in the metadata (3.2+) and in the hook's methods (older)."""

    TEXT = "text"
    MASKED = "masked"
    CHOICE = "choice"
    NUMBER = "number"
    INTEGER = "integer"
    SWITCH = "switch"
    SWITCH_OR_PATH = "switch or path"
    """A switch, which also takes a path by way of the extra's JSON. In the older form it is a text: a check box there is saved each time
    that somebody edits the connection, and would put ``true`` in the place of the path."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One extra of the connection.

    :param name: key in the connection's extra.
    :param label: label in the form.
    :param kind: how it is entered.
    :param description: help text in the form.
    :param placeholder: shown where nothing is entered (older forms only).
    :param choices: values of a ``CHOICE``.
    :param default: value of a switch that nobody touched.
    """

    name: str
    label: str
    kind: FieldKind
    description: str
    placeholder: str = ""
    choices: tuple[str, ...] = ()
    default: bool | None = None


# The same as api.regions.REGIONS, which is not imported: see the top. A test compares them.
REGION_IDS: tuple[str, ...] = (
    "gcp-europe-west3",
    "gcp-us-east4",
    "gcp-europe-west2",
    "gcp-northamerica-northeast2",
    "aws-eu-central-1",
    "aws-eu-west-1",
    "aws-us-east-1",
    "aws-us-west-2",
    "aws-ap-east-1",
    "aws-ap-southeast-2",
)

EXTRA_FIELDS: tuple[FormField, ...] = (
    FormField(
        "region",
        "Region",
        FieldKind.CHOICE,
        "Region of the workspace, in place of the API base URL. Not needed where the token says it, as static tokens do.",
        placeholder="such as aws-us-east-1",
        choices=REGION_IDS,
    ),
    FormField(
        "workspace",
        "Workspace",
        FieldKind.TEXT,
        "Name of the workspace that you expect behind the token. Testing the connection fails when it is another.",
    ),
    FormField(
        "timeout",
        "Timeout (seconds)",
        FieldKind.NUMBER,
        "How long to wait for an answer, 30 unless given. Calls that are known to take longer wait longer.",
        placeholder="30",
    ),
    FormField(
        "verify",
        "Verify TLS",
        FieldKind.SWITCH_OR_PATH,
        "Verify TLS certificates: true unless given. For certificates of your own, set 'verify' in the extra's JSON to the path of a "
        "file with their certificate authorities.",
        placeholder="true, false, or the path of a file with certificate authorities",
        default=True,
    ),
    FormField(
        "proxy",
        "Proxy",
        FieldKind.MASKED,
        "URL of an HTTP proxy, such as http://user:password@proxy.example:3128.",
        placeholder="http://proxy.example:3128",
    ),
    FormField(
        "max_retries",
        "Retries of a call",
        FieldKind.INTEGER,
        "How often to send a call again where that is safe, 5 unless given; 0 for never.",
        placeholder="5",
    ),
    FormField(
        "allow_http",
        "Allow plain http",
        FieldKind.SWITCH,
        "Accept an API base URL with http:// that is not on this machine, such as Tinybird Local in a container network. The token "
        "then travels unencrypted.",
        default=False,
    ),
)

# A port of its own is read (URIs have it), but belongs into the URL; so does the scheme.
HIDDEN_FIELDS: tuple[str, ...] = ("login", "schema", "port")
RELABELING: tuple[tuple[str, str], ...] = (("host", "API base URL"), ("password", "Token"))
PLACEHOLDERS: tuple[tuple[str, str], ...] = (
    ("host", "https://api.tinybird.co (empty: as region or token say)"),
    ("password", "Token with the scopes that your tasks need"),
    *((extra.name, extra.placeholder) for extra in EXTRA_FIELDS if extra.placeholder),
)


def _json_schema(extra: FormField) -> dict[str, Any]:
    match extra.kind:
        case FieldKind.TEXT:
            return {"type": ["string", "null"]}
        case FieldKind.MASKED:
            return {"type": ["string", "null"], "format": "password"}
        case FieldKind.CHOICE:
            return {"type": ["string", "null"], "enum": list(extra.choices)}
        case FieldKind.NUMBER:
            return {"type": ["number", "null"], "minimum": 0}
        case FieldKind.INTEGER:
            return {"type": ["integer", "null"], "minimum": 0}
        case FieldKind.SWITCH | FieldKind.SWITCH_OR_PATH:
            return {"type": ["boolean", "null"], "default": extra.default}


def _conn_fields() -> dict[str, Any]:
    return {
        extra.name: {"label": extra.label, "description": extra.description, "schema": _json_schema(extra)}
        for extra in EXTRA_FIELDS
    }


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata. Airflow calls it by the entry point ``apache_airflow_provider``."""
    package = "airflow_provider_tinybird"
    integration = {"integration-name": HOOK_NAME}
    return {
        "package-name": "airflow-provider-tinybird",
        "name": HOOK_NAME,
        "description": "Load, reshape and read data in `Tinybird <https://www.tinybird.co/>`__.",
        "integrations": [
            {**integration, "external-doc-url": "https://www.tinybird.co/docs/api-reference", "tags": ["service"]}
        ],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": HOOK_CLASS,
                "hook-name": HOOK_NAME,
                "ui-field-behaviour": {
                    "hidden-fields": list(HIDDEN_FIELDS),
                    "relabeling": dict(RELABELING),
                    "placeholders": dict(PLACEHOLDERS),
                },
                "conn-fields": _conn_fields(),
            }
        ],
        "hooks": [{**integration, "python-modules": [f"{package}.hooks.sql", f"{package}.hooks.tinybird"]}],
        "operators": [
            {
                **integration,
                "python-modules": [
                    f"{package}.operators.checks",
                    f"{package}.operators.datasources",
                    f"{package}.operators.events",
                    f"{package}.operators.interval",
                    f"{package}.operators.load",
                    f"{package}.operators.pipes",
                    f"{package}.operators.quarantine",
                    f"{package}.operators.query",
                    f"{package}.operators.ranges",
                ],
            }
        ],
        "task-decorators": [
            {"name": "tinybird_events", "class-name": f"{package}.decorators.events.tinybird_events_task"}
        ],
        "extra-links": [f"{package}.links.tinybird.{name}" for name in LINK_CLASSES],
        "sensors": [{**integration, "python-modules": [f"{package}.sensors.datasources", f"{package}.sensors.jobs"]}],
        "triggers": [
            {
                **integration,
                "python-modules": [
                    f"{package}.triggers.conditions",
                    f"{package}.triggers.jobs",
                    f"{package}.triggers.ranges",
                ],
            }
        ],
    }
