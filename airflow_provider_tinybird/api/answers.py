"""From what came back, or did not, to a result or the right error. Shared by the sync and the async client."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from airflow_provider_tinybird.api import errors
from airflow_provider_tinybird.api.answer_end import AnswerEnd
from airflow_provider_tinybird.api.call import Call, Repeat, Reply, error_text
from airflow_provider_tinybird.api.proxies import Proxy
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.api.settings import Settings, region_hint

T = TypeVar("T")
_LONGEST_WORDS = 2_000

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

_MEMBERS_OF_OTHERS = frozenset({"timestamp", "path", "error_description", "message", "fault", "statusCode"})
_LONGEST_WAIT = 30 * 24 * 3600.0
_MOST_SHOWN = 100_000

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


def from_transport(
    settings: Settings, call: Call[T], error: httpx.HTTPError, *, proxy: Proxy | None = None, sent: bool = True
) -> errors.TinybirdError:
    """Turn a failure of the connection into an error that says whether the request may have been taken.

    :param proxy: the proxy in between.
    :param sent: whether a byte of the request was handed to the network, where the error itself leaves that open.
    """
    reason = redact(str(error), secret=settings.token.value) or type(error).__name__
    place = where(settings, call)
    if isinstance(error, _NOT_SENT) or not sent:
        return _not_connected(settings, call, error, reason, proxy)
    timed_out = isinstance(error, httpx.TimeoutException)
    cause = "The time for an answer ran out" if timed_out else f"The connection broke before the answer ({reason})"
    if call.repeat is Repeat.ONCE:
        return errors.OutcomeUnknownError(call.what, place, cause, call.find_out)
    return errors.ConnectionFailedError(
        f"Could not {call.what}: {cause[0].lower()}{cause[1:]}. [{place}]", sent=True, timed_out=timed_out
    )


def _not_connected(
    settings: Settings, call: Call[T], error: httpx.HTTPError, reason: str, proxy: Proxy | None
) -> errors.ConnectionFailedError:
    begin = f"Could not {call.what}: no connection to {settings.base_url}"
    place = f"[{where(settings, call)}]"
    if isinstance(error, httpx.ProxyError):
        is_final = re.match(r"40[137]\b", reason) is not None
        way_out = f"Nothing was sent. Check {proxy.source}." if proxy else "Nothing was sent. Check the proxy."
        return errors.ConnectionFailedError(
            f"{begin}: {proxy or 'the proxy'} refused it ({reason}). {way_out} {place}", sent=False, is_final=is_final
        )
    if _is_tls(error):
        return errors.ConnectionFailedError(
            f"{begin} that can be trusted ({reason}). Nothing was sent. Where the certificate is of your own certificate authority, put "
            f"the path of its file (PEM) into the extra 'verify' of {settings.connection}, or into SSL_CERT_FILE or REQUESTS_CA_BUNDLE of "
            f"the environment; otherwise check Host: its name, its port, and whether it speaks https. {place}",
            sent=False,
            is_final=True,
        )
    by = f" through {proxy}" if proxy else ""
    return errors.ConnectionFailedError(
        f"{begin}{by} ({reason}). Nothing was sent. Check Host of {settings.connection}, the network and the proxy. {place}",
        sent=False,
        timed_out=isinstance(error, httpx.TimeoutException),
    )


def _is_tls(error: BaseException) -> bool:
    """Tell a server that cannot be trusted, or speaks no TLS of ours, from a connection that broke while TLS was set up."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        cause = cause.__cause__ or cause.__context__
    return False


def too_late(settings: Settings, call: Call[T]) -> errors.ConnectionFailedError:
    """Say that a call was not sent, since its time was over before."""
    return errors.ConnectionFailedError(
        f"Could not {call.what}: the deadline was over before it was sent. Nothing was sent. [{where(settings, call)}]",
        sent=False,
        timed_out=True,
    )


