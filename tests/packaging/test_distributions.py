"""The real source distribution and the real pure wheel: all that belongs in them, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "vendor", "__pycache__", "*.egg-info", ".*_cache", "*.so"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """(names in the sdist, names in the pure wheel), made from a copy of this tree."""
    if not (ROOT / "setup.py").is_file():
        pytest.skip("not in a source tree")
    pytest.importorskip("build")
    copy = tmp_path_factory.mktemp("sources") / "copy"
    shutil.copytree(ROOT, copy, ignore=PRIVATE)
    for have in (ROOT / "vendor" / "llhttp", ROOT / "build" / "llhttp"):
        if have.is_dir():  # spares a download
            shutil.copytree(have, copy / "build" / "llhttp", dirs_exist_ok=True)
    environment = {**os.environ, "ASGISERVE_EXTENSIONS": "off"}
    result = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check", str(copy)],
        cwd=copy,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout
    (sdist,) = (copy / "dist").glob("*.tar.gz")
    (wheel,) = (copy / "dist").glob("*.whl")
    with tarfile.open(sdist) as tar:
        in_sdist = {name.partition("/")[2] for name in tar.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    return in_sdist, in_wheel, wheel.name


def sources(*folders):
    """Files of the project below `folders`, relative to its root."""
    skipped = {"__pycache__", "results", ".pytest_cache"}
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and not skipped.intersection(path.parts) and path.suffix not in (".so", ".pyd", ".pyc"):
                yield path.relative_to(ROOT).as_posix()


def test_sdist_has_the_whole_project(distributions):
    in_sdist = distributions[0]
    wanted = {"setup.py", "build_llhttp.py", "pyproject.toml", "Makefile", "LICENSE", "README.md", "CHANGELOG.md"}
    wanted |= set(sources("asgiserve", "tests", "examples", "bench", "docs", ".ci", ".github"))
    assert sorted(wanted - in_sdist) == []


def test_sdist_brings_llhttp_with_its_licence(distributions):
    names = {name for name in distributions[0] if name.startswith("vendor/llhttp/") and "." in name}
    assert "vendor/llhttp/LICENSE" in distributions[0]
    assert names == {
        f"vendor/llhttp/{name}" for name in ("src/api.c", "src/http.c", "src/llhttp.c", "include/llhttp.h")
    }


def test_sdist_has_nothing_built(distributions):
    assert [name for name in distributions[0] if name.endswith((".so", ".pyd", ".pyc")) or "/build/" in name] == []


def test_pure_wheel(distributions):
    in_wheel, name = distributions[1:]
    assert name.endswith("-py3-none-any.whl")
    assert {"asgiserve/py.typed", "asgiserve/cli.py", "asgiserve/_core/parser.py"} <= in_wheel
    wanted = {path for path in sources("asgiserve") if path.endswith(".py")}
    assert {path for path in in_wheel if path.startswith("asgiserve/")} == wanted | {"asgiserve/py.typed"}
