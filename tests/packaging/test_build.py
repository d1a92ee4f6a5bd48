"""setup.py, over a small project: what is compiled, and what happens when it cannot be."""

from __future__ import annotations

import sys
import zipfile

import pytest

PURE = "PURE PYTHON BUILD"
NO_COMPILER = {"CC": "/nonexistent/cc"}

# The package itself cannot be imported, so the extensions are loaded one by one.
CHECK = """
import importlib.machinery, importlib.util, pathlib, sys, types

def load(name):
    path = pathlib.Path("asgiserve", "_speedups", name + importlib.machinery.EXTENSION_SUFFIXES[0]).resolve()
    spec = importlib.util.spec_from_file_location("asgiserve._speedups." + name, str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

for package in ("asgiserve", "asgiserve._speedups"):
    sys.modules[package] = types.ModuleType(package)
assert load("parser").minor == 4
try:
    load("counter").Counter(1 << 16)
except OverflowError:
    print("typed by the pxd")
"""

pytestmark = pytest.mark.slow


def test_unknown_choice(project):
    result = project.build("maybe")
    assert result.returncode != 0
    assert "ASGISERVE_EXTENSIONS=maybe: expected auto, require or off" in result.stdout


def test_off(project):
    result = project.build("off")
    assert result.returncode == 0, result.stdout
    assert PURE not in result.stdout
    assert project.compiled() == []


def test_require(project, compiler):
    result = project.build("require")
    assert result.returncode == 0, result.stdout
    # A shared module without a pxd is not compiled, and generated C stays out of the sources.
    assert project.compiled() == ["counter", "parser"]
    assert not list((project.folder / "asgiserve").rglob("*.c"))

    assert "typed by the pxd" in project.run("-c", CHECK).stdout

    off = project.build("off")
    assert off.returncode == 0, off.stdout
    assert project.compiled() == []


def test_only_what_changed_is_translated_again(project, compiler):
    assert "Cythonizing" in project.build("require").stdout
    again = project.build("require").stdout
    assert "Cythonizing" not in again
    assert project.compiled() == ["counter", "parser"]


def test_no_compiler(project, compiler):
    if sys.platform == "win32":
        pytest.skip("CC is of no meaning there")
    assert project.build("require").returncode == 0
    for path in (project.folder / "asgiserve" / "_core").glob("counter.py"):
        path.write_text(path.read_text() + "\n# changed\n")

    result = project.build("auto", **NO_COMPILER)
    assert result.returncode == 0, result.stdout
    assert PURE in result.stdout
    assert "/nonexistent/cc" in result.stdout
    assert "ASGISERVE_EXTENSIONS=require" in result.stdout
    assert project.compiled() == [], "modules of an earlier build must not be left to be imported"

    result = project.build("require", **NO_COMPILER)
    assert result.returncode != 0
    assert "could not be built" in result.stdout
    assert PURE not in result.stdout


def test_no_cython(project, compiler):
    (project.folder / "Cython.py").write_text("raise ImportError\n")
    result = project.build("auto")
    assert result.returncode == 0, result.stdout
    assert PURE in result.stdout
    assert "Cython is not installed" in result.stdout


def test_source_that_cython_refuses(project, compiler):
    (project.speedups / "parser.pyx").write_text("cdef nonsense nonsense\n")
    result = project.build("auto")
    assert result.returncode == 0, result.stdout
    assert PURE in result.stdout
    assert "Cython failed on asgiserve/_speedups/parser.pyx" in result.stdout
    assert project.build("require").returncode != 0


def test_changed_llhttp(project, compiler):
    bundled = project.folder / "vendor" / "llhttp" / "src"
    bundled.mkdir(parents=True)
    (bundled / "api.c").write_text("int changed;\n")
    del project.environment["ASGISERVE_LLHTTP_DIR"]
    result = project.build("auto")
    assert result.returncode == 0, result.stdout
    assert PURE in result.stdout
    assert "api.c is not the pinned file" in result.stdout
    assert project.compiled() == []
    result = project.build("require")
    assert result.returncode != 0
    assert "api.c is not the pinned file" in result.stdout


def test_binary_wheel(project, compiler):
    pytest.importorskip("build")
    path = project.wheel("require")
    assert "-py3-none-any" not in path.name
    assert path.name.startswith("asgiserve-1.2.3-cp3")
    names = zipfile.ZipFile(path).namelist()
    modules = {name.rpartition("/")[2].partition(".")[0] for name in names if name.endswith((".so", ".pyd"))}
    assert modules == {"counter", "parser"}
    assert "asgiserve/_speedups/LICENSE.llhttp" in names
    assert not [name for name in names if name.endswith((".pyx", ".pxd", ".c"))]


@pytest.mark.parametrize(("choice", "environment"), [("off", {}), ("auto", NO_COMPILER)])
def test_pure_wheel(project, choice, environment):
    pytest.importorskip("build")
    if environment and sys.platform == "win32":
        pytest.skip("CC is of no meaning there")
    path = project.wheel(choice, **environment)
    assert path.name == "asgiserve-1.2.3-py3-none-any.whl"
    names = zipfile.ZipFile(path).namelist()
    assert "asgiserve/_core/counter.py" in names
    assert not [name for name in names if name.endswith((".so", ".pyd", ".pyx", ".pxd", ".llhttp"))]


def test_not_cpython(project):
    if sys.implementation.name == "cpython":
        pytest.skip("CPython has a compiled stack")
    result = project.build("auto")
    assert result.returncode == 0, result.stdout
    assert PURE not in result.stdout
    result = project.build("require")
    assert result.returncode != 0
    assert "there is no compiled stack for" in result.stdout
