"""The ASGI scope of a request and of a WebSocket (ASGI HTTP and WebSocket spec 2.5, the Connection Scopes)."""

from binascii import Error as NoHexError
from binascii import unhexlify
from typing import Any, Optional

from .._consts import HAS_SENDFILE
from .head import RequestHead

#: (host, port), or (socket path, None), or None where the transport does not know.
Address = Optional["tuple[str, Optional[int]]"]

_ASGI = {"version": "3.0", "spec_version": "2.5"}


def connection_scope(scheme: str, client: Address, server: Address, root_path: str) -> "dict[str, Any]":
    """Return what the scopes of a connection have in common, with all keys in place.

    A copy of it that is then filled costs less than a new dictionary that grows key by key. `extensions` says whether
    files can be sent without copying them.
    """
    return {
        "type": "http",
        "asgi": None,
        "http_version": "1.1",
        "server": server,
        "client": client,
        "scheme": scheme,
        "method": "GET",
        "root_path": root_path,
        "path": "",
        "raw_path": b"",
        "query_string": b"",
        "headers": None,
        "state": None,
        "extensions": HAS_SENDFILE and scheme == "http" and server is not None and server[1] is not None,
    }


def http_scope(
    head: RequestHead, common: "dict[str, Any]", root_path: str, state: "dict[str, Any]"
) -> "dict[str, Any]":
    """Return a new scope for `head` from what connection_scope() made.

    Nothing mutable in it is shared but the values of `state`. `path` is decoded and begins with `root_path`; `raw_path`
    is what came.
    """
    scope = common.copy()
    scope["asgi"] = _ASGI.copy()
    if head.method != "GET":
        scope["method"] = head.method
    scope["path"] = full_path(head.raw_path, root_path)
    scope["raw_path"] = head.raw_path
    if head.query:
        scope["query_string"] = head.query
    scope["headers"] = head.headers
    scope["state"] = state.copy()
    extensions: dict[str, Any]
    if common["extensions"]:
        extensions = {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.zerocopysend": {},
        }
    else:
        extensions = {"http.response.early_hint": {}, "http.response.pathsend": {}}
    if head.minor_version == 0:
        scope["http_version"] = "1.0"
        del extensions["http.response.early_hint"]
    elif head.te_trailers:
        extensions["http.response.trailers"] = {}
    scope["extensions"] = extensions
    return scope


def websocket_scope(
    head: RequestHead,
    common: "dict[str, Any]",
    root_path: str,
    state: "dict[str, Any]",
    subprotocols: "list[str]",
) -> "dict[str, Any]":
    """Return a new scope for the WebSocket that `head` opens, from what connection_scope() made."""
    return {
        "type": "websocket",
        "asgi": _ASGI.copy(),
        "http_version": "1.1",
        "server": common["server"],
        "client": common["client"],
        "scheme": "wss" if common["scheme"] == "https" else "ws",
        "root_path": root_path,
        "path": full_path(head.raw_path, root_path),
        "raw_path": head.raw_path,
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
