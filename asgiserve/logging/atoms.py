"""access_log_format: the line of a request, made of gunicorn's atoms."""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from typing import Any, Callable, Mapping, Optional

from .formatters import phrase_of

Headers = list[tuple[bytes, bytes]]
Getter = Callable[["Request"], Any]

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


class Request:
    """What is known of a request when its line is made."""

    __slots__ = (
        "client",
        "duration",
        "headers",
        "http_version",
        "length",
        "method",
        "scheme",
        "sent",
        "status",
        "target",
    )

    def __init__(
        self,
        client: str,
        method: str,
        target: str,
        http_version: str,
        status: int,
        length: int,
        duration: float,
        scheme: str = "http",
        headers: Optional[Headers] = None,
        sent: Optional[Headers] = None,
    ) -> None:
        self.client = client
        self.method = method
        self.target = target
        self.http_version = http_version
        self.status = status
        self.length = length
        self.duration = duration
        self.scheme = scheme
        self.headers = headers
        self.sent = sent

    @property
    def host(self) -> str:
        """The client's address without its port."""
        return self.client.rpartition(":")[0] or self.client

    @property
    def path(self) -> str:
        """The path without the query, as it was sent."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query without the question mark."""
        return self.target.partition("?")[2]


def find_header(headers: Optional[Headers], name: bytes) -> Optional[str]:
    """The values of all header fields called `name` (in lower case), or None when there is none."""
    found = [value for key, value in headers or () if key == name or key.lower() == name]
    return b", ".join(found).decode("latin-1") if found else None


def _request_header(name: str) -> Getter:
    key = name.lower().encode("latin-1", "replace")

    def get(request: Request) -> str:
        value = find_header(request.headers, key)
        return escape(value) if value else "-"

    return get


def _response_header(name: str) -> Getter:
    key = name.lower().encode("latin-1", "replace")

    def get(request: Request) -> str:
        value = find_header(request.sent, key)
        return escape(value) if value else "-"

    return get


def _environ(name: str) -> Getter:
    """A variable of the WSGI environment that the request would have, or of the process's environment."""
    upper = name.upper()
    if upper.startswith("HTTP_"):
        return _request_header(upper[5:].replace("_", "-"))
    if upper in _ENVIRON:
        return _ENVIRON[upper]
    value = os.environ.get(name, os.environ.get(upper))
    text = escape(value) if value else "-"
    return lambda request: text


def _user(request: Request) -> str:
    """The user name of Basic authentication."""
    scheme, _, credentials = (find_header(request.headers, b"authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return "-"
    try:
        user = base64.b64decode(credentials.strip().encode(), validate=True).partition(b":")[0]
    except (binascii.Error, ValueError):
        return "-"
    return escape(user.decode("utf-8", "replace")).replace(" ", "\\x20") or "-"


def _time(request: Request) -> str:
    return _clock(int(time.time()))


def _clock(second: int) -> str:
    """``[21/Nov/2026:03:46:00 +0000]``, local time; made once per second."""
    global _last
    if _last[0] != second:
        at = time.localtime(second)
        offset = at.tm_gmtoff // 60
        zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}{abs(offset) % 60:02d}"
        date = f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}"
        _last = (second, f"[{date}:{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} {zone}]")
    return _last[1]


_last = (-1, "")

_ENVIRON: Mapping[str, Getter] = {
    "REQUEST_METHOD": lambda r: r.method,
    "REQUEST_URI": lambda r: escape(r.target),
    "RAW_URI": lambda r: escape(r.target),
    "PATH_INFO": lambda r: escape(r.path),
    "QUERY_STRING": lambda r: escape(r.query),
    "SERVER_PROTOCOL": lambda r: f"HTTP/{r.http_version}",
    "REMOTE_ADDR": lambda r: r.host or "-",
    "REMOTE_PORT": lambda r: r.client.rpartition(":")[2] or "-",
    "WSGI.URL_SCHEME": lambda r: r.scheme,
}

_ATOMS: Mapping[str, Getter] = {
    "h": lambda r: r.host or "-",
    "l": lambda r: "-",
    "u": _user,
    "t": _time,
    "r": lambda r: f"{r.method} {r.target} HTTP/{r.http_version}",
    "R": lambda r: f"{r.method} {r.path} HTTP/{r.http_version}",
    "s": lambda r: r.status,
    "st": lambda r: phrase_of(r.status) or "-",
    "S": lambda r: r.scheme,
    "m": lambda r: r.method,
    "U": lambda r: escape(r.path),
    "Uq": lambda r: escape(r.target),
    "q": lambda r: escape(r.query),
    "H": lambda r: f"HTTP/{r.http_version}",
    "b": lambda r: str(r.length) if r.length else "-",
    "B": lambda r: r.length,
    "f": _request_header("referer"),
    "a": _request_header("user-agent"),
    "T": lambda r: int(r.duration),
    "D": lambda r: int(r.duration * 1e6),
    "M": lambda r: int(r.duration * 1e3),
    "L": lambda r: f"{r.duration:.6f}",
    "p": lambda r: f"<{os.getpid()}>",
}

_NUMBERS = frozenset("sBTDM")
_NEED_HEADERS = frozenset(("u", "f", "a", "S"))


class LineFormat:
    """A parsed format. Raises ValueError, in one line, for an atom that is not known.

    Attributes:
        needs_headers: whether the line cannot be made without the headers.
    """

    def __init__(self, text: str) -> None:
        self.needs_headers = False
        self._getters: list[Getter] = []
        if "\n" in text or "\r" in text:
            raise ValueError("a line break is not allowed")
        self._template = _PART.sub(self._take, text)

    def _take(self, match: re.Match[str]) -> str:
        percent, atom, conversion, bad = match.groups()
        if percent:
            return "%%"
        if atom is None:
            raise ValueError(f"%{bad} is not of the form %(atom)s; a percent sign is written %%")
        self._getters.append(self._getter(atom))
        try:
            ("%" + conversion) % (0 if atom in _NUMBERS else "-")
        except (TypeError, ValueError):
            raise ValueError(f"%({atom}){conversion} cannot be formatted so") from None
        return "%" + conversion

    def _getter(self, atom: str) -> Getter:
        header = _HEADER.match(atom)
        if header is None:
            if atom not in _ATOMS:
                known = " ".join([*_ATOMS, "{header}i", "{header}o", "{variable}e"])
                raise ValueError(f"unknown atom %({atom})s, known are: {known}")
            self.needs_headers |= atom in _NEED_HEADERS
            return _ATOMS[atom]
        name, kind = header.groups()
        self.needs_headers |= kind != "e" or name.upper().startswith(("HTTP_", "WSGI."))
        return {"i": _request_header, "o": _response_header, "e": _environ}[kind](name)

    def render(self, request: Request) -> str:
        """The line of a request, without a line end."""
        return self._template % tuple([get(request) for get in self._getters])
