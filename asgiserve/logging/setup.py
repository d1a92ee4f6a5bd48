"""The logging set-up: reads ``log_config`` in all its forms, and applies it with the other options.

A set-up that was made for uvicorn is taken as it is: its formatter classes mean ours, and what it says of its loggers
holds for ours too.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from . import default_setup
from .defaults import LOG_LEVELS, LOGGING_CONFIG
from .streams import StreamHandler

if TYPE_CHECKING:
    from configparser import RawConfigParser

LOGGERS = ("asgiserve", "asgiserve.error", "asgiserve.access", "asgiserve.asgi")

#: Loggers of uvicorn, and ours that do the same.
_TWINS = {
    "uvicorn": "asgiserve",
    "uvicorn.error": "asgiserve.error",
    "uvicorn.access": "asgiserve.access",
    "uvicorn.asgi": "asgiserve.asgi",
}
_FOREIGN = "uvicorn.logging."
_OURS = "asgiserve.logging."

COMPLAINT_INTERVAL = 60.0
"""Seconds between two complaints about a handler that cannot write."""

Loaded = Union[dict[str, Any], "RawConfigParser", None]


# -- reading


def load(log_config: Any) -> Loaded:
    """Reads a ``log_config``: None, a dict, a RawConfigParser, an open file, or the path of a file.

    Raises ValueError, in one line that names the file.
    """
    if log_config is None or isinstance(log_config, dict):
        return log_config
    from configparser import RawConfigParser  # the default set-up does without

    if isinstance(log_config, RawConfigParser):
        return log_config
    if hasattr(log_config, "readline"):
        return _read_ini(log_config.read(), str(getattr(log_config, "name", "log_config")))
    path = os.fspath(log_config)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as exc:
        raise ValueError(f"cannot read {path}: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    reader = _READERS.get(os.path.splitext(path)[1].lower())
    if reader is None:
        return _read_ini(text, path)
    try:
        found = reader(text)
    except _Missing as exc:
        raise ValueError(f"{exc} to read {path}") from None
    except Exception as exc:  # each library has its own
        raise ValueError(f"{path}: {_one_line(exc)}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no table but a {type(found).__name__}")
    return found


class _Missing(Exception):
    pass


def _read_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise _Missing("PyYAML is needed (pip install 'asgiserve[yaml]')") from None
    return yaml.safe_load(text)


def _read_toml(text: str) -> Any:
    try:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    except ImportError:
        raise _Missing("Python 3.11 or tomli is needed (pip install tomli)") from None
    return tomllib.loads(text)


def _read_json(text: str) -> Any:
    import json

    return json.loads(text)


_READERS: dict[str, Callable[[str], Any]] = {
    ".json": _read_json,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".toml": _read_toml,
}


def _read_ini(text: str, path: str) -> RawConfigParser:
    import configparser

    # As logging.config.fileConfig does; formats are full of percent signs, but some use interpolation.
    parser = configparser.ConfigParser()
    try:
        parser.read_string(text, path)
    except configparser.Error as exc:
        raise ValueError(_one_line(exc)) from None
    missing = [name for name in ("loggers", "handlers", "formatters") if not parser.has_section(name)]
    if missing:
        raise ValueError(f"{path}: no section [{missing[0]}]; it is read as by logging.config.fileConfig")
    return parser


def _one_line(exc: BaseException) -> str:
    text = f"{type(exc).__name__}: {exc}" if isinstance(exc, (KeyError, AttributeError)) else str(exc)
    return " ".join(text.split()) or type(exc).__name__


# -- mapping


def _map_dict(config: dict[str, Any]) -> dict[str, Any]:
    """A copy in which uvicorn's names mean ours."""
    config = copy.deepcopy(config)
    for kind in ("formatters", "handlers", "filters"):
        for entry in _entries(config, kind):
            for key in ("()", "class"):
                if isinstance(entry.get(key), str) and entry[key].startswith(_FOREIGN):
                    entry[key] = _OURS + entry[key][len(_FOREIGN) :]
    loggers = config.get("loggers")
    if isinstance(loggers, dict):
        for theirs, ours in _TWINS.items():
            if theirs in loggers and ours not in loggers:
                loggers[ours] = copy.deepcopy(loggers[theirs])
    return config


