"""The PROXY protocol, versions 1 and 2: a proxy says in front of a connection's bytes whom the connection is from.

:class:`ProxyProtocol` is the first protocol of a connection. It takes the header off and hands the transport over to
the protocol that serves, TLS or HTTP, under the addresses that the header names. The format is HAProxy's
(https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
"""

from __future__ import annotations

import logging
import re
from math import inf
from typing import Any, Callable, NamedTuple, Optional, Union

from .trust import TrustedPeers, parse_ip

logger = logging.getLogger("asgiserve.error")

Endpoint = Union["tuple[str, int]", str]
"""(host, port), or the path of a UNIX socket."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2
_V1_START = b"PROXY "
_V1_MAX = 107
_V1_LINE = re.compile(r"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")
_V2_FIXED = 16

_LOCAL, _PROXY = 0, 1
_INET, _INET6, _UNIX = 1, 2, 3
_STREAM = 1
_UNIX_PATH = 108
_V2_SIZES = {_INET: 12, _INET6: 36, _UNIX: 2 * _UNIX_PATH}


class HeaderError(ValueError):
    """The bytes are no PROXY protocol header. The text says why, in one line."""


class Header(NamedTuple):
    """A whole header. ``size`` is its length in bytes; the ends are None where the socket's own addresses stay."""

    size: int
    source: Optional[Endpoint] = None
    destination: Optional[Endpoint] = None


def parse_header(data: bytes) -> Optional[Header]:
    """The header that `data` begins with; None while it is incomplete. Raises :class:`HeaderError`."""
    if data.startswith(_SIGNATURE):
        return _parse_v2(data)
    if data.startswith(_V1_START):
        return _parse_v1(data)
    if _SIGNATURE.startswith(data) or _V1_START.startswith(data):
        return None
    raise HeaderError("the connection does not begin with a header")


def _parse_v1(data: bytes) -> Optional[Header]:
    end = data.find(b"\n", 0, _V1_MAX)
    if end < 0:
        if len(data) >= _V1_MAX:
            raise HeaderError(f"the line is longer than {_V1_MAX} bytes")
        return None
    if data[end - 1 : end] != b"\r":
        raise HeaderError("the line does not end with CRLF")
    line = data[: end - 1].decode("latin-1")
    if line == "PROXY UNKNOWN" or line.startswith("PROXY UNKNOWN "):
        return Header(end + 1)
    match = _V1_LINE.fullmatch(line)
    if match is None:
        raise HeaderError("the line is malformed")
    version, source, destination, source_port, destination_port = match.groups()
    return Header(
        end + 1, _v1_endpoint(version, source, source_port), _v1_endpoint(version, destination, destination_port)
    )


def _v1_endpoint(version: str, host: str, port: str) -> Endpoint:
    address = parse_ip(host)
    if address is None or (":" in host) != (version == "6"):
        raise HeaderError(f"{host} is not an IPv{version} address")
    if int(port) > 65535:
        raise HeaderError(f"{port} is not a port")
    return str(address), int(port)


def _parse_v2(data: bytes) -> Optional[Header]:
    if len(data) < _V2_FIXED:
        return None
    version, command = divmod(data[12], 16)
    family, transport = divmod(data[13], 16)
    size = _V2_FIXED + int.from_bytes(data[14:16], "big")
    if version != 2:
        raise HeaderError(f"version {version} is not known")
    if command not in (_LOCAL, _PROXY):
        raise HeaderError(f"command {command} is not known")
    if family > _UNIX or transport > 2:
        raise HeaderError(f"address family {family} with transport {transport} is not known")
    if len(data) < size:
        return None
    if command == _LOCAL or transport != _STREAM or family not in _V2_SIZES:
        return Header(size)
    addresses = data[_V2_FIXED : min(size, _V2_FIXED + _V2_SIZES[family])]  # extensions (TLVs) stand behind them
    if len(addresses) < _V2_SIZES[family]:
        raise HeaderError("the addresses are cut short")
    if family == _UNIX:
        return Header(size, _unix_path(addresses[:_UNIX_PATH]), _unix_path(addresses[_UNIX_PATH:]))
    width = 4 if family == _INET else 16
    ports = addresses[2 * width :]
    return Header(
        size,
        _v2_endpoint(addresses[:width], ports[:2]),
        _v2_endpoint(addresses[width : 2 * width], ports[2:]),
    )


