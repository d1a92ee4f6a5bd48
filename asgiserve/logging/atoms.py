"""access_log_format: the line of a request, made of gunicorn's atoms."""

from __future__ import annotations

import base64
import os
import re
import time
from typing import Any, Callable, Mapping, Optional

from .._consts import (
    PART_DURATION,
    PART_HOST,
    PART_LENGTH,
    PART_LENGTH_OR_DASH,
    PART_METHOD,
    PART_OTHER,
    PART_REQUEST_FIELD,
    PART_REQUEST_LINE,
    PART_RESPONSE_FIELD,
    PART_SCHEME,
    PART_STATUS,
    PART_STATUS_TEXT,
    PART_TEXT,
    PART_TIME,
    PART_USER,
)
from .formatters import phrase_of

#: The arguments of a ``lines.Part``.
PartOf = tuple[int, Any, Optional[Callable[[str], str]]]

_PART = re.compile(r"%(?:(%)|\(([^()]*)\)([-#0 +]*[0-9]*(?:\.[0-9]+)?[a-zA-Z])|(.?))", re.S)
_HEADER = re.compile(r"\{([^{}]+)\}([ioe])\Z")
# A quote or a backslash would end or prolong a quoted part of the line, a control character the line itself.
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def escape(text: str) -> str:
    """`text` with every character that could break a log line replaced."""
    return _UNSAFE.sub(_replace, text)


def _replace(match: re.Match[str]) -> str:
    char = match.group()
    if char in '"\\':
        return "\\" + char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else char.encode("ascii", "backslashreplace").decode()


def _user(field: bytes) -> str:
    """The user name of Basic authentication, from the value of an Authorization field."""
    scheme, _, credentials = field.partition(b" ")
    if scheme.lower() != b"basic":
        return "-"
    try:
        user = base64.b64decode(credentials.strip(), validate=True).partition(b":")[0]
    except ValueError:
        return "-"
    return escape(user.decode("utf-8", "replace")).replace(" ", "\\x20") or "-"


def _clock(second: int) -> str:
    """``[21/Nov/2026:03:46:00 +0000]``, local time."""
    at = time.localtime(second)
    offset = at.tm_gmtoff // 60
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}{abs(offset) % 60:02d}"
    date = f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}"
    return f"[{date}:{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} {zone}]"


# Functions of a ``lines.Request``.


def _path(request: Any) -> str:
    return escape(request.target.partition("?")[0])


def _query(request: Any) -> str:
    return escape(request.target.partition("?")[2])


def _target(request: Any) -> str:
    return escape(request.target)


def _protocol(request: Any) -> str:
    return f"HTTP/{request.http_version}"


def _line_without_query(request: Any) -> str:
    return f"{request.method} {request.target.partition('?')[0]} HTTP/{request.http_version}"


_ENVIRON: Mapping[str, tuple[int, Any]] = {
    "REQUEST_METHOD": (PART_METHOD, None),
    "REQUEST_URI": (PART_OTHER, _target),
    "RAW_URI": (PART_OTHER, _target),
    "PATH_INFO": (PART_OTHER, _path),
    "QUERY_STRING": (PART_OTHER, _query),
    "SERVER_PROTOCOL": (PART_OTHER, _protocol),
    "REMOTE_ADDR": (PART_HOST, None),
    "REMOTE_PORT": (PART_OTHER, lambda request: request.client.rpartition(":")[2] or "-"),
    "WSGI.URL_SCHEME": (PART_SCHEME, None),
}

