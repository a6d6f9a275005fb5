"""The releases of Airflow that the tests are run beside, and the lists of everything that goes with each: ``make lock-matrix``.

Airflow publishes for each release the versions of all packages that it was tested with, and tells users to install by them. These lists
are made the same way: first what was newest in the days of the release, with nothing of this package; then this package, its extras and the
tools of its tests, which must fit in without moving any of it. When they do not there is no list, and a user would have met the same.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from environments import ROOT, InstallError, run


@dataclass(frozen=True)
class Release:
    """A release of Airflow.

    :param until: the day after which packages are too new for it, a few days after the release.
    """

    version: str
    until: str

    @property
    def list_name(self) -> str:
        """Name of its list and of its environment."""
        return f"airflow-{self.version}"

    @property
    def list_path(self) -> Path:
        """Its list."""
        return ROOT / "requirements" / f"{self.list_name}.txt"

    @property
    def beside(self) -> str:
        """What its users have, as requirements: Airflow, and what its published versions name of that which this package asks for."""
        return f"apache-airflow[pandas,common-sql,openlineage]=={self.version}\npyarrow\n"


RELEASES = (
    Release("2.11.2", "2026-03-15"),
    Release("3.0.6", "2025-09-01"),
    Release("3.1.8", "2026-03-13"),
    Release("3.2.2", "2026-05-31"),
    Release("3.3.2", "2026-09-20"),
)


def write_list(release: Release) -> None:
    """Write the list of a release anew.

    :raises InstallError: this package does not fit in.
    """
    options: list[str | Path] = ["--quiet", "--universal", "--python-version", "3.11", "--no-annotate"]
    command: list[str | Path] = [Path(sys.executable).with_name("uv"), "pip", "compile", *options]
    with tempfile.TemporaryDirectory() as name:
        asked, theirs = Path(name, "asked.in"), Path(name, "theirs.txt")
        asked.write_text(release.beside)
        # Of the main index alone: the extra ones that some machines have may not know when a file was published.
        dated: list[str | Path] = ["--exclude-newer", release.until, "--output-file", theirs, asked]
        run([*command, "--no-header", *dated], UV_INDEX="", UV_FIND_LINKS="")
        release.list_path.unlink(missing_ok=True)  # versions in it would be kept
        ours: list[str | Path] = ["--extra", "sandbox", "--extra", "sql", "--group", "test", "--constraint", theirs]
        ours += ["--custom-compile-command", "make lock-matrix", "--output-file", release.list_path]
        run([*command, *ours, "pyproject.toml", asked])


def main(versions: Sequence[str]) -> int:
    """Write the lists of all releases, or of those that are named; return the exit code."""
    for release in RELEASES:
        if not versions or release.version in versions:
            try:
                write_list(release)
            except InstallError as reason:
                print(f"{release.version}: this package does not fit in.\n{reason}", file=sys.stderr)
                return 1
            print(f"written: {release.list_path.relative_to(ROOT)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
