"""How a load breaks."""

from __future__ import annotations

from airflow_provider_tinybird.api.errors import TinybirdError


class LoadInterruptedError(TinybirdError):
    """A load broke after rows of it were in, or may be. Running it again from the start would double them."""

    retry_can_help = False


class ResumableLoadError(LoadInterruptedError):
    """A load broke, but what is in is known: trying it again sends only what is missing."""

    retry_can_help = True


class SourceChangedError(LoadInterruptedError):
    """The data is not what an earlier attempt of the same load sent in part: going on would mix the two."""
