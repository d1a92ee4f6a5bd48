"""What a proxy says about the client: X-Forwarded-For, -Proto, -Host, -Port and -Prefix, and Forwarded (RFC 7239).

:class:`ProxyHeaders` changes a scope in place; the server calls it for requests that bring such a header.
:class:`ProxyHeadersMiddleware` does the same around an application, under any server.

The headers of a peer that is not trusted change nothing. A request with any X-Forwarded header is read by those alone,
and its Forwarded header ignored: one of the two families may be the client's own, passed on by a proxy that knows only
the other.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Iterable, NamedTuple, Optional, Union

from .._core.rules import is_valid_host
from .._core.scope import full_path, unquote
from ..options import FORWARDING_HEADERS
from ..trust import DEFAULT_PEERS, TrustedPeers
from .forwarded import UNKNOWN, Address, parse_forwarded, parse_node, parse_port

_FOR, _PROTO, _HOST, _PORT, _PREFIX, _FORWARDED = (name.encode() for name in FORWARDING_HEADERS)
_X_FAMILY = (_FOR, _PROTO, _HOST, _PORT, _PREFIX)

_HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

# Characters of a path (RFC 3986 section 3.3).
_PREFIX_FORM = re.compile(r"/(?:[0-9A-Za-z\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*\Z")
_MAX_CACHED = 512  # bytes of header values; longer ones are read each time


class Hop(NamedTuple):
    """What is known about the request as the outermost trusted proxy got it; None where nothing is."""

    client: Optional[Address] = None
    scheme: Optional[str] = None
    host: Optional[str] = None
    port: Optional[int] = None
    prefix: Optional[str] = None


class ProxyHeaders:
    """Applies forwarding headers to scopes.

    Args:
        trusted: the peers whose headers count.
        headers: the names of the headers that count, as ``forwarded_headers`` takes them.
    """

    def __init__(self, trusted: TrustedPeers, headers: Iterable[str] = FORWARDING_HEADERS[:2]) -> None:
        self._trusted = trusted
        self._names = frozenset(name.encode() for name in headers)
        self._read_again = functools.lru_cache(maxsize=1024)(self._read)

    def __call__(self, scope: Any) -> str:
        """Puts the client, scheme, server, host and prefix that the headers name into an HTTP or WebSocket `scope`.

        Returns the client's name for the logs, as host:port, or an empty string when the client stays the peer. Never
        raises because of what the headers say.
        """
        if not self._trusted.trusts_peer(scope.get("client"), scope.get("server")):
            return ""
        values: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in self._names:
                values[name] = values[name] + b"," + value if name in values else value
        if not values:
            return ""
        fields = tuple(values.items())
        read = self._read_again if sum(map(len, values.values())) <= _MAX_CACHED else self._read
        hop = read(fields)
        _apply(hop, scope)
        return f"{hop.client[0]}:{hop.client[1]}" if hop.client is not None else ""

    def _read(self, fields: tuple[tuple[bytes, bytes], ...]) -> Hop:
        values = {name: value.decode("latin-1") for name, value in fields}
        if any(name in values for name in _X_FAMILY):
            return self._read_x_headers(values)
        return self._read_forwarded(values[_FORWARDED])

    def _read_x_headers(self, values: dict[bytes, str]) -> Hop:
        nodes = [parse_node(item) for item in _items(values.get(_FOR, ""))]
        index = self._client_index(nodes)

        def pick(name: bytes) -> str:
            """The entry that belongs to the client's: lists that are as long as the list of nodes were made in step
            with it, of any other only the last entry is surely the nearest proxy's."""
            items = _items(values.get(name, ""))
            if not items:
                return ""
            return items[index] if len(items) == len(nodes) else items[-1]

        return Hop(
            nodes[index] if nodes else None,
            _clean_scheme(pick(_PROTO)),
            _clean_host(pick(_HOST)),
            parse_port(pick(_PORT)),
            clean_prefix(pick(_PREFIX)),
        )

    def _read_forwarded(self, value: str) -> Hop:
        elements = parse_forwarded(value)
        if not elements:
            return Hop()
        index = self._client_index([_node_of(element) for element in elements])
        element = elements[index]
        # A proxy that says nothing of the client, only of the rest, leaves it the peer.
        client = None if len(elements) == 1 and element and "for" not in element else _node_of(element)
        if element is None:
            return Hop(client)
        return Hop(client, _clean_scheme(element.get("proto", "")), _clean_host(element.get("host", "")))

    def _client_index(self, nodes: list[Address]) -> int:
        """Where the client stands among the nodes: from the right, the first one that is not trusted. If all are, it is
        the first of all."""
        if not self._trusted.everybody:
            for index in range(len(nodes) - 1, 0, -1):
                if not self._trusted.trusts(nodes[index][0]):
                    return index
        return 0