def from_status(
    settings: Settings,
    call: Call[T],
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    proxy: Proxy | None = None,
    is_cut: bool = False,
) -> errors.TinybirdError:
    """Turn an answer that is no success into the right error. What it says of a call that must go once is decided here and nowhere else:
    an answer that leaves any doubt becomes an :class:`OutcomeUnknownError`, and all else says that nothing was taken.

    :param proxy: the proxy in between.
    :param is_cut: whether the answer came before the whole request was sent, and the connection broke over it.
    """
    words = _Words.of(status, content, settings.token.value)
    answer = errors.Answer(
        status=status,
        text=words.text or "(no text)",
        documentation=words.documentation,
        retry_after=wait_asked_for(status, headers),
        from_tinybird=words.are_tinybirds,
    )
    place = where(settings, call)
    if status == 407 and proxy:
        return errors.ConnectionFailedError(
            f"Could not {call.what}: {proxy} wants a user and a password (HTTP 407: {answer.text}). Nothing reached Tinybird. Check "
            f"{proxy.source}. [{place}]",
            sent=False,
            is_final=True,
        )
    if call.repeat is Repeat.ONCE and not _is_refusal(call, answer, is_cut=is_cut):
        cause = f"{errors.answered(answer)} {_way_out(settings, call, answer, headers)}"
        return errors.OutcomeUnknownError(call.what, place, cause, call.find_out, answer)
    kind = _ERRORS.get(status, errors.ServerError if status >= 500 else errors.BadRequestError)
    if 400 <= status < 500 and is_quota_text(answer.text):
        return errors.JobQuotaError(call.what, place, answer, _QUOTA_WAY_OUT)
    return kind(call.what, place, answer, _way_out(settings, call, answer, headers))


def _is_refusal(call: Call[T], answer: errors.Answer, *, is_cut: bool) -> bool:
    """Tell whether an answer proves that Tinybird did nothing of what it was asked for, or says itself what it did (422).

    A page of a gateway proves nothing by its status: balancers answer 503 also when the server broke off after it had taken the request.
    A body that did not arrive whole cannot have been taken, though, even if a gateway refused it.
    """
    if not answer.from_tinybird:
        return is_cut and 400 <= answer.status < 500
    return (400 <= answer.status < 500 and answer.status != 408) or (answer.status == 503 and call.is_refused_when_busy)


def read(
    settings: Settings,
    call: Call[T],
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    proxy: Proxy | None = None,
    is_cut: bool = False,
) -> T:
    """Turn an answer into the call's result. All answers that are taken into memory come through here.

    :raises TinybirdError: the answer is no success, or cannot be read.
    """
    if not 200 <= status < 300:
        raise from_status(settings, call, status, headers, content, proxy=proxy, is_cut=is_cut)
    broken = broken_off(settings, call, end_of(call, headers, content))
    if isinstance(broken, errors.QueryBrokeError):
        raise broken
    failure: errors.TinybirdError
    try:
        result = call.read(Reply(status, headers, content, call.what))
        if broken is None:
            return result
        failure = broken
    except errors.UnreadableAnswerError as e:
        failure = e
        failure.retry_can_help = e.retry_can_help or _may_pass(call, content)
    except errors.TinybirdError as e:
        failure = e
    except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError, RecursionError) as e:
        failure = unreadable(settings, call, status, content, why=f"{type(e).__name__}: {e}")
    # Raised here: the exceptions above hold pieces of the answer as they came.
    raise _in_doubt(settings, call, failure)


def _in_doubt(settings: Settings, call: Call[T], failure: errors.TinybirdError) -> errors.TinybirdError:
    """Say of an answer that cannot be read what it means: of a call that must go once, that nobody knows whether it was done."""
    if call.repeat is Repeat.ONCE and isinstance(failure, errors.UnreadableAnswerError):
        return errors.UnreadableOutcomeError(call.what, where(settings, call), str(failure), call.find_out)
    return failure


def broken_off(settings: Settings, call: Call[T], end: AnswerEnd | None) -> errors.UnreadableAnswerError | None:
    """Make an error of what is wrong with the end of a query's answer, if something is."""
    trouble = end.trouble() if end else None
    if trouble is None:
        return None
    words = redact(trouble.text[:_LONGEST_WORDS], secret=settings.token.value)
    text = (
        f"Could not {call.what}: Tinybird began the answer with HTTP 200, and then it broke: {words.rstrip('.')}. The rows before "
        f"that are not all, and none of them are kept.{' ' if trouble.way_out else ''}{trouble.way_out} [{where(settings, call)}]"
    )
    if trouble.is_exception:
        return errors.QueryBrokeError(text)
    return errors.UnreadableAnswerError(text, passing=call.repeat is not Repeat.ONCE)


@contextmanager
def whole_answer(
    settings: Settings, call: Call[T], headers: Mapping[str, str], status: int
) -> Iterator[AnswerEnd | None]:
    """See that an answer which is taken piece by piece is whole, before what takes it is closed.

    Newer versions of ClickHouse cut the connection after an exception: then the exception is what is said.

    :return: is to be given the pieces; ``None`` where nobody wants to know the end.
    """
    end = AnswerEnd(call.format, headers) if call.format and 200 <= status < 300 else None
    cut: errors.UnreadableAnswerError | None = None
    try:
        yield end
    except httpx.HTTPError:
        cut = broken_off(settings, call, end)
        if not isinstance(cut, errors.QueryBrokeError):
            raise
    broken = cut or broken_off(settings, call, end)
    if broken is not None:
        raise broken


