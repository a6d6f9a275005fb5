"""An Airflow connection of type ``tinybird`` -> :class:`~airflow_provider_tinybird.api.settings.Settings`, and its form."""

from __future__ import annotations

import math
import os
import re
import ssl
from collections.abc import Mapping
from typing import Any, Protocol

from airflow_provider_tinybird import get_provider_info as form
from airflow_provider_tinybird._compat import placeholder_of_secrets
from airflow_provider_tinybird.api import regions
from airflow_provider_tinybird.api.proxies import checked
from airflow_provider_tinybird.api.redact import Token, redact
from airflow_provider_tinybird.api.settings import (
    DEFAULT_MAX_RETRIES,
    DEFAULT_TIMEOUT,
    Settings,
    SettingsError,
    normalise_base_url,
)

_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})


class ConnectionLike(Protocol):
    """What is read of a connection: Airflow's own classes have it, and so has ``_compat.ConnectionFields``."""

    @property
    def conn_id(self) -> str | None:
        """Id, for messages."""

    @property
    def host(self) -> str | None:
        """Base URL of the API, or a part of it."""

    @property
    def schema(self) -> str | None:
        """``http`` or ``https``, where the host does not say it."""

    @property
    def port(self) -> int | None:
        """Port, where the host does not say it."""

    @property
    def login(self) -> str | None:
        """Nothing; a token that got here by mistake is noticed."""

    @property
    def password(self) -> str | None:
        """The token."""

    @property
    def extra_dejson(self) -> Mapping[str, Any]:
        """The extra."""


def settings_from_connection(connection: ConnectionLike) -> Settings:
    """Read the settings out of an Airflow connection, however it was defined.

    Empty text and nothing are the same everywhere, because Airflow's caches and forms turn one into the other. Extras may come as text
    (URIs, older forms) or typed (JSON).

    :param connection: Airflow's connection, or anything with the same fields.
    :raises SettingsError: something is missing or makes no sense; the message names the connection, the field and the way out.
    """
    try:
        _check_type(connection)
        return _read(connection)
    except SettingsError as e:
        raise SettingsError(f"Connection '{connection.conn_id}': {e}") from None


def _read(connection: ConnectionLike) -> Settings:
    extra = _extra(connection)
    token = _token(connection, extra)
    return Settings(
        base_url=_base_url(connection, extra, token),
        token=token,
        workspace=_text(extra, "workspace"),
        timeout=_seconds(extra, "timeout", DEFAULT_TIMEOUT),
        verify=_verify(extra),
        proxy=_proxy(extra),
        max_retries=_count(extra, "max_retries", DEFAULT_MAX_RETRIES),
        name=connection.conn_id,
    )


def _check_type(connection: ConnectionLike) -> None:
    """Refuse a connection that is meant for something else. Variables of the environment need not say what type they are of."""
    kind = (getattr(connection, "conn_type", None) or "").strip()
    if kind.lower() not in ("", "generic", form.CONNECTION_TYPE):
        raise SettingsError(
            f"Its type is {_shown(kind)}, not '{form.CONNECTION_TYPE}'. Set its Connection Type to '{form.CONNECTION_TYPE}', or give "
            "another connection as tinybird_conn_id."
        )


# --- where ---


def _base_url(connection: ConnectionLike, extra: Mapping[str, Any], token: Token) -> str:
    allow_http = _switch(extra, "allow_http", default=False)
    named = _text(extra, "region")
    host = (connection.host or "").strip()
    if not host:
        return (_named_region(named) if named else _region_of(token)).base_url
    base_url = normalise_base_url(host, allow_http=allow_http, scheme=_scheme(connection), port=_port(connection))
    of_host, of_extra = regions.region_by_host(base_url), regions.region_by_id(named or "")
    if of_host and of_extra and of_host != of_extra:
        raise SettingsError(
            f"Host is {base_url} (region {of_host.id}), but the extra 'region' says {of_extra.id} ({of_extra.base_url}). Leave one of "
            "them empty."
        )
    return base_url


