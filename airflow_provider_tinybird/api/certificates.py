"""Which certificate authorities are trusted."""

from __future__ import annotations

import logging
import os
import ssl
from functools import lru_cache

import httpx

from airflow_provider_tinybird.api.proxies import Proxy
from airflow_provider_tinybird.api.settings import Settings, SettingsError

log = logging.getLogger(__name__)

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables of the environment that name certificate authorities. Those of all that are set are trusted, and no others."""


def context_of(settings: Settings, proxy: Proxy | None = None) -> ssl.SSLContext:
    """Make the TLS context for a host. The extra ``verify`` counts alone where it says something.

    :param proxy: the proxy in between, which may speak TLS as well.
    :raises SettingsError: a variable names authorities that cannot be read.
    """
    if not settings.base_url.startswith("https:") and not (proxy and proxy.url.startswith("https:")):
        return _unverified()
    return _context(settings.verify, tuple((name, os.environ.get(name) or "") for name in VARIABLES))


@lru_cache(maxsize=8)
def _context(verify: bool | str, named: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    """Make a context once for each setting: loading certificates takes 16 ms, which blocks an event loop each time."""
    if verify is False:
        log.warning(
            "The Tinybird connection does not verify TLS certificates ('verify' is false): anyone on the way can read the token."
        )
        return _unverified()
    if verify is not True:
        return ssl.create_default_context(cafile=verify)
    context: ssl.SSLContext | None = None
    for name, place in named:
        if not place:
            continue
        is_folder = os.path.isdir(place)
        file, folder = (None, place) if is_folder else (place, None)
        try:
            if context is None:
                context = ssl.create_default_context(cafile=file, capath=folder)
            else:
                context.load_verify_locations(cafile=file, capath=folder)
        except (OSError, ValueError) as e:
            raise SettingsError(
                f"{name} of the environment is {place!r}, which cannot be read as certificate authorities (PEM): {e}. Correct it, or "
                "put the path of a file with the authorities to trust into the extra 'verify', which then counts alone."
            ) from None
    return context or httpx.create_ssl_context(trust_env=False)


@lru_cache(maxsize=1)
def _unverified() -> ssl.SSLContext:
    return httpx.create_ssl_context(verify=False, trust_env=False)