def _entries(config: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    entries = config.get(kind)
    return [entry for entry in entries.values() if isinstance(entry, dict)] if isinstance(entries, dict) else []


def _map_ini(parser: RawConfigParser) -> RawConfigParser:
    """The same for a parser; changes it."""
    for section in parser.sections():
        name = parser.get(section, "class", raw=True, fallback="")
        if section.startswith("formatter_") and name.startswith(_FOREIGN):
            parser.set(section, "class", _OURS + name[len(_FOREIGN) :])
    keys = [key.strip() for key in parser.get("loggers", "keys", fallback="").split(",") if key.strip()]
    named = {parser.get(f"logger_{key}", "qualname", fallback=""): key for key in keys}
    for theirs, ours in _TWINS.items():
        if theirs in named and ours not in named:
            twin = f"{named[theirs]}_{ours}"
            parser.add_section(f"logger_{twin}")
            for key, value in parser.items(f"logger_{named[theirs]}", raw=True):
                parser.set(f"logger_{twin}", key, value)
            parser.set(f"logger_{twin}", "qualname", ours)
            keys.append(twin)
    parser.set("loggers", "keys", ",".join(keys))
    return parser


# -- applying


def configure(
    log_config: Any,
    log_level: Union[str, int, None] = None,
    use_colors: Optional[bool] = None,
    access_log: bool = True,
    log_format: str = "text",
    access_log_format: Optional[str] = None,
) -> None:
    """Applies `log_config` (see :func:`load`; None leaves the handlers alone), then the level.

    `use_colors` goes into those formatters of a dict or file that are called ``default`` and ``access``; `log_format`
    and `access_log_format` change the formatters of the default set-up. Without `access_log` the access logger loses
    its handlers. Raises ValueError, in one line.
    """
    is_default = log_config == LOGGING_CONFIG
    loaded = load(log_config)
    source = f"{os.fspath(log_config)}: " if isinstance(log_config, (str, os.PathLike)) else ""
    if isinstance(loaded, dict):
        config = _map_dict(loaded)
        if is_default and log_format == "json":
            config["formatters"] = {name: {"()": "asgiserve.logging.JSONFormatter"} for name in ("default", "access")}
        elif is_default and access_log_format is not None:
            config["formatters"]["access"]["fmt"] = "%(message)s"
        if use_colors is not None:
            _set_colours(config, use_colors)
        _apply(default_setup.apply if log_config == default_setup.UNCHANGED else _dict_config, config, source)
    elif loaded is not None:
        _apply(_file_config, _map_ini(loaded), source)
    if loaded is not None:
        _enable_other_logger()
    if log_level is not None:
        level = LOG_LEVELS[log_level] if isinstance(log_level, str) else log_level
        for name in (*LOGGERS, "uvicorn", "uvicorn.error") if is_default else LOGGERS:
            logging.getLogger(name).setLevel(level)
    if not access_log:
        access = logging.getLogger("asgiserve.access")
        access.handlers = []
        access.propagate = False
    for name in LOGGERS:
        for handler in logging.getLogger(name).handlers:
            _guard(handler)


def _set_colours(config: dict[str, Any], use_colors: bool) -> None:
    formatters = config.get("formatters")
    for name in ("default", "access"):
        formatter = formatters.get(name) if isinstance(formatters, dict) else None
        if isinstance(formatter, dict) and str(formatter.get("()", "")).startswith(_OURS):
            formatter["use_colors"] = use_colors


def _dict_config(config: dict[str, Any]) -> None:
    import logging.config  # which brings pickle, socketserver and configparser along

    logging.config.dictConfig(config)


def _file_config(parser: RawConfigParser) -> None:
    import logging.config

    if "root" not in [key.strip() for key in parser.get("loggers", "keys", fallback="").split(",")]:
        raise ValueError("[loggers] has no root among its keys")
    logging.config.fileConfig(parser, disable_existing_loggers=False)


def _apply(function: Callable[[Any], None], config: Any, source: str) -> None:
    try:
        function(config)
    except Exception as exc:  # anything that a constructor of the user's may raise
        reason = _one_line(exc)
        if exc.__cause__ is not None:
            reason += f": {_one_line(exc.__cause__)}"
        raise ValueError(source + reason) from None


def _enable_other_logger() -> None:
    """A set-up that does not name the logger has disabled it; only the application is to do that."""
    found = logging.root.manager.loggerDict.get("uvicorn.access")
    if isinstance(found, logging.Logger):
        found.disabled = False


# -- handlers that cannot write


def _guard(handler: logging.Handler) -> None:
    """Has a handler that cannot write say so once in a while, in one line; logging would print a traceback for each
    record."""
    if isinstance(handler, StreamHandler) or isinstance(getattr(handler, "handleError", None), _Complaint):
        return
    handler.handleError = _Complaint(handler)  # type: ignore[method-assign]


class _Complaint:
    """In the place of a handler's handleError()."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler
        self._print = handler.handleError
        self._last = -COMPLAINT_INTERVAL

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        # A closed stream is a ValueError; the others are mistakes in a format or in a call.
        if not isinstance(error, OSError) and not (isinstance(error, ValueError) and "closed" in str(error)):
            self._print(record)
            return
        now = time.monotonic()
        if now - self._last >= COMPLAINT_INTERVAL:
            self._last = now
            try:
                sys.stderr.write(f"asgiserve: {self._handler!r} cannot write, its lines are lost: {error}\n")
                sys.stderr.flush()
            except (OSError, ValueError, AttributeError):
                pass  # standard error cannot be written either, or is not there