def _scheme(connection: ConnectionLike) -> str:
    """Read the scheme out of Schema, where some forms of URI put what stands after the host."""
    schema = (connection.schema or "").strip().lower()
    if schema in ("", "http", "https"):
        return schema
    if re.fullmatch(r"(api/)?v[01](/.*)?", schema):
        return ""
    raise SettingsError(
        f"Schema is {_shown(schema)}, which is neither 'https' nor 'http'. Leave it empty and put the whole base URL into Host. In a "
        "connection URI the base URL must be percent-encoded, as in 'tinybird://:TOKEN@https%3A%2F%2Fapi.tinybird.co'."
    )


def _port(connection: ConnectionLike) -> int | None:
    port = connection.port
    if port in (None, "", 0):
        return None
    try:
        number = int(port)
    except ValueError:
        number = -1
    if not 0 < number < 65536:
        raise SettingsError(
            f"Port is {_shown(port)}, which is no number from 1 to 65535. Leave it empty or correct it."
        )
    return number


def _named_region(name: str) -> regions.Region:
    region = regions.region_by_id(name)
    if region is None:
        raise SettingsError(
            f"The extra 'region' is {_shown(name)}, which is not a region that this version knows. Put the API base URL of your "
            f"workspace into Host, or name one of these regions: {_list_of_regions()}."
        )
    return region


def _region_of(token: Token) -> regions.Region:
    said = regions.token_region(token)
    region = regions.region_by_id(said) if said else None
    if region is None:
        reason = (
            f"the token's region, {said}, is not known to this version" if said else "the token does not say its region"
        )
        raise SettingsError(
            f"Host is empty, there is no extra 'region', and {reason}. Put the API base URL of your workspace into Host (Tinybird's UI "
            f"shows it beside the token), or set the extra 'region'. The regions are: {_list_of_regions()}; Tinybird Local is at "
            f"{regions.LOCAL.base_url}."
        )
    return region


def _list_of_regions() -> str:
    return ", ".join(f"{region.id} ({region.base_url})" for region in regions.REGIONS)


# --- the token ---


def _token(connection: ConnectionLike, extra: Mapping[str, Any]) -> Token:
    text = (connection.password or "").strip()
    if not text:
        if extra.get("token"):
            raise SettingsError(
                "Password is empty, and the extra has a 'token'. The token belongs into Password: move it there."
            )
        if (connection.login or "").strip():
            raise SettingsError("Password is empty, and Login is not. The token belongs into Password: move it there.")
        raise SettingsError(
            "Password is empty. Put a Tinybird token into it: one with the scopes that your tasks need, from the Tokens page of the "
            "workspace."
        )
    if re.match(r"bearer\b", text, re.IGNORECASE):
        raise SettingsError(
            "Password begins with 'Bearer': put the token alone into it, the rest of the header is added."
        )
    if set(text) == {"*"}:
        raise SettingsError(
            "Password holds asterisks, as Airflow shows in place of a secret: put the token itself into it."
        )
    if not re.fullmatch(r"[!-~]+", text):
        raise SettingsError(
            "Password has white space or other characters inside that no token has: copy the token again, in one piece."
        )
    return Token(text)


# --- extras ---


def _extra(connection: ConnectionLike) -> dict[str, Any]:
    """Return the extras that say something. Connections saved by old forms have the names prefixed."""
    extra = connection.extra_dejson
    if not isinstance(extra, Mapping):
        raise SettingsError(f'Extra is a JSON {type(extra).__name__}; it must be an object such as {{"timeout": 30}}.')
    prefix = f"extra__{form.CONNECTION_TYPE}__"
    prefixed = {
        key.removeprefix(prefix): value for key, value in extra.items() if key.startswith(prefix) and _says(value)
    }
    return prefixed | {key: value for key, value in extra.items() if not key.startswith(prefix) and _says(value)}


def _says(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and not value.strip())


def _text(extra: Mapping[str, Any], name: str) -> str | None:
    value = extra.get(name)
    if value is None:
        return None
    # Newer versions read a URI's extras as JSON, so that a workspace called 2024 arrives as a number.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _refusal(name, value, "text")
    return str(value).strip()


