"""UNIX domain sockets that are ours: their file is made, taken over from a dead server, and removed again.

A file is taken over only when no process has its socket open, and removed only while it is the one that was made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from typing import Any, Iterator, Optional, Sequence

from .addresses import IN_USE, BindError, Unix, refused

AF_UNIX: Any = getattr(socket, "AF_UNIX", None)
"""None where there are no UNIX sockets."""

DEFAULT_MODE = 0o666
"""Everybody may connect: what may be reached is for the directory to say."""

_PATIENCE = 1.0
"""Seconds to wait for other servers that look at the same directory."""


class UnixFile:
    """The file of a socket that we have bound. :meth:`remove` removes it, unless another has taken its place.

    ``identity`` (pair of int) tells it from other files of the name; it is given for a socket that others have bound.
    """

    def __init__(self, path: str, identity: Optional[Sequence[int]] = None) -> None:
        # The application may change the directory before the file is removed.
        self._path = os.path.abspath(path)
        if identity is None:
            found = os.lstat(path)
            identity = found.st_dev, found.st_ino
        self.identity = tuple(identity)

    def remove(self) -> None:
        """To be called while the socket is open: until then no other file can have the same number."""
        with _alone_in(os.path.dirname(self._path)), contextlib.suppress(OSError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self.identity:
                os.unlink(self._path)


def bind(address: Unix, mode: Optional[int]) -> tuple[socket.socket, UnixFile]:
    """Binds a socket to the path. Its file gets `mode`; None stands for that of the dead socket in its place, or 0666.

    Raises :class:`asgiserve.addresses.BindError`.
    """
    if AF_UNIX is None:
        raise BindError(f"Cannot listen on {address}: there are no UNIX sockets on this platform")
    path = address.path
    sock = socket.socket(AF_UNIX, socket.SOCK_STREAM)
    file: Optional[UnixFile] = None
    try:
        with _alone_in(os.path.dirname(os.path.abspath(path))):
            kept = _clear(address)
            sock.bind(path)
            file = UnixFile(path)
        os.chmod(path, mode if mode is not None else kept)
        sock.setblocking(False)
    except OSError as exc:
        if file is not None:
            file.remove()
        sock.close()
        if isinstance(exc, BindError):
            raise
        raise refused(address, exc) from None
    return sock, file


def _clear(address: Unix) -> int:
    """Removes a socket that nobody has open any more; returns its mode, or the default one."""
    try:
        found = os.lstat(address.path)
    except OSError:
        return DEFAULT_MODE
    if not stat.S_ISSOCK(found.st_mode):
        raise BindError(f"Cannot listen on {address}: there is a file of that name that is not a socket")
    if _is_alive(address):
        raise BindError(f"Cannot listen on {address}: {IN_USE}")
    os.unlink(address.path)
    return stat.S_IMODE(found.st_mode)


def _is_alive(address: Unix) -> bool:
    """Whether some process has the socket open. Only a refusal proves that none has.

    A datagram cannot be sent to a stream socket, and the system says so also where the socket's server has yet to
    listen. A server that listens is not bothered by it, as it would be by a connection.
    """
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(AF_UNIX, kind) as probe:
            probe.setblocking(False)
            try:
                probe.connect(address.path)
            except ConnectionRefusedError:
                continue
            except PermissionError as exc:
                raise refused(address, exc) from None
            except OSError:
                return True
            return True
    return False


@contextlib.contextmanager
def _alone_in(directory: str) -> Iterator[None]:
    """Keeps other servers from taking over a file of `directory` between a look at it and what follows. Where that
    cannot be had in time, it goes on without: a lock that another program holds must not stop the server."""
    import fcntl  # not on Windows, which has no UNIX sockets either

    try:
        held = os.open(directory, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                if exc.errno not in (errno.EAGAIN, errno.EACCES):
                    break
                time.sleep(0.01)
            else:
                break
        yield
    finally:
        os.close(held)