class ProxyHeadersMiddleware:
    """ASGI middleware for servers that do not do it themselves, and for tests.

    Args:
        app: the ASGI 3 application.
        trusted_hosts: the peers whose headers count, as ``forwarded_allow_ips`` takes them.
        headers: the names of the headers that count.
    """

    def __init__(
        self,
        app: Any,
        trusted_hosts: Union[str, Iterable[str]] = DEFAULT_PEERS,
        headers: Iterable[str] = FORWARDING_HEADERS[:2],
    ) -> None:
        self.app = app
        self.proxy_headers = ProxyHeaders(TrustedPeers(trusted_hosts), headers)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Runs the application with a scope that says what the headers say."""
        if scope["type"] in ("http", "websocket"):
            scope = dict(scope)
            self.proxy_headers(scope)
        await self.app(scope, receive, send)


# -- single values


def _node_of(element: Optional[dict[str, str]]) -> Address:
    return parse_node(element["for"]) if element and "for" in element else UNKNOWN


def _items(value: str) -> list[str]:
    return [item for item in (part.strip(" \t") for part in value.split(",")) if item]


def _clean_scheme(text: str) -> Optional[str]:
    scheme = text.lower()
    return scheme if scheme in _HTTP_SCHEMES else None


def _clean_host(text: str) -> Optional[str]:
    return text if text and text[0] != ":" and is_valid_host(text.encode("latin-1")) else None


def clean_prefix(text: str) -> Optional[str]:
    """The root path that a prefix stands for: percent-decoded, without double slashes and without one at its end.

    None when `text` is not a path.
    """
    if not _PREFIX_FORM.match(text):
        return None
    path = unquote(text.encode()).decode("utf-8", "replace")
    if not path.isprintable() or "\\" in path or not {".", ".."}.isdisjoint(path.split("/")):
        return None
    return re.sub("/{2,}", "/", path).rstrip("/")


# -- the scope


def _apply(hop: Hop, scope: Any) -> None:
    if hop.client is not None:
        scope["client"] = hop.client
    if hop.scheme is not None:
        schemes = _WEBSOCKET_SCHEMES if scope["type"] == "websocket" else _HTTP_SCHEMES
        scope["scheme"] = schemes[hop.scheme]
    if hop.host is not None or hop.port is not None:
        _set_authority(scope, hop.host, hop.port)
    if hop.prefix is not None:
        _set_root_path(scope, hop.prefix)


def _set_authority(scope: Any, host: Optional[str], port: Optional[int]) -> None:
    """Sets the Host header and the server. A port in `host` goes before `port`; without either it is the scheme's."""
    headers = list(scope["headers"])
    place = next((index for index, (name, _) in enumerate(headers) if name == b"host"), -1)
    standard = _DEFAULT_PORTS.get(scope.get("scheme", "http"), 80)
    if host is None:
        name, own_port = _split_host(headers[place][1].decode("latin-1") if place >= 0 else "")
        authority = name if port == standard and own_port != port else f"{name}:{port}"
    else:
        name, own_port = _split_host(host)
        port = own_port or port or standard
        authority = host if own_port or port == standard else f"{name}:{port}"
    if name:
        headers[max(place, 0) : place + 1] = [(b"host", authority.encode("latin-1"))]
        scope["headers"] = headers
        scope["server"] = (name.strip("[]"), port)
    elif scope.get("server") and scope["server"][1] is not None:
        scope["server"] = (scope["server"][0], port)


def _split_host(host: str) -> tuple[str, Optional[int]]:
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    return (name, parse_port(port)) if name else (host, None)


def _set_root_path(scope: Any, prefix: str) -> None:
    raw_path = scope.get("raw_path")
    if raw_path and raw_path.isascii():
        scope["path"] = full_path(raw_path, prefix)
    else:
        path, root_path = scope["path"], scope.get("root_path", "")
        if root_path and path.startswith(root_path + "/"):
            path = path[len(root_path) :]
        scope["path"] = path if (path + "/").startswith(prefix + "/") else prefix + path
    scope["root_path"] = prefix
