"""The set-up of a clone: that uv looks where pip is told to look, and that it knows a finished ``.venv`` from all others."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_setup", ROOT / "scripts" / "setup.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Forget what the machine says about pip and uv."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    return monkeypatch


def publish(index: Path, name: str, version: str) -> None:
    """Put an empty package into a package index made of files."""
    page = index / name
    page.mkdir(parents=True, exist_ok=True)
    wheel = page / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as opened:
        opened.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        opened.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        opened.writestr(f"{info}/RECORD", "")
    links = "".join(f'<a href="{path.name}">{path.name}</a>' for path in sorted(page.glob("*.whl")))
    (page / "index.html").write_text(f"<html><body>{links}</body></html>")


def resolve(requirement: str, env: dict[str, str], folder: Path) -> str:
    """Return the pin that uv finds for a requirement."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "-"]
    done = subprocess.run(
        command,
        input=requirement,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**env, "UV_CACHE_DIR": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("source", ["file", "environment"])
def test_uv_takes_the_index_that_pip_is_told(
    source: str, setup: ModuleType, no_settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    index = tmp_path / "simple"
    publish(index, "onlyhere", "1.0")
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = {index.as_uri()}\n" if source == "file" else "")
    no_settings.setenv("PIP_CONFIG_FILE", str(configuration))
    if source == "environment":
        no_settings.setenv("PIP_INDEX_URL", index.as_uri())
    env = setup.uv_environment(setup.pip_settings(Path(sys.executable)))
    assert resolve("onlyhere", env, tmp_path) == "onlyhere==1.0"


def test_of_several_indexes_uv_takes_the_one_with_the_version_as_pip_does(
    setup: ModuleType, no_settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, version in (("a", "1.0"), ("b", "1.1"), ("main", "2.0")):
        publish(tmp_path / name, "several", version)
    configuration = tmp_path / "pip.conf"
    extra = "\n  ".join((tmp_path / name).as_uri() for name in "ab")
    configuration.write_text(f"[global]\nindex-url = {(tmp_path / 'main').as_uri()}\nextra-index-url = {extra}\n")
    no_settings.setenv("PIP_CONFIG_FILE", str(configuration))
    env = setup.uv_environment(setup.pip_settings(Path(sys.executable)))
    assert [resolve(f"several=={v}", env, tmp_path) for v in ("1.0", "1.1", "2.0")] == [
        "several==1.0",
        "several==1.1",
        "several==2.0",
    ]


def test_what_is_set_for_uv_wins(setup: ModuleType, no_settings: pytest.MonkeyPatch) -> None:
    no_settings.setenv("UV_DEFAULT_INDEX", "file:///for-uv")
    env = setup.uv_environment({"index-url": "file:///for-pip", "cert": "/certificates.pem"})
    assert env["UV_DEFAULT_INDEX"] == "file:///for-uv"


def test_certificates_of_pip_are_those_of_uv(setup: ModuleType, no_settings: pytest.MonkeyPatch) -> None:
    no_settings.delenv("SSL_CERT_FILE", raising=False)
    assert setup.uv_environment({"cert": "/certificates.pem"})["SSL_CERT_FILE"] == "/certificates.pem"


@pytest.fixture
def clone(setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for a clone whose ``.venv`` is finished."""
    version_file = tmp_path / "airflow_provider_tinybird" / "__init__.py"
    requirements = tmp_path / "requirements" / "dev.txt"
    for path in (version_file, requirements):
        path.parent.mkdir()
        path.write_bytes((ROOT / path.relative_to(tmp_path)).read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    venv = tmp_path / ".venv"
    places = {
        "ROOT": tmp_path,
        "VENV": venv,
        "PYTHON": venv / "bin" / "python",
        "STAMP": venv / "setup-stamp.json",
        "REQUIREMENTS": requirements,
        "VERSION_FILE": version_file,
    }
    for name, place in places.items():
        monkeypatch.setattr(setup, name, place)
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    setup.Stamp.wanted().write()
    return tmp_path


def test_finished_is_recognised(clone: Path, setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with (clone / "pyproject.toml").open("a") as project:
        project.write("\n[tool.new-linter]\nstrict = true\n")  # nothing that is installed
    monkeypatch.setattr(setup, "install", lambda lock: pytest.fail("installs again"))
    setup.set_up(lock=-1)
    assert setup.Stamp.found() == setup.Stamp.wanted()


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("requirements/dev.txt", "httpx==", "httpx==9"),
        ("pyproject.toml", '"httpx>=', '"httpx>=9'),
        ("airflow_provider_tinybird/__init__.py", '"0.', '"90.'),
    ],
)
def test_change_of_what_is_installed_installs_over_it(
    clone: Path, setup: ModuleType, path: str, old: str, new: str
) -> None:
    text = (clone / path).read_text()
    assert old in text
    (clone / path).write_text(text.replace(old, new))
    found = setup.Stamp.found()
    assert found != setup.Stamp.wanted()
    assert found.home == setup.Stamp.wanted().home


def test_lost_python_makes_it_anew(clone: Path, setup: ModuleType) -> None:
    (clone / ".venv" / "bin" / "python").unlink()
    (clone / ".venv" / "bin" / "python").symlink_to(clone / "uninstalled")
    assert setup.Stamp.found() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"home": "x"}'])
def test_torn_stamp_makes_it_anew(clone: Path, setup: ModuleType, text: str) -> None:
    (clone / ".venv" / "setup-stamp.json").write_text(text)
    assert setup.Stamp.found() is None


def test_failed_set_up_is_not_taken_for_a_finished_one(
    clone: Path, setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(lock: int) -> str:
        raise setup.SetupError("no network")

    (clone / "requirements" / "dev.txt").write_text("httpx==9\n")
    monkeypatch.setattr(setup, "install", install)
    with pytest.raises(setup.SetupError, match="no network"):
        setup.set_up(lock=-1)
    assert setup.Stamp.found() is None
