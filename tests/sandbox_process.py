"""The sandbox as a process of its own, for tests: that of the package, which users' tests have too."""

from __future__ import annotations

from airflow_provider_tinybird.sandbox.process import READY, SandboxProcess

__all__ = ["READY", "SandboxProcess"]
