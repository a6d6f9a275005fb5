"""An object store in memory, for tests that would need one of a cloud."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import fsspec
from fsspec import AbstractFileSystem

try:
    from airflow.sdk.io import attach
except ImportError:  # 2.11
    from airflow.io.store import attach

SIGNATURE = "5ec3e7c0ffee5ec3e7"


class Bucket(AbstractFileSystem):
    """An object store in memory that signs, as those of S3, Google and Azure do."""

    cachable = False
    protocol = "s3"
    objects: ClassVar[dict[str, bytes]] = {}
    signed: ClassVar[list[tuple[str, int]]] = []
    place = "https://store.example"

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        if name not in self.objects:
            raise FileNotFoundError(name)
        return {"name": name, "size": len(self.objects[name]), "type": "file"}

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        return io.BytesIO(self.objects[self._strip_protocol(path)])

    def sign(self, path: str, expiration: int = 100, **_: Any) -> str:
        self.signed.append((path, expiration))
        if "forbidden" in path:
            raise PermissionError(f"no key for https://x/y?Signature={SIGNATURE}")
        if "odd" in path:
            return "s3://x"
        return f"{self.place}/{path}?n={len(self.signed)}&X-Amz-Signature={SIGNATURE}"


@contextmanager
def bucket_of_s3() -> Iterator[Bucket]:
    """The store behind ``s3://``, with and without a connection (``conn``), empty before and after."""
    fsspec.register_implementation("s3", Bucket, clobber=True)
    files = Bucket()
    for conn_id in (None, "conn"):
        attach("s3", conn_id=conn_id, fs=files)
    files.objects.clear()
    files.signed.clear()
    yield files
    files.objects.clear()
