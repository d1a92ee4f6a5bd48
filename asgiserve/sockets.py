"""Listening sockets: where the server can be reached.

Opens TCP, UNIX and inherited sockets, and names them for people. Sockets are bound here but not yet listening, so that
an address in use is found before the application starts and nobody is let in before it is ready. Failures are
:class:`BindError`, one line each. Knows nothing of event loops and protocols.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple, Optional, Sequence

from . import unix_socket
from .addresses import TCP, Address, BindError, Inherited, Unix, parse, refused
from .options import BY_NAME
from .systemd import take_sockets
from .unix_socket import AF_UNIX, UnixFile

__all__ = ["BindError", "Listeners", "addresses_of", "describe", "open_configured", "open_listeners"]

if TYPE_CHECKING:
    from .config import Config
    from .processes.handover import Predecessor

logger = logging.getLogger("asgiserve.error")

LOCAL_CONGESTION_CONTROL = b"reno"
"""The congestion control for a client on this machine, a proxy in front most likely. Between programs of one machine
nothing is congested, so that which costs least is best. BBR, which many systems use for the sake of clients far away,
would measure and pace each response."""

_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Listener(NamedTuple):
    """A socket, the address that it was asked for with, and the file that is to be removed in the end.

    One that another program has handed over ``is_lent`` until that lets go of it; ``slot`` is that of the worker whose
    own it was there, if it was.
    """

    sock: socket.socket
    address: Optional[Address] = None
    file: Optional[UnixFile] = None
    is_lent: bool = False
    slot: Optional[int] = None

    @property
    def host(self) -> str:
        """As the user wrote it."""
        return self.address.host if isinstance(self.address, TCP) else ""


class Listeners:
    """The listening sockets of a server.

    ``sockets`` are bound; :meth:`listen` makes them listen; :meth:`remove` and :meth:`close`, in that order, take them
    away again. ``passed`` are the addresses of sockets that are systemd's; ``predecessor`` is the program whose place
    is to be taken, if there is one.
    """

    def __init__(self, sockets: Sequence[socket.socket] = ()) -> None:
        self.passed: list[Inherited] = []
        self.predecessor: Optional[Predecessor] = None
        self._listeners = [Listener(sock) for sock in sockets]

    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets, in the order in which they were asked for."""
        return [listener.sock for listener in self._listeners]

    def __iter__(self) -> Iterator[Listener]:
        return iter(self._listeners)

    def add(self, listener: Listener) -> None:
        """Takes over a socket."""
        self._listeners.append(listener)

    def listen(self, backlog: int) -> None:
        """Starts listening. Raises :class:`BindError`: two programs may be bound to one address, but only one can
        listen."""
        for sock in self.sockets:
            try:
                sock.setblocking(False)
                if sock.family in (socket.AF_INET, socket.AF_INET6):
                    # Accepted sockets inherit it, also from listening sockets that others have made.
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.listen(backlog)
            except OSError as exc:
                raise refused(describe(sock), exc) from None

    def urls(self, scheme: str = "http") -> list[str]:
        """Where clients find the server, with the real port: ``http://127.0.0.1:8000``, ``unix:/run/app.sock``."""
        urls: list[str] = []
        for listener in self._listeners:
            url = describe(listener.sock, listener.host, scheme)
            if url not in urls:
                urls.append(url)
        return urls

    def take_over(self) -> bool:
        """Whether the sockets are this program's alone: at once, unless another one has handed them over. That is told
        that this one serves, and the answer may take a while."""
        if self.predecessor is not None:
            if not self.predecessor.has_let_go():
                return False
            self.predecessor.close_rest()
            self.predecessor = None
        self._listeners = [listener._replace(is_lent=False) for listener in self._listeners]
        return True

    def let_go(self) -> None:
        """Leaves the sockets to another program that has them too."""
        self._listeners = [listener._replace(is_lent=True) for listener in self._listeners]

    def remove(self) -> None:
        """Removes the files of UNIX sockets that are this program's, unless another has put its own there since."""
        for listener in self._listeners:
            if listener.file is not None and not listener.is_lent:
                listener.file.remove()

    def close(self) -> None:
        """Closes the sockets."""
        for sock in self.sockets:
            sock.close()


