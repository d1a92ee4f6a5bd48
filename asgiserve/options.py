"""The option table: the one place that knows every setting of the server.

Each :class:`Option` gives a name, the kind of value, the default, a group and a help text. Everything else is made
from it: the command line (:mod:`asgiserve.cli`), the environment names, the attributes and checks of
:class:`asgiserve.Config`, the documentation.

This module must not know click, the environment or the server. Bad values raise :class:`OptionError`.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any, Optional

from .errors import ConfigError

ENV_PREFIX = "ASGISERVE_"

LOG_LEVELS = {"critical": 50, "error": 40, "warning": 30, "info": 20, "debug": 10, "trace": 5}

_TRUE = frozenset(("1", "true", "t", "yes", "y", "on"))
_FALSE = frozenset(("0", "false", "f", "no", "n", "off"))
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
# A default header must never change how a response is framed.
_FRAMING = frozenset(("content-length", "transfer-encoding", "connection", "upgrade", "trailer"))


class OptionError(ConfigError):
    """A setting is wrong.

    ``name`` (str) is the option's Python name, ``reason`` (str) says in one line what is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


@dataclass(frozen=True)
class Option:
    """One setting.

    ``kind`` is one of text, path, root_path, int, seconds, flag, switch, boolean, choice, level, headers, app. A *flag*
    is on or off and has a ``--no-`` form; a *switch* is off until named; a *boolean* takes a word. ``optional`` means
    that None (as text: ``none``) is a value. ``default_text`` is what the help shows where the default itself says too
    little.
    """

    name: str
    kind: str
    default: Any
    group: str
    help: str
    choices: tuple[str, ...] = ()
    minimum: Optional[float] = None
    maximum: Optional[float] = None
    optional: bool = False
    cli: str = ""
    metavar: str = ""
    default_text: str = ""
    alias_of: str = ""

    @property
    def env(self) -> str:
        """The environment variable that the command line reads."""
        return ENV_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """The long form on the command line, such as ``--log-level``; for the application: ``APP``."""
        if self.kind == "app":
            return "APP"
        return self.cli or "--" + self.name.replace("_", "-")

    def clean(self, value: Any) -> Any:
        """Checks `value`, be it text (command line, environment) or an object (``Config``).

        Returns the value in its final type. Raises :class:`OptionError`.
        """
        if self.optional and (value is None or (isinstance(value, str) and value.strip().lower() == "none")):
            return None
        try:
            return _CHECKS[self.kind](self, value)
        except ValueError as exc:
            raise OptionError(self.name, str(exc)) from None


def _check_text(option: Option, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    if "\0" in value:
        raise ValueError("NUL is not allowed")
    return value


def _check_path(option: Option, value: Any) -> str:
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    return _check_text(option, value)


def _check_root_path(option: Option, value: Any) -> str:
    text = _check_text(option, value)
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r} does not start with a slash")
    return text.rstrip("/")  # so that root_path + path has no double slash


def _check_int(option: Option, value: Any) -> int:
    if isinstance(value, str):
        try:
            value = int(value.strip())
        except ValueError:
            raise ValueError(f"{value!r} is not a whole number") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    _check_range(option, value)
    return value


def _check_seconds(option: Option, value: Any) -> float:
    if isinstance(value, str):
        text = value.strip()
        try:
            value = int(text)
        except ValueError:
            try:
                value = float(text)
            except ValueError:
                raise ValueError(f"{value!r} is not a number of seconds") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number of seconds")
    _check_range(option, value)
    return value


def _check_range(option: Option, value: float) -> None:
    low, high = option.minimum, option.maximum
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{value} is not between {low:g} and {high:g}")
    if low is not None and value < low:
        raise ValueError(f"{value} is less than {low:g}")


