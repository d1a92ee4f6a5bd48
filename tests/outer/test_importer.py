"""Finding the application, and saying what was not found."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import traceback

import pytest

from asgiserve import importer
from asgiserve.config import Config
from asgiserve.errors import ConfigError
from asgiserve.importer import LoadError
from asgiserve.middleware.asgi2 import ASGI2Middleware


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


def build(target, factory=False, interface="auto"):
    warnings = []
    app, _ = importer.build(target, factory, interface, warnings.append)
    return app, warnings


def interface(target, factory=False, interface="auto"):
    """What the object is taken for."""
    return importer.build(target, factory, interface, lambda _: None).interface


def fails(target, factory=False, interface="auto"):
    with pytest.raises(LoadError) as caught:
        build(target, factory, interface)
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


def test_a_file_in_place_of_a_module(module):
    module("plain_app", APP)
    assert 'did you mean "plain_app"' in str(fails("plain_app.py:app"))


def test_a_module_whose_name_is_no_identifier(module):
    module("my-app", APP)
    Config("my-app:app")
    assert build("my-app:app")[0].__name__ == "app"


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


async def with_defaults(scope=None, receive=None, send=None):
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
        functools.partial(Instance()),
        Unreadable(),
        with_defaults,
    ],
)
def test_asgi3(app):
    assert build(app) == (app, [])
    assert interface(app) == "asgi3"


class DoubleCallable:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await send((self.scope, await receive()))


def double(scope):
    return DoubleCallable(scope)


class DoubleInstance:
    def __call__(self, scope):
        return DoubleCallable(scope)


@functools.wraps(double)
def double_decorated(*args, **kwargs):
    return double(*args, **kwargs)


def double_with_settings(settings, scope):
    return DoubleCallable(scope)


@pytest.mark.parametrize(
    "app",
    [DoubleCallable, double, DoubleInstance(), double_decorated, functools.partial(double_with_settings, "settings")],
)
def test_asgi2(app):
    served, warnings = build(app)
    assert interface(app) == "asgi2"
    assert isinstance(served, ASGI2Middleware)
    assert warnings == []
    sent = []

    async def receive():
        return "received"

    async def send(message):
        sent.append(message)

    asyncio.run(served({"type": "http", "asgi": {"version": "3.0"}}, receive, send))
    assert sent == [({"type": "http", "asgi": {"version": "2.0"}}, "received")]


def test_asgi2_from_a_factory():
    assert interface(lambda: DoubleCallable, factory=True) == "asgi2"


def wsgi(environ, start_response):
    return []


class WSGIInstance:
    def __call__(self, environ, start_response):
        return []


class WSGIClass:
    def __init__(self, environ, start_response):
        pass

    def __iter__(self):
        yield b""


@pytest.mark.parametrize("app", [wsgi, WSGIInstance(), WSGIInstance().__call__, WSGIClass])
def test_wsgi(app):
    pytest.importorskip("a2wsgi")
    assert interface(app) == "wsgi"
    assert build(app)[0].app is app
    assert interface(lambda: app, factory=True) == "wsgi"


def test_wsgi_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "a2wsgi", None)
    for name in ("auto", "wsgi"):
        with pytest.raises(ConfigError, match=r"\Ainterface: [^\n]+a2wsgi[^\n]+pip install 'asgiserve\[wsgi\]'\Z"):
            build(wsgi, interface=name)


@pytest.mark.parametrize("name", ["asgi3", "asgi2"])
def test_who_names_the_interface_knows_better(name):
    for app in (double, variadic, lambda a, b, c, d: None):
        assert interface(app, interface=name) == name


def test_a_named_interface_and_a_factory():
    app, warnings = build(lambda: double, interface="asgi2")
    assert isinstance(app, ASGI2Middleware)
    assert len(warnings) == 1
    assert "takes no parameters" in str(fails(lambda: lambda: double, interface="asgi2"))


@pytest.mark.parametrize(
    ("app", "words"),
    [
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


@pytest.mark.parametrize("result", [None, 5, lambda: None, lambda a, b, c, d: None])
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


@pytest.fixture
def env_file(tmp_path, monkeypatch):
    """Writes an env file; what it sets is gone after the test."""
    before = dict(os.environ)

    def write(text):
        path = tmp_path / "settings.env"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    yield write
    os.environ.clear()
    os.environ.update(before)


def test_env_file_is_there_when_the_application_is_imported(module, env_file):
    pytest.importorskip("dotenv")
    module("asks_env", f"import os\nFOUND = os.environ.get('E2E_GREETING')\n{APP}")
    config = Config(
        "asks_env:app", env_file=env_file("export E2E_GREETING='hello there'\n# no\nE2E_OTHER=${E2E_GREETING}!")
    )
    assert "E2E_GREETING" not in os.environ
    config.load()
    assert sys.modules["asks_env"].FOUND == "hello there"
    assert os.environ["E2E_OTHER"] == "hello there!"


def test_the_environment_wins_over_the_env_file(env_file, monkeypatch):
    pytest.importorskip("dotenv")
    monkeypatch.setenv("E2E_GREETING", "from outside")
    Config(coroutine, env_file=env_file("E2E_GREETING=from the file\n")).load()
    assert os.environ["E2E_GREETING"] == "from outside"


def test_an_env_file_that_is_not_there(tmp_path):
    pytest.importorskip("dotenv")
    for path in (tmp_path / "none.env", tmp_path):
        with pytest.raises(ConfigError, match=r"\Aenv_file: [^\n]+ cannot be read: (No such file|Is a directory)"):
            Config(coroutine, env_file=path).load()


def test_an_env_file_that_is_not_text(env_file):
    pytest.importorskip("dotenv")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Config(coroutine, env_file=env_file(b"A=\xff\xfe\n")).load()


def test_an_env_file_without_its_library(env_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "dotenv", None)
    with pytest.raises(ConfigError, match=r"\Aenv_file: [^\n]+pip install 'asgiserve\[dotenv\]'\Z"):
        Config(coroutine, env_file=env_file("A=1")).load()