def addresses_of(config: Config) -> list[Address]:
    """The addresses that the settings mean: ``bind``, else ``fd``, else ``uds``, else ``host`` and ``port``."""
    if config.bind:
        return [parse(text) for text in config.bind]
    if config.fd is not None:
        return [Inherited(config.fd)]
    if config.uds is not None:
        return [Unix(config.uds)]
    return [TCP(config.host or "", config.port)]


def open_configured(config: Config) -> Listeners:
    """Opens what the settings ask for; the sockets that systemd has passed where they ask for nothing.

    Raises :class:`BindError`.
    """
    from .processes.handover import find_predecessor  # it knows of addresses as well

    predecessor = find_predecessor(os.environ)
    passed = take_sockets(os.environ) if predecessor is None else predecessor.passed
    addresses = addresses_of(config)
    given = [name for name in ("bind", "fd", "uds", "host", "port") if getattr(config, name) != BY_NAME[name].default]
    if passed and not given:
        logger.info("Sockets from systemd: %s", ", ".join(map(str, passed)))
        addresses = [*passed]
    elif passed and not {address.fd for address in passed} & {getattr(address, "fd", None) for address in addresses}:
        logger.warning("The %d socket(s) from systemd are not used: %s is set.", len(passed), given[0])
    if config.bind and len(given) > 1:
        logger.warning("%s has no effect: bind is set.", ", ".join(given[1:]))
    mode = None if config.uds_permissions is None else int(config.uds_permissions, 8)
    listeners = open_listeners(addresses, config.reuse_port, mode, predecessor)
    listeners.passed = passed
    listeners.predecessor = predecessor
    return listeners


def open_listeners(
    addresses: Sequence[Address],
    reuse_port: bool = False,
    uds_permissions: Optional[int] = None,
    predecessor: Optional[Predecessor] = None,
) -> Listeners:
    """Opens and binds a socket for each address, or several where a name has several. Those that the `predecessor` had
    are taken from it.

    `reuse_port` lets other processes bind the same TCP ports. `uds_permissions` are the mode of the files of UNIX
    sockets. Raises :class:`BindError`; nothing stays open then.
    """
    listeners = Listeners()
    try:
        for address in addresses:
            taken = [] if predecessor is None else predecessor.take(address)
            for sock, handed in taken:
                file = UnixFile(address.path, handed.file) if isinstance(address, Unix) and handed.file else None
                listeners.add(Listener(sock, address, file, is_lent=True, slot=handed.slot))
            if taken:
                continue
            if isinstance(address, Inherited):
                listeners.add(Listener(_adopt(address), address))
            elif isinstance(address, Unix):
                sock, file = unix_socket.bind(address, uds_permissions)
                listeners.add(Listener(sock, address, file))
            else:
                for sock in _bind_tcp(address, reuse_port, _shares_port(address, addresses)):
                    listeners.add(Listener(sock, address))
    except BindError:
        listeners.remove()
        listeners.close()
        raise
    return listeners


def describe(sock: socket.socket, host: str = "", scheme: str = "http") -> str:
    """The address of `sock` as a URL; `host` replaces the numeric address, as the user wrote it."""
    address = sock.getsockname()
    if sock.family == AF_UNIX:
        name = address.decode("utf-8", "replace").replace("\0", "@") if isinstance(address, bytes) else address
        return f"unix:{name}"
    host = host or address[0]
    return f"{scheme}://[{host}]:{address[1]}" if ":" in host else f"{scheme}://{host}:{address[1]}"


# -- inherited


def from_fd(fd: int) -> socket.socket:
    """The socket behind a descriptor, in non-blocking mode at any moment.

    The mode is that of all processes which share the socket: were it to change, and PyPy changes it for each new
    object, their event loops would be stuck in accept() when somebody else has taken the connection. Raises OSError.
    """
    earlier = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.0)
    try:
        return socket.socket(fileno=fd)
    finally:
        socket.setdefaulttimeout(earlier)


