"""What keeps the two builds one: the pxd files, the twins, the tables. Reads sources; needs no compiled stack."""

from __future__ import annotations

import inspect
import os
import re
from importlib import import_module
from pathlib import Path

import pytest

import asgiserve
from asgiserve import _consts

PACKAGE = Path(asgiserve.__file__).parent
CORE = PACKAGE / "_core"
SPEEDUPS = PACKAGE / "_speedups"
ROOT = Path(__file__).resolve().parents[2]

SHARED = sorted(path.stem for path in SPEEDUPS.glob("*.pxd") if (CORE / f"{path.stem}.py").exists())
TWINS = sorted(path.stem for path in SPEEDUPS.glob("*.pyx"))
AUGMENTED = [name for name in SHARED if name not in TWINS]

needs_sources = pytest.mark.skipif(not SHARED, reason="the pxd files are not installed")


def compiled(name):
    from asgiserve import _stack

    if "compiled" not in _stack.available():
        pytest.skip("the compiled stack is not built")
    return import_module(f"asgiserve._speedups.{name}")


def pure(name):
    return import_module(f"asgiserve._core.{name}")


def declared(name):
    """class -> ({attribute}, {method}) of a pxd."""
    classes = {}
    current = None
    for line in (SPEEDUPS / f"{name}.pxd").read_text().splitlines():
        found = re.match(r"cdef class (\w+)", line)
        if found:
            current = classes.setdefault(found.group(1), (set(), set()))
        elif line[:1].isspace() and current is not None and line.strip().startswith(("cdef", "cpdef")):
            if "(" in line:
                current[1].add(re.search(r"(\w+)\(", line).group(1))
            else:
                current[0].update(re.findall(r"[*\s](\w+)\s*(?=,|$)", line))
        elif line.strip() and not line[:1].isspace():
            current = None
    return classes


@needs_sources
@pytest.mark.parametrize("name", AUGMENTED)
def test_slots_are_the_attributes_of_the_pxd(name):
    """An attribute that the pxd lacks would fail only when compiled, one that __slots__ lacks only when not."""
    module = pure(name)
    classes = declared(name)
    for class_name, (attributes, methods) in classes.items():
        cls = getattr(module, class_name)
        assert attributes == set(cls.__dict__["__slots__"]), class_name
        for method in methods:
            assert callable(getattr(cls, method)), (class_name, method)
    assert classes or re.search(r"^c?p?def ", (SPEEDUPS / f"{name}.pxd").read_text(), re.M)


@pytest.mark.parametrize("name", sorted(path.stem for path in CORE.glob("*.py") if path.stem != "__init__"))
def test_classes_have_slots(name):
    """No instance carries a __dict__: the core's objects are many."""
    module = pure(name)
    for cls in vars(module).values():
        if inspect.isclass(cls) and cls.__module__ == module.__name__ and not issubclass(cls, BaseException):
            assert "__slots__" in cls.__dict__, cls


@needs_sources
@pytest.mark.parametrize("name", TWINS)
def test_twins_declare_the_same(name):
    """Classes, methods, their parameters, functions and public attributes."""
    module = pure(name)
    text = (SPEEDUPS / f"{name}.pyx").read_text()
    pxd = (SPEEDUPS / f"{name}.pxd").read_text()
    parameters = dict(re.findall(r"^(?:    )?(?:cpdef|def) [^\n]*?(\w+)\(([^)]*)\)", text, re.M))
    for class_name, (attributes, methods) in declared(name).items():
        cls = getattr(module, class_name)
        public = {attribute for attribute in attributes if not attribute.startswith("_")}
        assert public == {slot for slot in cls.__dict__["__slots__"] if not slot.startswith("_")}
        pure_methods = {key for key, value in vars(cls).items() if inspect.isfunction(value) and key[0] != "_"}
        assert pure_methods == {method for method in methods if not method.startswith("_")}
        for method in pure_methods:
            wanted = list(inspect.signature(getattr(cls, method)).parameters)
            assert [item.split()[-1] for item in parameters[method].split(",")] == wanted, method
    functions = {
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
    }
    assert functions == set(re.findall(r"^cpdef [^\n(]*?(\w+)\(", pxd, re.M))


@needs_sources
@pytest.mark.parametrize("name", SHARED)
def test_compiled_modules_offer_what_the_pure_ones_do(name):
    fast, slow = compiled(name), pure(name)
    assert fast.__file__.endswith((".so", ".pyd"))
    for key, value in vars(slow).items():
        if key.startswith("_") or inspect.ismodule(value) or getattr(value, "__module__", None) != slow.__name__:
            continue
        twin = getattr(fast, key)
        assert inspect.isclass(twin) == inspect.isclass(value), key
        if inspect.isclass(value):
            # Names of the pxd's cdef methods and attributes are gone in the compiled class; public ones are not.
            lacking = {item for item in vars(value) if not item.startswith("_")} - set(dir(twin))
            hidden = set().union(*declared(name).get(key, ((), ())))
            assert lacking <= hidden, (key, lacking)


@pytest.mark.parametrize("path", sorted(CORE.glob("*.py")), ids=lambda path: path.stem)
def test_core_imports(path):
    """Relative imports only, so that each build binds to itself; and nothing of the server around the core."""
    text = path.read_text()
    assert not re.search(r"^\s*(?:from|import) asgiserve", text, re.M)
    outside = set(re.findall(r"^\s*from \.\.(\w*) import", text, re.M))
    assert outside <= {"_consts", "errors", "types"}


def test_methods_are_those_of_llhttp():
    places = [ROOT / "vendor" / "llhttp", ROOT / "build" / "llhttp"]
    if os.environ.get("ASGISERVE_LLHTTP_DIR"):
        places.insert(0, Path(os.environ["ASGISERVE_LLHTTP_DIR"]))
    headers = [place / name for place in places for name in ("include/llhttp.h", "llhttp.h")]
    header = next((path for path in headers if path.is_file()), None)
    if header is None:
        pytest.skip("the sources of llhttp are not here")
    table = re.search(r"#define HTTP_METHOD_MAP\(XX\) \\\n((?:.*\\\n)*.*)", header.read_text()).group(1)
    names = re.findall(r"XX\(\d+, \w+, ([\w-]+)\)", table)
    assert len(names) > 30
    assert sorted(_consts.METHODS) == sorted(names)


def test_methods_of_the_conformance_corpus():
    from conformance.request_line import METHODS

    assert sorted([*METHODS, "CONNECT"]) == sorted(_consts.METHODS)


def test_noted_fields_are_common_fields():
    assert set(_consts.NOTED_FIELDS) <= set(_consts.COMMON_FIELDS)
    assert len(set(_consts.COMMON_FIELDS)) == len(_consts.COMMON_FIELDS)
    assert all(name == name.lower() for name in _consts.COMMON_FIELDS)
    assert 0 not in _consts.NOTED_FIELDS.values()


def test_both_stacks_load_side_by_side():
    from asgiserve import _stack

    compiled("connection")
    one, two = _stack.load("compiled"), _stack.load("pure")
    assert one.HTTPConnection is not two.HTTPConnection
    assert one.parser.startswith("llhttp ")
    assert two.parser.startswith("h11 ")
    assert _stack.available() == ["compiled", "pure"]
