"""Finds the application: ``"module:attribute"`` to an ASGI 3 callable.

Knows Python imports and call signatures, and the adapters for older interfaces; knows nothing of the server. What goes
wrong is a :class:`LoadError`, whose message says what was not found and whose ``cause`` is the user's own exception
when his code raised one.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from types import TracebackType
from typing import Any, Callable, NamedTuple, Optional

from .middleware.asgi2 import ASGI2Middleware
from .options import OptionError, nearest


class LoadError(Exception):
    """The application could not be had.

    The text is one line. ``cause`` (exception or None) is what the user's code raised, its traceback cut to the
    user's frames.
    """

    def __init__(self, message: str, cause: Optional[BaseException] = None) -> None:
        super().__init__(message)
        self.cause = cause


def import_target(target: str) -> Any:
    """Imports ``"module:attribute[.attribute]"`` and returns the object. Raises :class:`LoadError`."""
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise LoadError(f'"{target}" is not of the form module:attribute, as in main:app')
    found = _import_module(module_name)
    where = f'module "{module_name}"'
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            close = nearest(part, [name for name in dir(found) if not name.startswith("_")])
            hint = f'; did you mean "{close}"?' if close else ""
            raise LoadError(f'{where} has no attribute "{part}"{hint}') from None
        where = f'"{part}" in {where}'
    return found


def _import_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as exc:
        failure = exc
    # Raised out here: PyPy gives an exception its whole traceback back when another is raised while it is handled.
    missing = failure.name if isinstance(failure, ModuleNotFoundError) else None
    if missing and (name == missing or name.startswith(missing + ".")):
        # The module itself, or a package on the way to it; not something that it imports.
        hint = f'; did you mean "{name[:-3]}"?' if name.endswith(".py") else ""
        raise LoadError(f'there is no module "{missing}" (looked for "{name}"{hint})')
    raise LoadError(f'module "{name}" could not be imported: {_one_line(failure)}', _trim(failure))


def _one_line(exc: BaseException) -> str:
    text = " ".join(str(exc).split())
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _trim(exc: BaseException) -> BaseException:
    """Cuts the frames of this file and of the import system from the start of the traceback."""
    ours = (__file__, importlib.__file__)
    traceback: Optional[TracebackType] = exc.__traceback__
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if filename not in ours and "frozen importlib." not in filename:
            break
        traceback = traceback.tb_next
    # A SyntaxError has no frame of the user's: it carries its place itself.
    return exc.with_traceback(traceback)


class Loaded(NamedTuple):
    """An application, ready to be served.

    ``app`` is an ASGI 3 callable; ``interface`` (str) is what the user's own object is: asgi3, asgi2 or wsgi.
    """

    app: Any
    interface: str


def build(target: Any, factory: bool, interface: str, warn: Callable[[str], None]) -> Loaded:
    """Makes the ASGI application from `target`: a ``"module:attribute"`` string or the object itself.

    With `factory` the object is called and must return the application. Without, a callable that takes no parameters is
    taken for a factory too, judging by its signature alone, and `warn` gets one line. `interface` is asgi3, asgi2,
    wsgi, or auto to judge by the signature. Raises :class:`LoadError`, and :class:`asgiserve.ConfigError` when a
    library for the interface is missing.
    """
    name = f'"{target}"' if isinstance(target, str) else "the application"
    app = import_target(target) if isinstance(target, str) else target
    if not callable(app):
        raise LoadError(f"{name} is not callable: {_short(app)}")
    found = "factory" if factory else interface_of(app)
    if found == "factory":
        if not factory:
            warn(f"{name} takes no parameters, so it is called as an application factory; say so with --factory")
        app = _call_factory(app, name)
        name = f"what the factory {name} returned"
        found = interface_of(app)
    if found == "other" or (interface != "auto" and found in _ADAPTERS):
        found = interface  # who names it knows better than the signature
    if found not in _ADAPTERS:
        raise LoadError(_REFUSALS[found].format(name=name, what=_short(app)))
    return Loaded(_ADAPTERS[found](app), found)


def _as_it_is(app: Any) -> Any:
    return app


def _wsgi(app: Any) -> Any:
    from .middleware.wsgi import WSGIMiddleware  # which most applications do not need

    return WSGIMiddleware(app)


_ADAPTERS: dict[str, Callable[[Any], Any]] = {"asgi3": _as_it_is, "asgi2": ASGI2Middleware, "wsgi": _wsgi}

_REFUSALS = {
    "factory": "{name} takes no parameters, so it is not an application: {what}",
    "auto": "{name} takes neither the three parameters of an ASGI application (scope, receive, send)"
    " nor those of ASGI 2 or WSGI: {what}",
    "none": "{name} is not callable: {what}",
}


def _call_factory(factory: Callable[[], Any], name: str) -> Any:
    if inspect.iscoroutinefunction(factory):
        raise LoadError(f"the factory {name} is an async function, it must be a plain one that returns the application")
    try:
        return factory()
    except Exception as exc:
        failure = exc
    # Whatever its type: a TypeError in there is the factory's own error, never "not a factory".
    raise LoadError(f"the factory {name} raised {_one_line(failure)}", _trim(failure))


def interface_of(app: Any) -> str:
    """Judges an object by its signature: asgi3, asgi2, wsgi, factory, other, or none (not callable).

    A callable without a readable signature (some extension types) is taken for asgi3.
    """
    if not callable(app):
        return "none"
    try:
        signature = _signature(app)
    except (TypeError, ValueError):
        return "asgi3"
    variadic = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in signature.parameters.values())
    if _takes(signature, 0) and not variadic and not (_takes(signature, 3) and inspect.iscoroutinefunction(app)):
        return "factory"
    for count, interface in ((3, "asgi3"), (2, "wsgi"), (1, "asgi2")):
        if _takes(signature, count):
            return interface
    return "other"


def _signature(app: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        # There annotations are evaluated on demand, and names that only type checkers import would be errors.
        from annotationlib import Format

        return inspect.signature(app, annotation_format=Format.STRING)
    return inspect.signature(app)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*(None,) * count)
    except TypeError:
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 120 else text[:117] + "..."


def load_environment(path: str) -> None:
    """Sets the variables of the dotenv file `path` that the environment does not have already.

    Raises :class:`asgiserve.ConfigError`: there is no such file, or python-dotenv is not installed.
    """
    try:
        from dotenv import load_dotenv
    except ImportError:
        raise OptionError(
            "env_file", "the file is read with python-dotenv, which is missing: pip install 'asgiserve[dotenv]'"
        ) from None
    try:
        with open(path, encoding="utf-8") as stream:
            load_dotenv(stream=stream)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise OptionError("env_file", f"{path!r} cannot be read: {reason}") from None


def add_path(directory: str) -> None:
    """Puts `directory` first in ``sys.path``, once; the empty string stands for the current directory."""
    if directory not in sys.path[:1]:
        sys.path.insert(0, directory)
