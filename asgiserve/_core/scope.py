"""The ASGI scope of a request and of a WebSocket (ASGI HTTP and WebSocket spec 2.5, the Connection Scopes)."""

from binascii import Error as NoHexError
from binascii import unhexlify
from typing import Any, Optional

from .._consts import ASGI_VERSION, HAS_SENDFILE, SPEC_VERSION
from .head import RequestHead
from .scopedict import make_scope

#: (host, port), or (socket path, None), or None where the transport does not know.
Address = Optional["tuple[str, Optional[int]]"]

_EXTENSIONS = ("http.response.early_hint", "http.response.pathsend")
_EXTENSIONS_WITH_SENDFILE = (*_EXTENSIONS, "http.response.zerocopysend")


def to_address(address: Any, is_server: bool) -> Address:
    """Return an ASGI address: (host, port); for our end of a UNIX socket (path, None); else None."""
    if isinstance(address, (tuple, list)) and len(address) >= 2:
        return (str(address[0]), int(address[1]))
    if is_server and address and isinstance(address, (str, bytes)):
        return (address.decode("utf-8", "replace") if isinstance(address, bytes) else address, None)
    return None


class Paths:
    """Decodes the paths of requests, that of the last one only once.

    Args:
        root_path: where the application is mounted.

    Attributes:
        raw: the last path, as it came.
        path: the same decoded; it begins with `root_path`.
    """

    __slots__ = ("root_path", "raw", "path")

    def __init__(self, root_path: str) -> None:
        self.root_path: str = root_path
        self.raw: bytes = b""
        self.path: str = full_path(self.raw, root_path)

    def take(self, raw: bytes) -> None:
        """Go on to another path; the next one may well be the same."""
        if raw != self.raw:
            self.path = full_path(raw, self.root_path)
            self.raw = raw


class ConnectionScope:
    """What the scopes of a connection have in common. `extensions` are those that any HTTP request has."""

    __slots__ = ("http_version", "scheme", "client", "server", "extensions")

    def __init__(
        self, http_version: str, scheme: str, client: Address, server: Address, last: "Optional[ConnectionScope]"
    ) -> None:
        """`last` is that of another connection, which most likely came to the same address."""
        self.http_version: str = http_version
        self.scheme: str = scheme
        self.client: Address = client
        self.server: Address = last.server if last is not None and last.server == server else server
        # Files can be sent without copying them where nothing is put around their bytes.
        can_send_files = HAS_SENDFILE and http_version == "1.1" and scheme == "http"
        if can_send_files and server is not None and server[1] is not None:
            self.extensions: tuple[str, ...] = _EXTENSIONS_WITH_SENDFILE
        else:
            self.extensions = _EXTENSIONS


def http_scope(
    head: RequestHead, connection: ConnectionScope, paths: Paths, state: "dict[str, Any]"
) -> "dict[str, Any]":
    """Return a new scope for `head`. Nothing mutable in it is shared but the values of `state`."""
    paths.take(head.raw_path)
    scope = make_scope(
        "1.0" if head.minor_version == 0 else connection.http_version,
        connection.server,
        connection.client,
        connection.scheme,
        head.method,
        paths.root_path,
        paths.path,
        paths.raw,
        head.query,
        head.headers,
        state,
        connection.extensions,
    )
    if head.minor_version == 0:
        del scope["extensions"]["http.response.early_hint"]
    elif head.te_trailers:
        scope["extensions"]["http.response.trailers"] = {}
    return scope


def websocket_scope(
    head: RequestHead,
    connection: ConnectionScope,
    paths: Paths,
    state: "dict[str, Any]",
    subprotocols: "list[str]",
) -> "dict[str, Any]":
    """Return a new scope for the WebSocket that `head` opens."""
    paths.take(head.raw_path)
    return {
        "type": "websocket",
        "asgi": {"version": ASGI_VERSION, "spec_version": SPEC_VERSION},
        "http_version": "1.1",
        "server": connection.server,
        "client": connection.client,
        "scheme": "wss" if connection.scheme == "https" else "ws",
        "root_path": paths.root_path,
        "path": paths.path,
        "raw_path": paths.raw,
        "query_string": head.query,
        "headers": head.headers,
        "subprotocols": subprotocols,
        "state": state.copy(),
        "extensions": {"websocket.http.response": {}},
    }


def full_path(raw_path: bytes, root_path: str) -> str:
    """Return the decoded path, with `root_path` in front unless a proxy has left it there."""
    if b"%" in raw_path:
        path = unquote(raw_path).decode("utf-8", "replace")
    else:
        path = raw_path.decode("ascii")
    if not root_path or path == root_path or path.startswith(root_path + "/") or path == "*":
        return path
    return root_path + path


def unquote(text: bytes) -> bytes:
    """Return `text` with its percent-encoded bytes decoded (RFC 3986 section 2.1); a stray % stays as it is."""
    pieces = text.split(b"%")
    decoded = [pieces[0]]
    for piece in pieces[1:]:
        code = piece[:2]
        try:
            byte = unhexlify(code)
        except NoHexError:
            byte = b""
        # An empty piece is hexadecimal too.
        decoded.append(byte + piece[2:] if byte else b"%" + piece)
    return b"".join(decoded)
