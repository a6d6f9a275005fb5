"""Addresses under which Tinybird can fetch a file of an object store for some hours. Anyone who has one can read the file."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from airflow_provider_tinybird._compat import ObjectStoragePath, mask_secret
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.redact import redact

VALID_FOR = 6 * 3600
"""Seconds that an address is good for: imports wait in a queue before they are fetched."""

_WAY_OUT = "Leave by_url out, so that this worker sends the file."


def presigned_url(path: str | os.PathLike[str]) -> str:
    """Have the storage sign an address for reading a file, and have Airflow mask it in logs.

    :param path: URL such as ``s3://aws_default@bucket/day.parquet``. S3, Google Cloud Storage and Azure Blob Storage sign, each
        with what its Airflow connection allows.
    :raises InvalidInputError: the file is on this worker, or its storage cannot sign.
    """
    text = str(path)
    scheme = urlsplit(text).scheme
    if scheme in ("", "file", "local"):
        raise InvalidInputError(
            f"by_url=True, but {text!r} is on this worker, where Tinybird cannot fetch it. {_WAY_OUT}"
        )
    if scheme in ("http", "https"):
        raise InvalidInputError(f"{redact(text)!r} is an address already: give it to TinybirdAppendUrlOperator.")
    try:
        url = ObjectStoragePath(text).sign(expiration=VALID_FOR)
    except Exception as e:  # each storage raises its own, from a missing key to NotImplementedError
        why = redact(str(e)) or type(e).__name__
        raise InvalidInputError(f"The storage of {text!r} cannot sign an address ({why}). {_WAY_OUT}") from None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise InvalidInputError(f"The storage of {text!r} signs no address that Tinybird can fetch. {_WAY_OUT}")
    if parts.query:
        mask_secret(parts.query)
    return str(url)