_ATOMS: Mapping[str, tuple[int, Any]] = {
    "h": (PART_HOST, None),
    "l": (PART_TEXT, "-"),
    "u": (PART_USER, _user),
    "t": (PART_TIME, _clock),
    "r": (PART_REQUEST_LINE, None),
    "R": (PART_OTHER, _line_without_query),
    "s": (PART_STATUS, None),
    "st": (PART_STATUS_TEXT, lambda status: phrase_of(status) or "-"),
    "S": (PART_SCHEME, None),
    "m": (PART_METHOD, None),
    "U": (PART_OTHER, _path),
    "Uq": (PART_OTHER, _target),
    "q": (PART_OTHER, _query),
    "H": (PART_OTHER, _protocol),
    "b": (PART_LENGTH_OR_DASH, None),
    "B": (PART_LENGTH, None),
    "f": (PART_REQUEST_FIELD, b"referer"),
    "a": (PART_REQUEST_FIELD, b"user-agent"),
    "T": (PART_OTHER, lambda request: str(int(request.duration))),
    "D": (PART_OTHER, lambda request: str(int(request.duration * 1e6))),
    "M": (PART_OTHER, lambda request: str(int(request.duration * 1e3))),
    "L": (PART_DURATION, None),
    "p": (PART_OTHER, lambda request: f"<{os.getpid()}>"),
}

_NUMBERS = frozenset("sBTDM")
_NEED_DURATION = frozenset("TDML")
_NEED_HEADERS = frozenset((PART_USER, PART_SCHEME, PART_REQUEST_FIELD, PART_RESPONSE_FIELD))


class LineFormat:
    """A parsed format. Raises ValueError, in one line, for an atom that is not known.

    Attributes:
        parts: what a line consists of, without its end; for a ``lines.PartsTemplate``.
        needs_headers: whether the line cannot be made without the scheme and the headers.
        needs_duration: whether it cannot be made without the duration.
    """

    def __init__(self, text: str) -> None:
        self.parts: list[PartOf] = []
        self.needs_headers = False
        self.needs_duration = False
        if "\n" in text or "\r" in text:
            raise ValueError("a line break is not allowed")
        end = 0
        for match in _PART.finditer(text):
            self.parts.append((PART_TEXT, text[end : match.start()], None))
            self.parts.append(self._part(*match.groups()))
            end = match.end()
        self.parts.append((PART_TEXT, text[end:], None))

    def _part(self, percent: Optional[str], atom: Optional[str], conversion: str, bad: str) -> PartOf:
        if percent:
            return PART_TEXT, "%", None
        if atom is None:
            raise ValueError(f"%{bad} is not of the form %(atom)s; a percent sign is written %%")
        kind, subject = _meaning(atom)
        shape = _shape(atom, conversion)
        self.needs_headers |= kind in _NEED_HEADERS
        self.needs_duration |= atom in _NEED_DURATION
        if kind == PART_TEXT and shape is not None:
            return kind, shape(subject), None
        return kind, subject, shape


def _shape(atom: str, conversion: str) -> Optional[Callable[[str], str]]:
    """What makes ``%5s`` of the text of an atom; None for ``%s``."""
    is_number = atom in _NUMBERS
    template = f"%{conversion}"
    try:
        template % (2**40 if is_number else "--")  # longer than the one character of %c
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"%({atom}){conversion} cannot be formatted so") from None
    if conversion == "s":
        return None
    return lambda text: template % (int(text) if is_number else text)


def _meaning(atom: str) -> tuple[int, Any]:
    """The kind and the subject of an atom's ``lines.Part``."""
    header = _HEADER.match(atom)
    if header is None:
        if atom not in _ATOMS:
            known = " ".join([*_ATOMS, "{header}i", "{header}o", "{variable}e"])
            raise ValueError(f"unknown atom %({atom})s, known are: {known}")
        return _ATOMS[atom]
    name, kind = header.groups()
    if kind == "e":
        return _variable(name)
    return PART_REQUEST_FIELD if kind == "i" else PART_RESPONSE_FIELD, _field(name)


def _variable(name: str) -> tuple[int, Any]:
    """A variable of the WSGI environment that the request would have, or of the process's environment."""
    upper = name.upper()
    if upper.startswith("HTTP_"):
        return PART_REQUEST_FIELD, _field(upper[5:].replace("_", "-"))
    if upper in _ENVIRON:
        return _ENVIRON[upper]
    return PART_TEXT, escape(os.environ.get(name, os.environ.get(upper)) or "") or "-"


def _field(name: str) -> bytes:
    return name.lower().encode("latin-1", "replace")