def _switch(extra: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = extra.get(name, default)
    found = _as_bool(value)
    if found is None:
        raise _refusal(name, value, "true or false")
    return found


def _as_bool(value: Any) -> bool | None:
    text = str(value).strip().lower() if isinstance(value, bool | int | str) else ""
    return True if text in _TRUE else False if text in _FALSE else None


def _seconds(extra: Mapping[str, Any], name: str, default: float) -> float:
    number = _number(extra.get(name, default))
    if number is None or number <= 0:
        raise _refusal(name, extra[name], "a number of seconds above 0, such as 30")
    return number


def _count(extra: Mapping[str, Any], name: str, default: int) -> int:
    number = _number(extra.get(name, default))
    if number is None or number < 0 or number != int(number):
        raise _refusal(name, extra[name], "a whole number, 0 or more")
    return int(number)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _verify(extra: Mapping[str, Any]) -> bool | str:
    value = extra.get("verify", True)
    found = _as_bool(value)
    if found is not None:
        return found
    path = os.path.expanduser(value.strip()) if isinstance(value, str) else ""
    if not os.path.isfile(path):
        raise _refusal(
            "verify", value, "true, false, or the path of a file on this machine with certificate authorities (PEM)"
        )
    try:
        ssl.create_default_context(cafile=path)
    except OSError as e:  # SSLError is one, and so is a file that must not be read
        wanted = f"the path of a file with certificate authorities (PEM), but reading it failed: {e}"
        raise _refusal("verify", value, wanted) from None
    return path


def _proxy(extra: Mapping[str, Any]) -> str | None:
    proxy = _text(extra, "proxy")
    if proxy is None:
        return None
    return checked(proxy, "The extra 'proxy'")


def _refusal(name: str, value: Any, wanted: str) -> SettingsError:
    return SettingsError(f"The extra '{name}' is {_shown(value)}; it must be {wanted}.")


def _shown(value: Any) -> str:
    text = redact(repr(value))
    return text if len(text) <= 100 else f"{text[:100]}..."


# --- the form, for Airflow before 3.2; newer ones read the same from the provider's metadata ---


def connection_form_widgets() -> dict[str, Any]:
    """Return the form's fields for the hook's ``get_connection_form_widgets``.

    :raises ImportError: without Flask-AppBuilder and WTForms; Airflow expects that and goes without the fields.
    """
    # Imported here because 3.1 swaps these names for its own while it calls this.
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from wtforms import BooleanField, PasswordField, StringField
    from wtforms.validators import Optional, any_of

    class KeepsWhatIsStored(BS3PasswordFieldWidget):  # type: ignore[misc]
        """A field for a secret that survives an edit of something else.

        2.11 shows a stored secret as an empty field, and takes an empty field for one to be removed. So the field holds Airflow's own
        sign for "as it was", never the secret.
        """

        def __call__(self, field: Any, **kwargs: Any) -> Any:
            unchanged = placeholder_of_secrets()
            was_typed = bool(field.raw_data) and field.data != unchanged
            self.hide_value = False
            return super().__call__(field, **{**kwargs, "value": "" if was_typed or not field.data else unchanged})

    def widget(extra: form.FormField) -> Any:
        match extra.kind:
            case form.FieldKind.SWITCH:
                return BooleanField(extra.label, description=extra.description, default=extra.default)
            case form.FieldKind.MASKED:
                return PasswordField(
                    extra.label, validators=[Optional()], description=extra.description, widget=KeepsWhatIsStored()
                )
        # Numbers are texts here: on 2.11 a number field would lose a 0 when somebody edits the connection.
        checks = [Optional(), any_of(list(extra.choices))] if extra.choices else [Optional()]
        return StringField(extra.label, validators=checks, description=extra.description, widget=BS3TextFieldWidget())

    return {extra.name: widget(extra) for extra in form.EXTRA_FIELDS}


def ui_field_behaviour() -> dict[str, Any]:
    """Return what the form hides and how it names the rest, for the hook's ``get_ui_field_behaviour``."""
    return {
        "hidden_fields": list(form.HIDDEN_FIELDS),
        "relabeling": dict(form.RELABELING),
        "placeholders": dict(form.PLACEHOLDERS),
    }
