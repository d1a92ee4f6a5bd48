"""The kinds of values that options have: what checks and converts each of them.

A check takes the option and a value, be it text (command line, environment) or an object (a file, ``Config``), and
returns the value in its final type. It takes what it returned. Bad values raise ValueError, with a reason in one line.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Callable, Optional

from . import addresses
from .logging import LineFormat
from .trust import TrustedPeers, split_items

if TYPE_CHECKING:
    from .options import Option

_TRUE = frozenset(("1", "true", "t", "yes", "y", "on"))
_FALSE = frozenset(("0", "false", "f", "no", "n", "off"))
_OCTAL = re.compile(r"(0o)?[0-7]{1,4}\Z")
_MODULE_PART = re.compile(r"[^\s/\\:.]+\Z")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
# A default header must never change how a response is framed.
_FRAMING = frozenset(("content-length", "transfer-encoding", "connection", "upgrade", "trailer"))


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
    return re.sub("/{2,}", "/", text).rstrip("/")  # so that root_path + path has no double slash


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


def _check_protocol(option: Option, value: Any) -> str:
    """A choice; also uvicorn's class for it, or the import string of that."""
    text = f"{value.__module__}:{value.__qualname__}" if isinstance(value, type) else value
    if not isinstance(text, str) or ":" not in text:
        return _check_choice(option, text)
    if text not in _UVICORN_PROTOCOLS:
        choices = ", ".join(option.choices)
        raise ValueError(f"{text!r} is not one of {choices}; protocol classes of others cannot be used here")
    return _UVICORN_PROTOCOLS[text]


#: Protocol classes that uvicorn's users name, and what they mean here.
_UVICORN_PROTOCOLS = {
    "uvicorn.protocols.http.auto:AutoHTTPProtocol": "auto",
    "uvicorn.protocols.http.h11_impl:H11Protocol": "h11",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol": "httptools",
    "uvicorn.protocols.http.zttp_impl:ZttpProtocol": "zttp",
    "uvicorn.protocols.websockets.auto:AutoWebSocketsProtocol": "auto",
    "uvicorn.protocols.websockets.websockets_impl:WebSocketProtocol": "websockets",
    "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol": "websockets-sansio",
    "uvicorn.protocols.websockets.wsproto_impl:WSProtocol": "wsproto",
}


def _check_loop(option: Option, value: Any) -> Any:
    if callable(value):
        return value
    if isinstance(value, str) and ":" in value:
        return _check_app(option, value.strip())
    try:
        return _check_choice(option, value)
    except ValueError as exc:
        raise ValueError(f"{exc}, or module:callable") from None


def _check_choices(option: Option, value: Any) -> tuple[str, ...]:
    """Some of the choices, as text with commas or as strings; in the order of the table."""
    words = [word.lower() for word in split_items(value)]
    for word in words:
        if word not in option.choices:
            raise ValueError(f"{word!r} is not one of {', '.join(option.choices)}")
    return tuple(choice for choice in option.choices if choice in words)


def _check_peers(option: Option, value: Any) -> Optional[list[str]]:
    if value is None:
        return None
    TrustedPeers(value)
    return split_items(value)


def _check_ssl_version(option: Option, value: Any) -> int:
    """A protocol number of the ssl module. Those that stand for one broken version, or for clients, are refused."""
    number = _check_int(option, value)
    if number in (3, 4):
        raise ValueError(f"{number} is TLS 1.{number - 3}, which is broken; ssl_context_factory can still offer it")
    if number not in (2, 5, 17):
        raise ValueError(f"{number} is not 17 (what both sides can), 2 (the same) or 5 (TLS 1.2 only)")
    return int(number)


def _check_cert_reqs(option: Option, value: Any) -> int:
    word = value.strip().lower() if isinstance(value, str) else value
    number = _check_int(option, _CERT_REQS.get(word, word) if isinstance(word, str) else word)
    if number not in _CERT_REQS.values():
        raise ValueError(f"{number} is not 0 (none), 1 (optional) or 2 (required)")
    return int(number)


_CERT_REQS = {"none": 0, "optional": 1, "required": 2}


def _check_level(option: Option, value: Any) -> Any:
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value  # a level number of the logging module
    return _check_choice(option, value)


def _check_log_config(option: Option, value: Any) -> Any:
    from configparser import RawConfigParser  # the default is not checked, so that most do without

    if isinstance(value, (dict, RawConfigParser)) or hasattr(value, "readline"):
        return value
    try:
        path = _check_path(option, value)
    except ValueError:
        raise ValueError(f"{value!r} is not a dict, a path, a RawConfigParser or an open file") from None
    if not path:
        raise ValueError("the path is empty")
    return path


def _check_line_format(option: Option, value: Any) -> str:
    text = _check_text(option, value)
    LineFormat(text)
    return text


def _check_texts(option: Option, value: Any) -> list[str]:
    """A list of strings, or text with one in each line."""
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    items = [line for line in value.splitlines() if line] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError(f"{value!r} is not a list of strings")
    return [_check_path(option, item) for item in items]


def _check_addresses(option: Option, value: Any) -> list[str]:
    """Addresses to listen on, as text with commas or line ends, or as a list of such; a number is a port."""
    found: list[str] = []
    for item in value if isinstance(value, (list, tuple)) else [] if value is None else [value]:
        text = str(item) if isinstance(item, int) and not isinstance(item, bool) else _check_text(option, item)
        found += [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    for text in found:
        addresses.parse(text)
        if found.count(text) > 1:
            raise ValueError(f"{text!r} is there twice")
    return found


def _check_address(option: Option, value: Any) -> str:
    """One address to listen on, as text; a number is a port."""
    found = _check_addresses(option, value)
    if len(found) != 1:
        raise ValueError(f"{value!r} is not one address")
    return found[0]


def _check_mode(option: Option, value: Any) -> str:
    """The permissions of a file: text in octal, or a number. Returns text, such as 660."""
    number = value
    if isinstance(value, str) and _OCTAL.match(value.strip().lower()):
        number = int(value, 8)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{value!r} is not a mode in octal, such as 660")
    if not 0 <= number <= 0o777:
        raise ValueError(f"{value!r} is not a mode from 0 to 777 in octal, written as text or as 0o660")
    return f"{number:o}"


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
    # A file can be imported by a name that is no identifier, such as my-app.
    if not all(_MODULE_PART.match(part) for part in module.split(".")) or not all(
        part.isidentifier() for part in attribute.split(".")
    ):
        raise ValueError(f"{value!r} is not of the form module:attribute, as in main:app")
    return value


#: The kinds of options that can be given several times on the command line. Each value is a string.
MULTIPLE = frozenset(("headers", "texts", "addresses"))

#: What checks a value of each kind, and returns it in its final type. Each raises ValueError.
CHECKS: dict[str, Callable[[Option, Any], Any]] = {
    "text": _check_text,
    "path": _check_path,
    "root_path": _check_root_path,
    "int": _check_int,
    "seconds": _check_seconds,
    "flag": _check_flag,
    "switch": _check_flag,
    "boolean": _check_flag,
    "choice": _check_choice,
    "protocol": _check_protocol,
    "loop": _check_loop,
    "choices": _check_choices,
    "peers": _check_peers,
    "ssl_version": _check_ssl_version,
    "cert_reqs": _check_cert_reqs,
    "level": _check_level,
    "log_config": _check_log_config,
    "line_format": _check_line_format,
    "texts": _check_texts,
    "address": _check_address,
    "addresses": _check_addresses,
    "mode": _check_mode,
    "headers": _check_headers,
    "app": _check_app,
}