def _check_flag(option: Option, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else value
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{value!r} is neither on nor off")


def _check_choice(option: Option, value: Any) -> str:
    word = value.strip().lower() if isinstance(value, str) else value
    if word not in option.choices:
        raise ValueError(f"{value!r} is not one of {', '.join(option.choices)}")
    return str(word)


def _check_level(option: Option, value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value  # a level number of the logging module
    return _check_choice(option, value)


def _check_headers(option: Option, value: Any) -> list[tuple[str, str]]:
    """A list of ``(name, value)`` pairs or ``"Name:Value"`` strings; text has one header per line."""
    if isinstance(value, str):
        value = [line for line in value.split("\n") if line.strip()]
    if isinstance(value, dict):
        value = list(value.items())
    try:
        return [_check_header(item) for item in value]
    except TypeError:
        raise ValueError(f"{value!r} is not a list of headers") from None


def _check_header(item: Any) -> tuple[str, str]:
    if isinstance(item, str):
        name, colon, text = item.partition(":")
        if not colon:
            raise ValueError(f"{item!r} is not of the form Name:Value")
    elif isinstance(item, (tuple, list)) and len(item) == 2:
        name, text = (part.decode("latin-1") if isinstance(part, bytes) else part for part in item)
    else:
        raise ValueError(f"{item!r} is not of the form Name:Value")
    if not isinstance(name, str) or not isinstance(text, str):
        raise ValueError(f"{item!r} is not of the form Name:Value")
    if not _TOKEN.match(name):
        raise ValueError(f"{name!r} is not a header name")
    if name.lower() in _FRAMING:
        raise ValueError(f"{name} cannot be set, the server frames the responses")
    text = text.strip(" \t")
    if any((char < " " and char != "\t") or char == "\x7f" for char in text):
        raise ValueError(f"the value of {name} has a control character in it")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"the value of {name} is not Latin-1 text") from None
    return name, text


def _check_app(option: Option, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    module, _, attribute = value.partition(":")
    parts = module.split(".") + attribute.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ValueError(f"{value!r} is not of the form module:attribute, as in main:app")
    return value


_CHECKS = {
    "text": _check_text,
    "path": _check_path,
    "root_path": _check_root_path,
    "int": _check_int,
    "seconds": _check_seconds,
    "flag": _check_flag,
    "switch": _check_flag,
    "boolean": _check_flag,
    "choice": _check_choice,
    "level": _check_level,
    "headers": _check_headers,
    "app": _check_app,
}

_APP, _SOCKETS, _ENGINE, _WEBSOCKETS, _LOGS = "Application", "Sockets", "Engine", "WebSockets", "Logging"
_RESPONSES, _LIMITS, _TIMEOUTS = "Responses", "Limits", "Timeouts (seconds; none switches one off)"


def _timeout(name: str, default: Optional[float], text: str) -> Option:
    return Option(name, "seconds", default, _TIMEOUTS, text, optional=True, minimum=0)


OPTIONS: tuple[Option, ...] = (
    Option("app", "app", None, _APP, "The application, as module:attribute."),
    Option("factory", "switch", False, _APP, "APP is a function without parameters that returns the application."),
    Option(
        "app_dir",
        "path",
        "",
        _APP,
        "Look for the application in this directory first.",
        optional=True,
        metavar="DIRECTORY",
        default_text="the current directory",
    ),
    Option(
        "lifespan",
        "choice",
        "auto",
        _APP,
        "Run the application's start-up and shutdown code; auto goes on without where the application has none.",
        choices=("auto", "on", "off"),
    ),
    Option("root_path", "root_path", "", _APP, "The path under which the application is mounted.", metavar="PATH"),
    Option(
        "host",
        "text",
        "127.0.0.1",
        _SOCKETS,
        "Listen on this address or host name; :: listens on IPv6 and IPv4.",
        optional=True,
        metavar="HOST",
    ),
    Option("port", "int", 8000, _SOCKETS, "Listen on this port; 0 takes a free one.", minimum=0, maximum=65535),
    Option(
        "uds",
        "path",
        None,
        _SOCKETS,
        "Listen on this UNIX domain socket, in place of host and port.",
        optional=True,
        metavar="PATH",
    ),
    Option(
        "fd",
        "int",
        None,
        _SOCKETS,
        "Listen on this inherited socket, TCP or UNIX, in place of all the others.",
        optional=True,
        minimum=0,
    ),
    Option("backlog", "int", 2048, _SOCKETS, "Connections that may wait to be accepted.", minimum=1),
    Option(
        "loop",
        "choice",
        "auto",
        _ENGINE,
        "The event loop; auto takes uvloop where it is installed, none the default of the Python installation.",
        choices=("auto", "asyncio", "uvloop", "none"),
    ),
    Option(
        "http",
        "choice",
        "auto",
        _ENGINE,
        "The HTTP stack: llhttp (also httptools) is compiled, h11 is pure Python; auto takes llhttp where it is built.",
        choices=("auto", "llhttp", "httptools", "h11"),
    ),
    Option(
        "ws",
        "choice",
        "auto",
        _WEBSOCKETS,
        "Serve WebSockets; none does not. The other values, known from uvicorn, mean auto.",
        choices=("auto", "none", "websockets", "websockets-sansio", "wsproto"),
    ),
    Option(
        "ws_max_size",
        "int",
        16 * 1024 * 1024,
        _WEBSOCKETS,
        "Bytes in a message from a client; more closes with 1009.",
        optional=True,
        minimum=0,
    ),
    Option(
        "ws_max_queue",
        "int",
        32,
        _WEBSOCKETS,
        "Messages that wait for the application before reading stops.",
        minimum=1,
    ),
    Option(
        "ws_ping_interval",
        "seconds",
        20.0,
        _WEBSOCKETS,
        "Seconds between pings; none sends none.",
        optional=True,
        minimum=0.25,
    ),
    Option(
        "ws_ping_timeout",
        "seconds",
        20.0,
        _WEBSOCKETS,
        "Seconds in which a ping has to be answered; none waits for ever.",
        optional=True,
        minimum=0,
    ),
    Option("ws_per_message_deflate", "boolean", True, _WEBSOCKETS, "Compress messages where the client offers it."),
    Option(
        "log_level",
        "level",
        None,
        _LOGS,
        "Log what is at least this important.",
        choices=tuple(LOG_LEVELS),
        optional=True,
        default_text="info",
    ),
    Option("access_log", "flag", True, _LOGS, "Log each request on standard output."),
    Option(
        "use_colors",
        "flag",
        None,
        _LOGS,
        "Colours in the logs.",
        optional=True,
        default_text="on when written to a terminal",
    ),
    Option("server_header", "flag", True, _RESPONSES, "Send a Server header."),
    Option("date_header", "flag", True, _RESPONSES, "Send a Date header."),
    Option(
        "headers",
        "headers",
        [],
        _RESPONSES,
        "Send this header with every response; can be given several times.",
        cli="--header",
        metavar="NAME:VALUE",
    ),
    Option(
        "limit_concurrency",
        "int",
        None,
        _LIMITS,
        "Requests answered at a time; what comes above gets 503.",
        optional=True,
        minimum=1,
    ),
    Option(
        "limit_connections",
        "int",
        None,
        _LIMITS,
        "Connections open at a time; more wait to be accepted.",
        optional=True,
        minimum=1,
    ),
    Option("limit_max_requests", "int", None, _LIMITS, "Stop after this many requests.", optional=True, minimum=1),
    Option(
        "limit_max_requests_jitter",
        "int",
        0,
        _LIMITS,
        "Add a random number of requests, up to this, to --limit-max-requests.",
        minimum=0,
    ),
    Option("limit_request_line", "int", 16384, _LIMITS, "Bytes in a request line; more gets 414.", minimum=64),
    Option("limit_header_size", "int", 65536, _LIMITS, "Bytes in the header section; more gets 431.", minimum=256),
    Option("limit_header_fields", "int", 128, _LIMITS, "Fields in the header section; more gets 431.", minimum=1),
    Option(
        "limit_request_body", "int", None, _LIMITS, "Bytes in a request body; more gets 413.", optional=True, minimum=0
    ),
    Option(
        "h11_max_incomplete_event_size",
        "int",
        None,
        _LIMITS,
        "Another name of --limit-header-size.",
        optional=True,
        minimum=256,
        alias_of="limit_header_size",
    ),
    _timeout("timeout_keep_alive", 5, "A kept-alive connection may be idle."),
    _timeout("timeout_headers", 30, "The request headers must be complete."),
    _timeout("timeout_body", 60, "A request body may pause."),
    _timeout("timeout_write", 60, "A client may take nothing of a response."),
    _timeout("timeout_request", None, "A request may take as a whole."),
    _timeout("timeout_graceful_shutdown", 30, "Requests may take to finish at shutdown; then they are cancelled."),
    _timeout("timeout_lifespan_startup", None, "The application's start-up code may take."),
    _timeout("timeout_lifespan_shutdown", 30, "The application's shutdown code may take."),
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def nearest(name: str, names: Optional[list[str]] = None) -> Optional[str]:
    """The known option name that looks most like `name`, or None."""
    found = difflib.get_close_matches(name, list(BY_NAME) if names is None else names, n=1, cutoff=0.6)
    return found[0] if found else None