def end_of(call: Call[T], headers: Mapping[str, str], content: bytes) -> AnswerEnd | None:
    """Look at the end of what is there of a query's answer; ``None`` where nobody wants to know it."""
    if not call.format:
        return None
    end = AnswerEnd(call.format, headers)
    end.add(content)
    return end


def _may_pass(call: Call[T], content: bytes) -> bool:
    """Tell whether an answer that cannot be read is another's, of a call that may be sent again."""
    return call.repeat is not Repeat.ONCE and not isinstance(_parsed(content), dict)


def wait_asked_for(status: int, headers: Mapping[str, str]) -> float | None:
    """Read how long an answer asks to wait: ``Retry-After`` in seconds or as a date, else, of a 429,
    ``X-RateLimit-Reset`` in seconds from now. Other answers carry that header too, but it tells nothing of their trouble.

    :return: seconds, finite; ``None`` where the answer does not say.
    """
    asked = _seconds(headers.get("retry-after", ""))
    if asked is None and status == 429:
        asked = _seconds(headers.get("x-ratelimit-reset", ""), dates=False)
    return asked


def _seconds(text: str, *, dates: bool = True) -> float | None:
    text = text.strip()[:100]
    # What the libraries raise for odd dates differs between their versions: a header is never worth an exception.
    with suppress(ValueError, ArithmeticError, TypeError, LookupError):
        return _bounded(float(text))
    if dates:
        with suppress(ValueError, ArithmeticError, TypeError, LookupError):
            moment = parsedate_to_datetime(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return _bounded((moment - datetime.now(UTC)).total_seconds())
    return None


def _bounded(seconds: float) -> float:
    return min(seconds, _LONGEST_WAIT) if seconds > 0 else 0.0  # nan is not above 0


@dataclass(frozen=True, slots=True)
class _Words:
    """What the body of an error says.

    :param are_tinybirds: whether it is Tinybird's own.
    """

    text: str
    documentation: str | None = None
    are_tinybirds: bool = False

    @classmethod
    def of(cls, status: int, content: bytes, secret: str) -> _Words:
        body = _parsed(content)
        if isinstance(body, dict):
            with suppress(RecursionError):
                said = error_text(body, secret=secret)
                text = said or redact(str(body.get("message") or json.dumps(body)), secret=secret)[:500]
                documentation = body.get("documentation")
                link = redact(documentation, secret=secret) if isinstance(documentation, str) else None
                return cls(text, link, bool(said) and _is_tinybirds(status, body, said))
        text = content[:_MOST_SHOWN].decode("utf-8", errors="replace")
        return cls(redact(" ".join(text.split()), secret=secret)[:500])


def _is_tinybirds(status: int, body: Mapping[str, Any], words: str) -> bool:
    """Tell Tinybird's JSON errors from those of gateways, which have an ``error`` as well.

    Tinybird's have words of their own in ``error`` or ``errors``. Gateways and frameworks repeat the name of the status there, put
    numbers and codes into it (Google's), or have members beside it that Tinybird's do not (Spring's ``timestamp`` and ``path``,
    OAuth's ``error_description``, ``message``).
    """
    if _MEMBERS_OF_OTHERS & body.keys():
        return False
    error = body.get("error")
    if isinstance(error, dict) and isinstance(error.get("code"), int):
        return False
    return status < 500 or words.lower().strip(" .") != http.client.responses.get(status, "").lower()


def _parsed(content: bytes) -> Any:
    """Read JSON; ``None`` where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def unreadable(
    settings: Settings, call: Call[T], status: int, content: bytes, *, why: str = ""
) -> errors.TinybirdError:
    """Say that an answer is not what the API promises.

    :param why: what it lacks.
    """
    secret = settings.token.value
    shown = redact(content[:_MOST_SHOWN].decode("utf-8", errors="replace"), secret=secret)[:500]
    reason = f" ({redact(why, secret=secret)[:200]})" if why else ""
    failure = errors.UnreadableAnswerError(
        f"Tinybird answered HTTP {status} to '{call.what}', but not as its API promises: {shown!r}{reason}. [{where(settings, call)}]",
        passing=_may_pass(call, content),
    )
    return _in_doubt(settings, call, failure)


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
