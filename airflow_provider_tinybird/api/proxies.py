"""Which proxy a host is reached through: the connection's own, or what the environment says."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

from airflow_provider_tinybird.api.settings import Settings, SettingsError, is_loopback

SCHEMES = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    :param url: its URL, which may hold a password.
    :param source: who says that it is to be used, for messages.
    """

    url: str = field(repr=False)
    source: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"the proxy {parts.scheme}://{parts.hostname}{port} ({self.source})"


def proxy_of(settings: Settings, environment: Mapping[str, str] | None = None) -> Proxy | None:
    """Find the proxy for a host.

    The extra ``proxy`` counts for each host. Without it ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``ALL_PROXY`` count, but for what ``NO_PROXY``
    excepts and for this machine itself, which is another one when seen from the proxy.

    :param environment: what ``urllib.request.getproxies`` returns.
    :raises SettingsError: the proxy cannot be used.
    """
    if settings.proxy:
        return Proxy(checked(settings.proxy, "The extra 'proxy'"), "of the extra 'proxy'")
    found = dict(getproxies()) if environment is None else dict(environment)
    target = urlsplit(settings.base_url)
    name = next((one for one in (target.scheme, "all") if found.get(one)), None)
    if name is None or is_loopback(target.hostname or "") or excepted(target, found.get("no", "")):
        return None
    url = found[name] if "://" in found[name] else f"http://{found[name]}"
    variable = next((one for one in (f"{name}_proxy", f"{name.upper()}_PROXY") if os.environ.get(one)), None)
    source = f"the variable {variable} of the environment" if variable else "the proxy of the system"
    return Proxy(checked(url, source[0].upper() + source[1:]), f"of {source}")


def checked(url: str, source: str) -> str:
    """Check the URL of a proxy.

    :param source: where it stands, at the beginning of a sentence.
    :raises SettingsError: it cannot be used. It is not shown: it can hold a password in any place.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", url):
        raise SettingsError(
            f"{source} is no URL of a proxy: it must begin with one of {', '.join(SCHEMES)}, as in 'http://proxy.example:3128'."
        )
    if parts.scheme.startswith("socks") and not find_spec("socksio"):
        raise SettingsError(
            f"{source} is a SOCKS proxy, which needs one more package: pip install 'httpx[socks]'. Where Tinybird is to be reached "
            "without it, name its host in NO_PROXY."
        )
    return url


def excepted(target: SplitResult, no_proxy: str) -> bool:
    """Tell whether ``NO_PROXY`` excepts a host. What cannot be read of it excepts nothing, and is no error."""
    return any(_matches(target, entry) for entry in re.split(r"[,\s]+", no_proxy.lower()) if entry)


def _matches(target: SplitResult, entry: str) -> bool:
    if entry == "*":
        return True
    scheme, found, rest = entry.rpartition("://")
    if found and scheme not in ("all", target.scheme):
        return False
    host, port = _host_and_port(rest)
    if port and port != (target.port or {"http": 80, "https": 443}[target.scheme]):
        return False
    name = (target.hostname or "").rstrip(".")
    address = _address(name)
    if address is not None:
        network = _network(host)
        return network is not None and address in network
    if host.startswith((".", "*.")):
        return name.endswith(host.lstrip("*"))
    return bool(host) and (name == host or name.endswith(f".{host}"))


def _host_and_port(text: str) -> tuple[str, int | None]:
    """Part an entry: ``host``, ``host:port``, ``[v6]``, ``[v6]:port``, ``v6``, ``v6/bits``, ``[v6]/bits``."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](/\d+)?(?::(\d+))?", text)
    if bracketed:
        return bracketed[1] + (bracketed[2] or ""), _port(bracketed[3])
    host, found, port = text.rpartition(":")
    if found and ":" not in host and port.isdecimal():
        return host, _port(port)
    return text, None


def _port(text: str | None) -> int | None:
    return int(text[:6]) if text else None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    address, _, bits = text.partition("/")
    try:
        return ipaddress.ip_network(f"{address.partition('%')[0]}{f'/{bits}' if bits else ''}", strict=False)
    except ValueError:
        return None
