"""Addresses to listen on: how they are written, and what is said of one that cannot be had.

Opening them is the business of :mod:`asgiserve.sockets`.
"""

from __future__ import annotations

import errno
from typing import NamedTuple, Union

FORMS = "host:port, [v6]:port, :port, port, unix:path or fd://number"
DEFAULT_HOST = "127.0.0.1"

IN_USE = "the address is already in use"
_REASONS = {
    errno.EADDRINUSE: IN_USE,
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EADDRNOTAVAIL: "the address is not one of this machine",
    errno.ENOENT: "no such directory",
    errno.ENOTDIR: "no such directory",
}


class BindError(OSError):
    """A listening socket could not be had. The text is one line that names the address and the reason."""

    def __str__(self) -> str:
        return str(self.args[0])


class TCP(NamedTuple):
    """A host (name or address; empty for all of this machine's addresses) and a port (0 for a free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = self.host or "*"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class Unix(NamedTuple):
    """The path of a UNIX domain socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class Inherited(NamedTuple):
    """The number of a file descriptor that is a socket already, and the name that it goes by, if any."""

    fd: int
    name: str = ""

    def __str__(self) -> str:
        return f"file descriptor {self.fd}" + (f" ({self.name})" if self.name else "")


Address = Union[TCP, Unix, Inherited]


def parse(text: str) -> Address:
    """Reads an address in one of the FORMS. A port alone is one of 127.0.0.1, as with ``--port``; without a host, but
    with the colon, it is one of all addresses.

    Raises ValueError, with a reason in one line.
    """
    if text.startswith("unix:"):
        if text == "unix:" or "\0" in text:
            raise ValueError(f"{text!r} has no path")
        return Unix(text[5:])
    if text.startswith("fd://"):
        if not _is_number(text[5:]):
            raise ValueError(f"{text!r} has no file descriptor's number")
        return Inherited(int(text[5:]))
    if _is_number(text):
        return TCP(DEFAULT_HOST, _port(text))
    host, colon, port = text.rpartition(":")
    if host[:1] == "[" and host[-1:] == "]" and ":" in host:
        host = host[1:-1]
    elif not colon or any(char in "[]:/\0" or char.isspace() for char in host):
        raise ValueError(f"{text!r} is not of the form {FORMS}")
    return TCP(host, _port(port))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _port(text: str) -> int:
    if not _is_number(text) or len(text) > 5 or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port, a number from 0 to 65535")
    return int(text)


def refused(where: object, exc: OSError) -> BindError:
    """The error that says why the address `where` cannot be had; it has the number of `exc`."""
    reason = _REASONS.get(exc.errno or 0) or exc.strerror or str(exc)
    error = BindError(f"Cannot listen on {where}: {reason}")
    error.errno = exc.errno
    return error
