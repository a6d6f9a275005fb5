"""Regions of Tinybird: their ids, their API hosts, and which of them a token was made in.

Tinybird opens regions and runs dedicated clusters, so this list goes stale. It serves to fill in a host and to explain a mistake;
a host that is not on it is as good as any other.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_tinybird.api.redact import Token


@dataclass(frozen=True, slots=True)
class Region:
    """A region of Tinybird.

    :param id: as tokens spell it, such as ``aws-us-east-1``.
    :param provider: ``gcp``, ``aws`` or ``local``.
    :param name: the cloud provider's name of it, such as ``us-east-1``.
    :param base_url: base URL of its API, without a trailing slash.
    :param other_hosts: further hosts that answer for it.
    """

    id: str
    provider: str
    name: str
    base_url: str
    other_hosts: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """Host of its API, with the port where that is not the usual one."""
        return self.base_url.partition("://")[2]


# The hosts follow no rule (the first two carry no provider, AWS us-east-1 drops its "-1"), so that none can be derived.
REGIONS: tuple[Region, ...] = (
    Region("gcp-europe-west3", "gcp", "europe-west3", "https://api.tinybird.co"),
    Region("gcp-us-east4", "gcp", "us-east4", "https://api.us-east.tinybird.co"),
    Region("gcp-europe-west2", "gcp", "europe-west2", "https://api.europe-west2.gcp.tinybird.co"),
    Region(
        "gcp-northamerica-northeast2",
        "gcp",
        "northamerica-northeast2",
        "https://api.northamerica-northeast2.gcp.tinybird.co",
    ),
    Region("aws-eu-central-1", "aws", "eu-central-1", "https://api.eu-central-1.aws.tinybird.co"),
    Region("aws-eu-west-1", "aws", "eu-west-1", "https://api.eu-west-1.aws.tinybird.co"),
    Region("aws-us-east-1", "aws", "us-east-1", "https://api.us-east.aws.tinybird.co"),
    Region("aws-us-west-2", "aws", "us-west-2", "https://api.us-west-2.aws.tinybird.co"),
    Region(
        "aws-ap-east-1",
        "aws",
        "ap-east-1",
        "https://api.ap-east-1.aws.tinybird.co",
        other_hosts=("api.ap-east.aws.tinybird.co",),
    ),
    Region("aws-ap-southeast-2", "aws", "ap-southeast-2", "https://api.ap-southeast-2.aws.tinybird.co"),
)
"""Regions of Tinybird Cloud."""

LOCAL = Region("local", "local", "local", "http://localhost:7181")
"""Tinybird Local on this machine, in the form in which its tokens name it."""


def region_by_id(text: str) -> Region | None:
    """Find a region by what people write for it.

    :param text: an id (``aws-us-east-1``, also ``AWS us-east-1`` or ``aws/us-east-1``), ``local``, or the provider's own name
        (``us-east-1``) where only one provider has it.
    :return: the region, or ``None`` when there is no such or more than one.
    """
    wanted = re.sub(r"[\s/_:.]+", "-", text.strip().lower())
    for region in (*REGIONS, LOCAL):
        if region.id == wanted:
            return region
    named = [region for region in REGIONS if region.name == wanted]
    return named[0] if len(named) == 1 else None


def region_by_host(host: str) -> Region | None:
    """Find the region of Tinybird Cloud that a host or base URL belongs to.

    :param host: ``api.tinybird.co``, or a base URL with it.
    :return: the region, or ``None`` for any other host, which says nothing against that host.
    """
    wanted = host.strip().lower().partition("://")[2] or host.strip().lower()
    wanted = wanted.partition("/")[0].removesuffix(":443")
    for region in REGIONS:
        if wanted in (region.host, *region.other_hosts):
            return region
    return None


def token_region(token: Token) -> str | None:
    """Read the id of the region that a token says it belongs to, without a call.

    A static token is ``p.<JSON in base64>.<signature>``, and the JSON's ``host`` is the region's id. That is not a documented promise,
    so anything else (a JWT, another form, garbage) just says nothing.

    :return: the id as it stands in the token, also when it is not on the list here, or ``None``.
    """
    parts = token.value.split(".")
    if len(parts) != 3 or parts[0] != "p":
        return None
    try:
        # Tokens come without the padding; too much of it does no harm. Both base64 alphabets occur.
        content = json.loads(
            base64.b64decode(parts[1] + "===", altchars=b"-_" if re.search("[-_]", parts[1]) else None)
        )
    except (ValueError, RecursionError):
        return None
    region = content.get("host") if isinstance(content, dict) else None
    # An id only: what a token holds beyond that never reaches a message.
    return region if isinstance(region, str) and re.fullmatch(r"[A-Za-z0-9][\w-]{0,62}", region, re.ASCII) else None
