"""Finding the application, and saying what was not found."""

from __future__ import annotations

import functools
import sys
import traceback

import pytest

from asgiserve import importer
from asgiserve.config import Config
from asgiserve.importer import LoadError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported by its name in this test only."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name, source):
        path = tmp_path.joinpath(*name.split("."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(source)
        return name

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def build(target, factory=False):
    warnings = []
    app = importer.build(target, factory, warnings.append)
    return app, warnings


def fails(target, factory=False):
    with pytest.raises(LoadError) as caught:
        build(target, factory)
    assert "\n" not in str(caught.value)
    return caught.value


def frames(exc):
    return [frame.name for frame in traceback.extract_tb(exc.__traceback__)]


APP = "async def app(scope, receive, send): pass\n"


def test_module_and_attribute(module):
    module("plain_app", APP)
    app, warnings = build("plain_app:app")
    assert app.__name__ == "app"
    assert warnings == []


def test_nested_names(module):
    module("nested_pkg.__init__", "")
    module("nested_pkg.main", "class api:\n    async def app(scope, receive, send): pass\n")
    assert build("nested_pkg.main:api.app")[0].__name__ == "app"


def test_no_module():
    error = fails("no_such_module:app")
    assert '"no_such_module"' in str(error)
    assert error.cause is None


def test_no_submodule(module):
    module("some_pkg.__init__", "")
    assert '"some_pkg.main"' in str(fails("some_pkg.main:app"))


def test_no_attribute(module):
    module("plain_app", APP)
    assert str(fails("plain_app:ap")) == 'module "plain_app" has no attribute "ap"; did you mean "app"?'
    assert str(fails("plain_app:xyz")) == 'module "plain_app" has no attribute "xyz"'
    assert str(fails("plain_app:app.xyz")) == '"app" in module "plain_app" has no attribute "xyz"'


@pytest.mark.parametrize("target", ["main", ":app", "main:"])
def test_not_of_the_form(target):
    assert "module:attribute" in str(fails(target))


def test_the_module_needs_another_that_is_missing(module):
    module("needy", "def load():\n    import no_such_library\nload()\n")
    error = fails("needy:app")
    assert '"needy" could not be imported' in str(error)
    assert "no_such_library" in str(error)
    assert frames(error.cause) == ["<module>", "load"]


def test_the_module_raises(module):
    module("broken", "def boom():\n    raise ValueError('first line\\nsecond')\nboom()\n")
    error = fails("broken:app")
    assert "ValueError: first line second" in str(error)
    assert frames(error.cause) == ["<module>", "boom"]


def test_the_module_has_a_syntax_error(module):
    module("typo", "def app(:\n")
    error = fails("typo:app")
    assert isinstance(error.cause, SyntaxError)
    assert error.cause.filename.endswith("typo.py")


def test_the_module_exits(module):
    module("leaver", "raise SystemExit(7)\n")
    with pytest.raises(SystemExit):
        build("leaver:app")


async def coroutine(scope, receive, send):
    pass


def plain(scope, receive, send):
    return coroutine(scope, receive, send)


class Instance:
    async def __call__(self, scope, receive, send):
        pass


class Awaitable:
    def __init__(self, scope, receive, send):
        pass

    def __await__(self):
        yield


async def variadic(*args):
    pass


async def more(scope, receive, send, extra=None):
    pass


def wrapped():
    @functools.wraps(coroutine)
    async def inner(*args):
        pass

    return inner


class Unreadable:
    @property
    def __signature__(self):
        raise ValueError

    def __call__(self, *args):
        pass


@pytest.mark.parametrize(
    "app",
    [
        coroutine,
        plain,
        Instance(),
        Instance().__call__,
        Awaitable,
        variadic,
        more,
        wrapped(),
        functools.partial(more, extra=1),
        Unreadable(),
    ],
)
def test_asgi3(app):
    assert build(app) == (app, [])


class DoubleCallable:
    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass


def double(scope):
    return coroutine


def wsgi(environ, start_response):
    return []


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (DoubleCallable, "ASGI 2"),
        (double, "ASGI 2"),
        (wsgi, "WSGI"),
        (lambda a, b, c, d: None, "three parameters"),
        (5, "not callable"),
        (None, "not callable"),
    ],
)
def test_refused(app, words):
    assert words in str(fails(app))


def test_factory():
    assert build(lambda: coroutine, factory=True) == (coroutine, [])


def test_factory_with_defaults():
    assert build(lambda config=None: coroutine, factory=True) == (coroutine, [])


def test_factory_in_a_module(module):
    module("made", APP + "def create():\n    return app\n")
    assert build("made:create", factory=True)[0].__name__ == "app"


def test_a_factory_that_was_not_named_one():
    def create():
        return coroutine

    app, warnings = build(create)
    assert app is coroutine
    assert len(warnings) == 1
    assert "--factory" in warnings[0]


def test_a_class_that_was_not_instantiated():
    app, warnings = build(Instance)
    assert isinstance(app, Instance)
    assert len(warnings) == 1


def test_a_type_error_in_the_factory_is_its_own():
    def create():
        return len(5)

    for factory in (False, True):
        error = fails(create, factory)
        assert "raised TypeError" in str(error)
        assert frames(error.cause) == ["create"]


def test_a_factory_that_needs_arguments():
    error = fails(coroutine, factory=True)
    assert "async function" in str(error)
    error = fails(plain, factory=True)
    assert "raised TypeError" in str(error)


def test_an_async_factory():
    async def create():
        return coroutine

    assert "async function" in str(fails(create))


@pytest.mark.parametrize("result", [None, wsgi, double, lambda: None])
def test_a_factory_that_returns_something_else(result):
    assert "the factory" in str(fails(lambda: result, factory=True))


def test_app_dir(tmp_path, monkeypatch):
    tmp_path.joinpath("in_app_dir.py").write_text(APP)
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = Config("in_app_dir:app", app_dir=tmp_path)
    config.load()
    config.load()  # a second time changes nothing
    assert sys.path[0] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1
    assert config.loaded_app.__name__ == "app"
    del sys.modules["in_app_dir"]


def test_the_path_is_left_alone_for_an_object(monkeypatch):
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    Config(coroutine, http="h11").load()
    assert sys.path == before
