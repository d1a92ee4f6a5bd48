"""Listening sockets: where the server can be reached.

Opens TCP, UNIX and inherited sockets from a Config's ``host``, ``port``, ``uds``, ``fd`` and ``backlog``, and names
them for people. Sockets are bound here but not yet listening, so that an address in use is found before the
application starts and nobody is let in before it is ready. Failures are :class:`BindError`, one line each. Knows
nothing of event loops and protocols.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from typing import Any, Optional

_UNIX: Any = getattr(socket, "AF_UNIX", None)
_REASONS = {
    errno.EADDRINUSE: "the address is already in use",
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


class Listeners:
    """The listening sockets of a server.

    ``sockets`` are bound; :meth:`listen` makes them listen; :meth:`close` closes them and removes a UNIX socket's
    file that is ours.
    """

    def __init__(self, sockets: list[socket.socket], *, name: str = "", path: Optional[str] = None) -> None:
        self.sockets = sockets
        self._name = name
        self._path = path
        self._identity = _identity(path) if path is not None else None

    def listen(self, backlog: int) -> None:
        """Starts listening. Raises :class:`BindError`: two programs may be bound to one address, but only one can
        listen."""
        for sock in self.sockets:
            try:
                if sock.family in (socket.AF_INET, socket.AF_INET6):
                    # Accepted sockets inherit it, also from listening sockets that others have made.
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.listen(backlog)
            except OSError as exc:
                raise _failure(describe(sock), exc) from None

    def urls(self) -> list[str]:
        """Where clients find the server, with the real port: ``http://127.0.0.1:8000``, ``unix:/run/app.sock``."""
        urls: list[str] = []
        for sock in self.sockets:
            url = describe(sock, self._name)
            if url not in urls:
                urls.append(url)
        return urls

    def close(self) -> None:
        """Closes the sockets."""
        for sock in self.sockets:
            sock.close()

    def remove(self) -> None:
        """Removes the UNIX socket's file, unless another server has put its own there since."""
        if self._path is not None and self._identity is not None and _identity(self._path) == self._identity:
            try:
                os.unlink(self._path)
            except OSError:
                pass


def open_listeners(host: Optional[str], port: int, uds: Optional[str] = None, fd: Optional[int] = None) -> Listeners:
    """Opens and binds the sockets: of `fd` if given, else of `uds`, else TCP sockets for `host` and `port`.

    Raises :class:`BindError`.
    """
    if fd is not None:
        return Listeners([_from_fd(fd)])
    if uds is not None:
        return Listeners([_bind_unix(uds)], path=uds)
    return Listeners(_bind_tcp(host, port), name=host or "")


def describe(sock: socket.socket, host: str = "") -> str:
    """The address of `sock` as a URL; `host` replaces the numeric address, as the user wrote it."""
    address = sock.getsockname()
    if sock.family == _UNIX:
        name = address.decode("utf-8", "replace").replace("\0", "@") if isinstance(address, bytes) else address
        return f"unix:{name}"
    host = host or address[0]
    return f"http://[{host}]:{address[1]}" if ":" in host else f"http://{host}:{address[1]}"


def _failure(where: str, exc: OSError) -> BindError:
    reason = _REASONS.get(exc.errno or 0) or exc.strerror or str(exc)
    return BindError(f"Cannot listen on {where}: {reason}")


# -- inherited


def _from_fd(fd: int) -> socket.socket:
    where = f"file descriptor {fd}"
    try:
        # A copy: ours is closed at the end, the inherited number (often 0) stays what it is.
        sock = socket.socket(fileno=os.dup(fd))
    except OSError as exc:
        reason = "it is not a socket" if exc.errno == errno.ENOTSOCK else exc.strerror or str(exc)
        raise BindError(f"Cannot listen on {where}: {reason}") from None
    if sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6, _UNIX):
        sock.close()
        raise BindError(f"Cannot listen on {where}: it is neither a TCP nor a UNIX stream socket")
    sock.setblocking(False)
    return sock


# -- UNIX


def _bind_unix(path: str) -> socket.socket:
    where = f"unix:{path}"
    if _UNIX is None:
        raise BindError(f"Cannot listen on {where}: there are no UNIX sockets on this platform")
    mode = _clear_unix_path(path)
    sock = socket.socket(_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, mode)
        sock.setblocking(False)
    except OSError as exc:
        sock.close()
        if exc.errno is None:  # Python itself refuses a path that is too long for the system
            raise BindError(f"Cannot listen on {where}: {exc}") from None
        raise _failure(where, exc) from None
    return sock


def _clear_unix_path(path: str) -> int:
    """Removes a socket that nobody listens on any more; returns the mode for the new one: the old one's, or 0666."""
    where = f"unix:{path}"
    try:
        found = os.lstat(path)
    except OSError:
        return 0o666
    if not stat.S_ISSOCK(found.st_mode):
        raise BindError(f"Cannot listen on {where}: there is a file of that name that is not a socket")
    if _answers(path):
        raise BindError(f"Cannot listen on {where}: {_REASONS[errno.EADDRINUSE]}")
    try:
        os.unlink(path)
    except OSError as exc:
        raise _failure(where, exc) from None
    return stat.S_IMODE(found.st_mode)


def _answers(path: str) -> bool:
    """Whether somebody listens. Only a refusal proves that nobody does; any other failure counts as somebody."""
    with socket.socket(_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
        return True


def _identity(path: str) -> Optional[tuple[int, int]]:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


# -- TCP


def _bind_tcp(host: Optional[str], port: int) -> list[socket.socket]:
    where = f"{host or '*'}:{port}" if not host or ":" not in host else f"[{host}]:{port}"
    if host in (None, "", "::") and socket.has_dualstack_ipv6():
        return [_bind_one(socket.AF_INET6, ("::", port, 0, 0), where, dual_stack=True)]
    addresses = _resolve(host or "0.0.0.0", port, where)
    for attempt in range(10):
        try:
            return _bind_all(addresses, port, where)
        except BindError as exc:
            # A port that is free at one address of a name need not be free at the next.
            if port != 0 or exc.errno != errno.EADDRINUSE or attempt == 9:
                raise
    raise AssertionError  # pragma: no cover


def _bind_all(addresses: list[tuple[int, Any]], port: int, where: str) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    failure: Optional[BindError] = None
    for family, address in addresses:
        if port == 0 and sockets:  # one free port for all addresses of the name
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(_bind_one(family, address, where))
        except BindError as exc:
            # A name may stand for an address family that this machine has not switched on: one address is enough.
            failure = exc
            if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    else:
        if sockets:
            return sockets
    for sock in sockets:
        sock.close()
    assert failure is not None
    raise failure


def _resolve(host: str, port: int, where: str) -> list[tuple[int, Any]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "the host name cannot be resolved"
        raise BindError(f"Cannot listen on {where}: {reason}") from None
    unique: dict[tuple[int, Any], None] = {}
    for family, _, _, _, address in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            unique[family, address] = None
    if not unique:
        raise BindError(f"Cannot listen on {where}: the host name has no address")
    return list(unique)


def _bind_one(family: int, address: Any, where: str, dual_stack: bool = False) -> socket.socket:
    sock: Optional[socket.socket] = None
    try:
        # asyncio looks at the protocol number before it sets TCP_NODELAY on what is accepted.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if sys.platform == "win32":
            # There SO_REUSEADDR would let a second server steal the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
        sock.bind(address)
        sock.setblocking(False)
    except OSError as exc:
        if sock is not None:
            sock.close()
        failure = _failure(where, exc)
        failure.errno = exc.errno
        raise failure from None
    return sock
