"""From what came back, or did not, to a result or the right error. Shared by the sync and the async client."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx

from airflow_provider_tinybird.api import errors
from airflow_provider_tinybird.api.call import Call, Repeat, Reply, error_text
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.api.settings import Settings, region_hint

T = TypeVar("T")

_ERRORS: dict[int, type[errors.ApiError]] = {
    401: errors.AccessDeniedError,
    403: errors.AccessDeniedError,
    404: errors.NotFoundError,
    408: errors.QueryTimeoutError,
    409: errors.ConflictError,
    413: errors.PayloadTooLargeError,
    422: errors.PartiallyIngestedError,
    429: errors.RateLimitedError,
}

# Other refusals have the same status, so it takes the words to tell a token that is unknown from one that may not.
_UNKNOWN_TOKEN = re.compile(r"invalid (authentication )?token", re.IGNORECASE)
_WAYS_OUT: dict[int, str] = {
    408: "The query took longer than Tinybird allows: narrow it, or raise the limit of your plan.",
    411: "Something between here and Tinybird dropped the Content-Length header.",
    413: "The body is larger than your plan allows: send smaller pieces, or let Tinybird fetch a URL.",
    414: "The request line is too long: send the parameters by POST.",
    422: "Part of the rows are in and a materialized view failed. Mend the view; sending the rows again would double what is in.",
    429: "More requests than the plan allows: start fewer tasks at once (an Airflow pool), or raise the limit.",
}

# Users report "You have reached the maximum number of copy jobs"; the words for other kinds are taken to be alike.
_QUOTA = re.compile(r"maximum number of (?:\w+ ){0,3}jobs", re.IGNORECASE)
_TOO_LARGE = re.compile(
    r"memory.{0,40}(?:limit|exceed)|(?:not enough|out of) memory|(?<!connect )(?<!connection )time[ _-]?(?:out|limit).{0,20}exceed"
    r"|exceed\w*.{0,40}(?:(?:execution|maximum|allowed|max) time|time limit|timeout|memory)|max_execution_time"
    r"|code: (?:159|160|241)\b|too_slow",
    re.IGNORECASE,
)
_QUOTA_WAY_OUT = (
    "Nothing was started: run fewer at once (an Airflow pool), or try again when one of the running jobs is over."
)

# Nothing left this machine when these are raised; every other transport error may come after Tinybird took the request.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


def is_quota_text(text: str) -> bool:
    """Tell from Tinybird's words that as many jobs run as the plan allows.

    There is no code for it: the status is 403, as for a missing scope, or the job itself ends in an error with these words.
    """
    return _QUOTA.search(text) is not None


def is_too_large_text(text: str) -> bool:
    """Tell from Tinybird's or ClickHouse's words that a query took more memory or time than it may, so that a smaller one may do.

    There is no code for it in a job: ClickHouse names its errors 241 (MEMORY_LIMIT_EXCEEDED) and 159 (TIMEOUT_EXCEEDED), and users of
    Tinybird report "Timeout exceeded". A connection that timed out is another thing.
    """
    return _TOO_LARGE.search(text) is not None


def where(settings: Settings, call: Call[T]) -> str:
    """Name a request for messages, without its query string."""
    return f"{call.method} {settings.base_url}{call.path}"


def from_transport(settings: Settings, call: Call[T], error: httpx.HTTPError) -> errors.TinybirdError:
    """Turn a failure of the connection into an error that says whether the request may have been taken."""
    reason = redact(str(error), secret=settings.token.value) or type(error).__name__
    place = where(settings, call)
    if isinstance(error, _NOT_SENT):
        by = " through the proxy" if settings.proxy else ""
        return errors.ConnectionFailedError(
            f"Could not {call.what}: no connection to {settings.base_url}{by} ({reason}). Nothing was sent. Check Host of "
            f"{settings.connection}, the network and the proxy. [{place}]",
            sent=False,
        )
    timed_out = isinstance(error, httpx.TimeoutException)
    cause = "The time for an answer ran out" if timed_out else f"The connection broke before the answer ({reason})"
    if call.repeat is Repeat.ONCE:
        return errors.OutcomeUnknownError(call.what, place, cause, call.find_out)
    return errors.ConnectionFailedError(
        f"Could not {call.what}: {cause[0].lower()}{cause[1:]}. [{place}]", sent=True, timed_out=timed_out
    )


def from_status(
    settings: Settings, call: Call[T], status: int, headers: Mapping[str, str], content: bytes
) -> errors.TinybirdError:
    """Turn an answer that is no success into the right error."""
    text, documentation = _words(content, settings.token.value)
    answer = errors.Answer(
        status=status,
        text=text or "(no text)",
        documentation=documentation,
        retry_after=wait_asked_for(status, headers),
        from_tinybird=_is_tinybirds(content),
    )
    place = where(settings, call)
    may_be_done = status >= 500 or status == 408
    if call.repeat is Repeat.ONCE and may_be_done and status not in call.not_taken:
        cause = f"Tinybird answered HTTP {status}: {answer.text}"
        return errors.OutcomeUnknownError(call.what, place, cause, call.find_out)
    kind = _ERRORS.get(status, errors.ServerError if status >= 500 else errors.BadRequestError)
    if 400 <= status < 500 and is_quota_text(text):
        return errors.JobQuotaError(call.what, place, answer, _QUOTA_WAY_OUT)
    return kind(call.what, place, answer, _way_out(settings, call, answer, headers))


def read(settings: Settings, call: Call[T], status: int, headers: Mapping[str, str], content: bytes) -> T:
    """Turn an answer into the call's result.

    :raises TinybirdError: the answer is no success, or cannot be read.
    """
    if not 200 <= status < 300:
        raise from_status(settings, call, status, headers, content)
    try:
        return call.read(Reply(status, headers, content, call.what))
    except errors.TinybirdError:
        raise
    except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as e:
        raise _unreadable(settings, call, status, content) from e


def wait_asked_for(status: int, headers: Mapping[str, str]) -> float | None:
    """Read how long an answer asks to wait: ``Retry-After`` in seconds or as a date, else, of a 429,
    ``X-RateLimit-Reset`` in seconds from now. Other answers carry that header too, but it tells nothing of their trouble.

    :return: seconds, ``None`` where the answer does not say.
    """
    after = headers.get("retry-after", "").strip()
    if after:
        try:
            return max(0.0, float(after))
        except ValueError:
            pass
        try:
            moment = parsedate_to_datetime(after)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return max(0.0, (moment - datetime.now(UTC)).total_seconds())
        except ValueError:
            pass
    if status != 429:
        return None
    try:
        return max(0.0, float(headers["x-ratelimit-reset"]))
    except (KeyError, ValueError):
        return None


def _words(content: bytes, secret: str) -> tuple[str, str | None]:
    """Take Tinybird's own words and the link to its documentation out of an error's body, which may also come from a
    proxy.
    """
    text = content.decode("utf-8", errors="replace").strip()
    try:
        body = json.loads(text)
    except ValueError:
        return redact(" ".join(text.split()), secret=secret)[:500], None
    if not isinstance(body, dict):
        return redact(text, secret=secret)[:500], None
    words = error_text(body, secret=secret) or redact(str(body.get("message") or text), secret=secret)
    documentation = body.get("documentation")
    return words, redact(documentation, secret=secret) if isinstance(documentation, str) else None


def _is_tinybirds(content: bytes) -> bool:
    try:
        body = json.loads(content)
    except ValueError:
        return False
    return isinstance(body, dict) and ("error" in body or "errors" in body)


def _unreadable(settings: Settings, call: Call[T], status: int, content: bytes) -> errors.UnreadableAnswerError:
    shown = redact(content.decode("utf-8", errors="replace"), secret=settings.token.value)[:500]
    return errors.UnreadableAnswerError(
        f"Tinybird answered HTTP {status} to '{call.what}', but not as its API promises: {shown!r}. [{where(settings, call)}]"
    )


def _way_out(settings: Settings, call: Call[T], answer: errors.Answer, headers: Mapping[str, str]) -> str:
    status = answer.status
    if status in (401, 403, 404):
        hint = region_hint(settings)
        if hint:
            return f"The likely reason: {hint}."
    if status in (401, 403) and _UNKNOWN_TOKEN.search(answer.text):
        return (
            f"Tinybird does not know the token of {settings.connection}: it was deleted or refreshed, or it is of another region. "
            "Put a token of the workspace into its Password."
        )
    if status in (401, 403):
        need = f"the scope {call.scope} (or ADMIN)" if call.scope else "the scope for this"
        token = f"The token of {settings.connection}"
        return f"{token} needs {need} in the workspace that owns it; a job limit of the plan also answers with 403."
    if status == 404:
        return f"Check the name, and that {settings.base_url} is the region of the token's workspace."
    if 300 <= status < 400:
        return f"The host redirects to {redact(headers.get('location', 'nowhere'))}: put the final address into the connection's Host."
    return _WAYS_OUT.get(status, "")
