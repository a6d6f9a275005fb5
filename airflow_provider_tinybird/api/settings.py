"""Where Tinybird is and which token to show it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_provider_tinybird import __version__
from airflow_provider_tinybird.api import regions
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.redact import Token, redact

DEFAULT_TIMEOUT = 30.0
"""Seconds to wait for an answer, where neither the connection nor the call says otherwise."""
DEFAULT_MAX_RETRIES = 5
"""Times to send a call again after the first, where the connection does not say otherwise."""


class SettingsError(InvalidInputError):
    """A setting is missing or makes no sense. The message names the field, the value (never a token) and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a client needs to know.

    :param base_url: base URL of the API as :func:`normalise_base_url` returns it: scheme, host, no trailing slash.
    :param token: the token.
    :param workspace: name of the workspace that the user expects behind the token, if they said so.
    :param timeout: seconds to wait for an answer, where the call itself asks for no more.
    :param connect_timeout: seconds to wait for a connection.
    :param verify: whether to verify TLS certificates, or the path of a file with the certificate authorities to trust.
    :param proxy: URL of an HTTP proxy; may hold a password, so it is not in the ``repr``.
    :param max_retries: times to send a call again after the first, where that is safe.
    :param user_agent: ``User-Agent`` header.
    :param name: what the user calls the connection that these come from, for messages.
    """

    base_url: str
    token: Token
    workspace: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    connect_timeout: float = 10.0
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)
    max_retries: int = DEFAULT_MAX_RETRIES
    user_agent: str = f"airflow-provider-tinybird/{__version__}"
    name: str | None = None

    @property
    def connection(self) -> str:
        """The connection, in the middle of a sentence."""
        return f"connection '{self.name}'" if self.name else "the connection"


def normalise_base_url(text: str, *, allow_http: bool = False, scheme: str = "", port: int | None = None) -> str:
    """Turn what people write for the API's address into its base URL.

    :param text: host or URL, with or without scheme, port and trailing slash. A path from ``/v0`` or ``/v1`` on is cut off, because
        it comes from copying the URL of one endpoint; any other path stays, for a gateway that serves Tinybird below one.
    :param allow_http: accept plain http for any host, not just for this machine (Tinybird Local in a container network).
    :param scheme: ``http`` or ``https`` for a text that has none itself.
    :param port: port from elsewhere; it must not contradict one in the text.
    :return: such as ``https://api.tinybird.co``: lower case, no trailing slash, no port where it is the scheme's own. A host for
        which no scheme is given gets https, a loopback host http.
    :raises SettingsError: it is no such thing.
    """
    text = text.strip()
    if re.match(r"(?i)(https?://)?(p\.ey|eyj)\w", text):
        raise SettingsError(
            "The API base URL (Host) holds what looks like a token: put the token into Password, and a URL such as "
            "'https://api.tinybird.co' into Host."
        )
    parts, own_port = _split(text)
    if port is not None and own_port not in (None, port):
        raise _refusal(text, f"it holds port {own_port}, but the connection's own Port is {port}; leave that empty")
    port = own_port or port
    host = (parts.hostname or "").lower()
    scheme = parts.scheme or scheme or ("http" if is_loopback(host) else "https")
    if scheme == "http" and not allow_http and not is_loopback(host):
        raise SettingsError(
            f"The API base URL (Host) {_shown(text)!r} is plain http, which would send the token unencrypted. Write "
            f"'https://{host}', or, if this is Tinybird Local inside a network that you trust, set the extra 'allow_http' to true."
        )
    if port == {"http": 80, "https": 443}[scheme]:
        port = None
    shown_host = f"[{host}]" if ":" in host else host
    path = re.sub(r"(/api)?/v[01](/.*)?$", "", parts.path).rstrip("/")
    return f"{scheme}://{shown_host}{'' if port is None else f':{port}'}{path}"


def region_hint(settings: Settings) -> str | None:
    """Say so when the token was made in one region and the host is that of another.

    :return: half a sentence for an error message, or ``None`` when they agree or either is unknown.
    """
    region_of_host = regions.region_by_host(settings.base_url)
    said = regions.token_region(settings.token)
    region_of_token = regions.region_by_id(said) if said else None
    if region_of_host is None or region_of_token is None or region_of_host == region_of_token:
        return None
    return (
        f"the token belongs to region {region_of_token.id} ({region_of_token.base_url}), the connection points at "
        f"{settings.base_url} ({region_of_host.id})"
    )


def _split(text: str) -> tuple[SplitResult, int | None]:
    """Take a URL apart and refuse what cannot be the address of an API."""
    if re.search(r"[\x00-\x1f\x7f]", text):  # some of them would be dropped without a word
        raise _refusal(text, "it holds a control character")
    if _is_ipv6(text):
        text = f"[{text}]"
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        # Its text would repeat parts of the address that may be secret.
        raise _refusal(text, "it cannot be read as a URL") from None
    if parts.scheme not in ("", "http", "https"):
        raise _refusal(text, f"the scheme {parts.scheme!r} is neither https nor http")
    if "@" in parts.netloc:
        raise _refusal(text, "it holds a user or a password; the token belongs into Password")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise _refusal(text, "it holds a query string or a fragment")
    is_name = re.fullmatch(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", host, re.ASCII) is not None and ".." not in host
    if not (is_name or _is_ipv6(host)) or host in ("http", "https"):
        raise _refusal(text, f"{host!r} is no host name" if host else "there is no host in it")
    if port == 0 or re.search(r"[\s\\]|%(?:5c|[01]\w|7f)", parts.path, re.IGNORECASE):
        raise _refusal(text, "it cannot be read as a URL")
    if {".", ".."} & {unquote(part) for part in parts.path.split("/")}:
        raise _refusal(text, "its path has dots that lead elsewhere")
    return parts, port


def _refusal(text: str, why: str) -> SettingsError:
    return SettingsError(
        f"The API base URL (Host) {_shown(text)!r} cannot be used: {why}. Write it like 'https://api.tinybird.co'."
    )


def _shown(text: str) -> str:
    """What of an address may be shown: not its query string, user or password, which can hold the token."""
    address = re.split(r"[?#]", text, maxsplit=1)[0]
    scheme, found, rest = address.partition("://") if "://" in address else ("", "", address)
    return redact(f"{scheme}{found}***@{rest.rpartition('@')[2]}" if "@" in rest else address)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
