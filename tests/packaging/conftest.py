"""What the tests of the build share: the build's own files, and a small project that builds the same way."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CORE = """
class Counter:
    __slots__ = ("n",)

    def __init__(self, n: int) -> None:
        self.n = n
"""

PXD = """
cdef class Counter:
    cdef public short n
"""

PARSER = """
cdef extern from "llhttp.h":
    int LLHTTP_VERSION_MINOR

minor = LLHTTP_VERSION_MINOR
"""

HEADER = """
#define LLHTTP_VERSION_MAJOR 9
#define LLHTTP_VERSION_MINOR 4
#define LLHTTP_VERSION_PATCH 3
"""


@pytest.fixture
def build_llhttp():
    """The module of that name, loaded afresh."""
    source = ROOT / "build_llhttp.py"
    if not source.is_file():
        pytest.skip("not in a source tree")
    spec = importlib.util.spec_from_file_location("build_llhttp", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def llhttp_dir(tmp_path):
    """A directory laid out as llhttp is, with nothing in it but a version."""
    folder = tmp_path / "llhttp"
    for name in ("src/api.c", "src/http.c", "src/llhttp.c"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("typedef int nothing;\n")
    (folder / "include").mkdir()
    (folder / "include/llhttp.h").write_text(HEADER)
    (folder / "LICENSE").write_text("a licence\n")
    return folder


class Project:
    """A copy of our setup.py over a package of two tiny modules: one parser.pyx, one shared module with a pxd."""

    def __init__(self, folder: Path, llhttp: Path) -> None:
        self.folder = folder
        self.speedups = folder / "asgiserve" / "_speedups"
        for package in ("asgiserve", "asgiserve/_core", "asgiserve/_speedups"):
            (folder / package).mkdir(parents=True)
            (folder / package / "__init__.py").touch()
        # Reading the version must not import the package, whose dependencies a build need not have.
        (folder / "asgiserve/__init__.py").write_text('__version__ = "1.2.3"\nimport nothing_of_this_name\n')
        (folder / "asgiserve/_core/counter.py").write_text(CORE)
        (folder / "asgiserve/_core/plain.py").write_text("")
        (self.speedups / "counter.pxd").write_text(PXD)
        (self.speedups / "parser.pyx").write_text(PARSER)
        for name in ("README.md", "CHANGELOG.md"):
            (folder / name).write_text("text\n")
        for name in ("setup.py", "build_llhttp.py", "pyproject.toml", "MANIFEST.in", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        self.environment = {**os.environ, "ASGISERVE_LLHTTP_DIR": str(llhttp)}

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        """Run Python in the project; the output is in `stdout`."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def build(self, choice: str, **environment: str) -> subprocess.CompletedProcess:
        """Build in place."""
        return self.run("setup.py", "build_ext", "--inplace", ASGISERVE_EXTENSIONS=choice, **environment)

    def wheel(self, choice: str, **environment: str) -> Path:
        """Build a wheel and return its path."""
        result = self.run(
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--skip-dependency-check",
            "--outdir",
            "dist",
            ASGISERVE_EXTENSIONS=choice,
            **environment,
        )
        assert result.returncode == 0, result.stdout
        (path,) = (self.folder / "dist").glob("*.whl")
        return path

    def compiled(self) -> list[str]:
        """Names of the extension modules in the source tree."""
        return sorted(path.name.partition(".")[0] for path in self.speedups.glob("*.[sp][oy]*") if is_binary(path))


def is_binary(path: Path) -> bool:
    return path.suffix in (".so", ".pyd")


def needs(module: str) -> None:
    """Skips where a module is not installed.

    It is not imported here: builds run in processes of their own, and setuptools puts itself in distutils' place, which
    fails in a process where another test has loaded distutils.
    """
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


@pytest.fixture
def project(tmp_path, llhttp_dir):
    if not (ROOT / "setup.py").is_file():
        pytest.skip("not in a source tree")
    needs("setuptools")
    return Project(tmp_path / "project", llhttp_dir)


@pytest.fixture
def compiler():
    """Skips where nothing can be compiled."""
    if sys.implementation.name != "cpython":
        pytest.skip("only CPython has a compiled stack")
    needs("Cython")
    if os.environ.get("ASGISERVE_EXTENSIONS") != "require" and not shutil.which("cc"):
        pytest.skip("no C compiler")