def _adopt(address: Inherited) -> socket.socket:
    try:
        # A copy: ours is closed at the end, the inherited number (often 0) stays what it is.
        sock = from_fd(os.dup(address.fd))
    except OSError as exc:
        reason = "it is not a socket" if exc.errno == errno.ENOTSOCK else exc.strerror or str(exc)
        raise BindError(f"Cannot listen on {address}: {reason}") from None
    reason = ""
    if sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6, AF_UNIX):
        reason = "it is neither a TCP nor a UNIX stream socket"
    elif _is_connected(sock):
        reason = "it is a connection, not a socket to accept connections from"
    if reason:
        sock.close()
        raise BindError(f"Cannot listen on {address}: {reason}")
    return sock


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


# -- TCP


def _shares_port(address: TCP, addresses: Sequence[Address]) -> bool:
    """Whether an IPv4 address of the same port is asked for beside this one, which then has to keep to IPv6."""
    return address.port != 0 and any(
        isinstance(other, TCP) and other.port == address.port and _is_ipv4(other.host) for other in addresses
    )


def _is_ipv4(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):  # ValueError: a character that no address has
        return False
    return True


def _is_loopback(host: str) -> bool:
    """Whether a socket with this address, as the system writes it, is reached from this machine alone."""
    return host == "::1" or host.startswith(("127.", "::ffff:127."))


def _bind_tcp(address: TCP, reuse_port: bool, only_ipv6: bool = False) -> list[socket.socket]:
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise BindError(f"Cannot listen on {address}: there is no SO_REUSEPORT on this platform")
    host, port = address
    if host in ("", "::") and not only_ipv6 and socket.has_dualstack_ipv6():
        try:
            return [_bind_one(socket.AF_INET6, ("::", port, 0, 0), address, reuse_port, dual_stack=True)]
        except BindError as exc:
            if host or exc.errno not in _ABSENT:
                raise
    found = _resolve(address._replace(host=host or "0.0.0.0"))
    for attempt in range(10):
        try:
            return _bind_all(found, address, reuse_port)
        except BindError as exc:
            # A port that is free at one address of a name need not be free at the next.
            if port != 0 or exc.errno != errno.EADDRINUSE or attempt == 9:
                raise
    raise AssertionError  # pragma: no cover


def _bind_all(found: list[tuple[int, Any]], where: TCP, reuse_port: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    failure: Optional[BindError] = None
    for family, address in found:
        if where.port == 0 and sockets:  # one free port for all addresses of the name
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(_bind_one(family, address, where, reuse_port))
        except BindError as exc:
            # A name may stand for an address family that this machine has not switched on: one address is enough.
            failure = exc
            if exc.errno not in _ABSENT:
                break
    else:
        if sockets:
            return sockets
    for sock in sockets:
        sock.close()
    assert failure is not None
    raise failure


def _resolve(where: TCP) -> list[tuple[int, Any]]:
    try:
        found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
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


def _tune_for_loopback(sock: socket.socket) -> None:
    """Set what suits clients on this machine; accepted sockets inherit it."""
    with suppress(OSError):  # a system that leaves no choice
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, LOCAL_CONGESTION_CONTROL)


def _bind_one(family: int, address: Any, where: TCP, reuse_port: bool, dual_stack: bool = False) -> socket.socket:
    sock: Optional[socket.socket] = None
    try:
        # asyncio looks at the protocol number before it sets TCP_NODELAY on what is accepted.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if sys.platform == "win32":
            # There SO_REUSEADDR would let a second server steal the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
        sock.bind(address)
        sock.setblocking(False)
        if sys.platform == "linux" and _is_loopback(sock.getsockname()[0]):
            _tune_for_loopback(sock)
    except OSError as exc:
        if sock is not None:
            sock.close()
        raise refused(where, exc) from None
    return sock
