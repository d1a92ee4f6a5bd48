"""Picks the stack: the compiled one over llhttp, or the pure one over h11. Both can be loaded side by side."""

from importlib import import_module
from typing import Any, NamedTuple

from .errors import ConfigError

#: Values of the `http` option and the stack each one means; `httptools` and `zttp` are what uvicorn's users say.
HTTP_VALUES = {
    "auto": "auto",
    "llhttp": "compiled",
    "httptools": "compiled",
    "h11": "pure",
    "zttp": "auto",
}

_PACKAGES = {"compiled": "asgiserve._speedups", "pure": "asgiserve._core"}


class Stack(NamedTuple):
    """One build of the core.

    Attributes:
        name: "compiled" or "pure".
        parser: the HTTP parser and its version.
        ServerState: its `state.ServerState`.
        HTTPConnection: its `connection.HTTPConnection`.
        Figures: its `figures.Figures`.
    """

    name: str
    parser: str
    ServerState: Any
    HTTPConnection: Any
    Figures: Any


def resolve_http(value: str) -> str:
    """Return the stack name that a value of the `http` option means.

    Raises:
        ConfigError: it means none.
    """
    try:
        return HTTP_VALUES[value]
    except KeyError:
        raise ConfigError(f"http: {value!r} is not one of {', '.join(HTTP_VALUES)}") from None


def load(name: str) -> Stack:
    """Return the stack called "compiled" or "pure"; "auto" is the compiled one where it was built.

    Raises:
        ConfigError: the compiled stack is asked for and was not built.
    """
    if name == "auto":
        name = "compiled" if _has_compiled() else "pure"
    package = _PACKAGES[name]
    try:
        connection = import_module(f"{package}.connection")
        figures = import_module(f"{package}.figures")
        state = import_module(f"{package}.state")
        parser = import_module(f"{package}.parser")
    except ImportError as error:
        if name == "pure":
            raise
        raise ConfigError(
            f"the compiled stack is not available here ({error}); use the http option h11 or auto,"
            " or install with ASGISERVE_EXTENSIONS=require to see why it is not built"
        ) from None
    return Stack(name, parser.PARSER_VERSION, state.ServerState, connection.HTTPConnection, figures.Figures)


def tls_transport(stack: Stack) -> Any:
    """Return the stack's `tls.TLSTransport`; apart from the rest, because a Python may come without TLS."""
    return import_module(f"{_PACKAGES[stack.name]}.tls").TLSTransport


def http2(stack: Stack) -> Any:
    """Return the stack's `http2.HTTP2Connection`; apart from the rest, because few ask for it.

    Raises:
        ConfigError: the pure stack needs hpack, and it is missing.
    """
    try:
        return import_module(f"{_PACKAGES[stack.name]}.http2").HTTP2Connection
    except ModuleNotFoundError as error:
        if error.name != "hpack":
            raise
        raise ConfigError("HTTP/2 on the pure stack needs the package hpack: pip install 'asgiserve[http2]'") from None


def throttle(stack: Stack) -> Any:
    """Return the stack's `throttle.Throttle`; apart from the rest, because few need it."""
    return import_module(f"{_PACKAGES[stack.name]}.throttle").Throttle


def reactor(stack: Stack, loop: Any) -> Any:
    """Return a new `reactor.Reactor` for `loop` where connections are best read and written by ourselves, else None.

    That saves most of what an event loop costs per read, but not in pure Python, where uvloop's transports are faster.
    """
    if stack.name != "compiled":
        return None
    module = import_module(f"{_PACKAGES[stack.name]}.reactor")
    if not module.is_supported():
        return None
    transport = import_module(f"{_PACKAGES[stack.name]}.transport").Transport
    try:
        return module.Reactor(loop, transport)
    except (NotImplementedError, OSError):
        return None


def lines(stack: Stack) -> Any:
    """Return the stack's module `lines`; apart from the rest, because the access log may be off."""
    return import_module(f"{_PACKAGES[stack.name]}.lines")


def available() -> "list[str]":
    """Return the names of the stacks that can be loaded."""
    return ["compiled", "pure"] if _has_compiled() else ["pure"]


def _has_compiled() -> bool:
    try:
        import_module("asgiserve._speedups.connection")
    except ImportError:
        return False
    return True