def _v2_endpoint(packed: bytes, port: bytes) -> Endpoint:
    if len(packed) == 4:
        host = ".".join(map(str, packed))
    else:
        host = ":".join(packed[at : at + 2].hex() for at in range(0, 16, 2))
    return str(parse_ip(host)), int.from_bytes(port, "big")


def _unix_path(field: bytes) -> str:
    # A leading NUL is that of an abstract name, which is padded with NULs too.
    path = field.rstrip(b"\0") if field[:1] == b"\0" else field.partition(b"\0")[0]
    return path.decode("utf-8", "replace")


class ProxiedTransport:
    """A transport whose ``peername`` and ``sockname`` are those that a header has named."""

    def __init__(self, transport: Any, source: Endpoint, destination: Endpoint) -> None:
        self._transport = transport
        self._ends = {"peername": source, "sockname": destination}
        # What is called again and again costs no detour.
        self.write = transport.write
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.is_closing = transport.is_closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As a transport's, but for the two ends."""
        return self._ends[name] if name in self._ends else self._transport.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class ProxyProtocol:
    """Waits for the header of one connection, then makes way.

    Args:
        state: the stack's ServerState; until the header has come, this object is one of its connections.
        trusted: whose headers are taken. Anybody else is served without one.
        connect: makes the protocol that serves.
    """

    def __init__(self, state: Any, trusted: TrustedPeers, connect: Callable[[], Any]) -> None:
        self._state = state
        self._trusted = trusted
        self._connect = connect
        self._transport: Any = None
        self._data = b""
        self._deadline = inf

    # -- transport callbacks

    def connection_made(self, transport: Any) -> None:
        """The transport is ready; the header is due within ``timeout_headers``."""
        self._transport = transport
        peer, ours = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        client = peer[:2] if isinstance(peer, (tuple, list)) else None
        server = ours[:2] if isinstance(ours, (tuple, list)) else (ours, None)
        if not self._trusted.trusts_peer(client, server):
            self._hand_over(transport)
            return
        self._state.connections.add(self)
        self._deadline = self._state.now + self._state.timeout_headers
        if self._state.stopping:
            transport.close()

    def data_received(self, data: bytes) -> None:
        """A part of the header came, or all of it with what follows."""
        if self._transport.is_closing():
            return
        self._data += data
        try:
            header = parse_header(self._data)
        except HeaderError as error:
            self._refuse(str(error))
            return
        if header is None:
            return
        self._state.connections.discard(self)
        transport = self._transport
        if header.source is not None and header.destination is not None:
            transport = ProxiedTransport(transport, header.source, header.destination)
        rest = self._data[header.size :]
        protocol = self._hand_over(transport)
        if rest and not transport.is_closing():
            protocol.data_received(rest)

    def _hand_over(self, transport: Any) -> Any:
        protocol = self._connect()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return protocol

    def eof_received(self) -> bool:
        """The peer has said all. Without a byte it was a probe.

        Returns:
            False: the transport closes.
        """
        if self._data and not self._transport.is_closing():
            self._refuse("the connection ended within the header")
        return False

    def connection_lost(self, error: Optional[Exception]) -> None:
        """The transport is closed."""
        self._state.connections.discard(self)

    def pause_writing(self) -> None:
        """Nothing is written here."""

    def resume_writing(self) -> None:
        """Nothing is written here."""

    # -- for the server

    def is_due(self, now: float) -> bool:
        """Whether on_tick() has something to do."""
        return self._deadline <= now

    def on_tick(self, now: float) -> None:
        """The header has not come in time."""
        self._deadline = inf
        if not self._transport.is_closing():
            self._refuse(f"no header within {self._state.timeout_headers:g} s")

    def shutdown(self) -> None:
        """Close: nothing has been asked yet."""
        self._transport.close()

    def disconnect_app(self) -> None:
        """No application runs yet."""

    def abort(self) -> None:
        """Reset the connection."""
        self._transport.abort()

    def _refuse(self, reason: str) -> None:
        peer = self._transport.get_extra_info("peername")
        name = f"{peer[0]}:{peer[1]}" if isinstance(peer, (tuple, list)) else "unix"
        logger.warning("%s - PROXY protocol: %s: connection closed", name, reason)
        self._transport.close()
