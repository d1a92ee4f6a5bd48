"""The ASGI scope of a request and of a WebSocket (ASGI HTTP and WebSocket spec 2.5, the Connection Scopes)."""

from binascii import Error as NoHexError
from binascii import unhexlify
from typing import Any, Optional

from .._consts import HAS_SENDFILE
from .head import RequestHead
from .spare import Spare

#: (host, port), or (socket path, None), or None where the transport does not know.
Address = Optional["tuple[str, Optional[int]]"]

_ASGI = {"version": "3.0", "spec_version": "2.5"}
#: Bytes of a path that what the scopes have in common may hold on to.
MAX_KEPT_PATH = 256


class Announcement:
    """Makes the `extensions` of scopes: a dictionary with an empty one for each of `names`.

    One that an application has left as it was, and nobody has any more, is as good as a new one.
    """

    __slots__ = ("_names", "_extensions", "_details")

    def __init__(self, names: "tuple[str, ...]") -> None:
        self._names = names
        self._extensions: Spare = Spare()
        self._details: list[Spare] = [Spare() for _ in names]

    def make(self) -> "dict[str, Any]":
        """Return one that nobody else has."""
        if self._is_free():
            spare: dict[str, Any] = self._extensions.kept
            return spare
        extensions: dict[str, Any] = {}
        for name, spare_detail in zip(self._names, self._details):
            detail: dict[str, Any] = {}
            spare_detail.keep(detail)
            extensions[name] = detail
        self._extensions.keep(extensions)
        return extensions

    def _is_free(self) -> bool:
        """Whether the last one is there, free and unchanged: it has as many entries as before, and refers to each."""
        if not self._extensions.is_free(0) or len(self._extensions.kept) != len(self._names):
            return False
        for spare in self._details:  # noqa: SIM110, Cython knows no generator expression in a cpdef function
            if not spare.is_free(1) or len(spare.kept):
                return False
        return True


_EXTENSIONS = Announcement(("http.response.early_hint", "http.response.pathsend"))
_EXTENSIONS_WITH_SENDFILE = Announcement(
    ("http.response.early_hint", "http.response.pathsend", "http.response.zerocopysend")
)


def connection_scope(
    scheme: str, client: Address, server: Address, root_path: str, last: "Optional[dict[str, Any]]"
) -> "dict[str, Any]":
    """Return what the scopes of a connection have in common, with all keys in place.

    A copy of it that is then filled costs less than a new dictionary that grows key by key. So does a copy of `last`,
    which is what this returned for another connection with the same `root_path`. `extensions` says whether files can be
    sent without copying them.
    """
    if last is not None and last["server"] == server and last["scheme"] == scheme:
        common = last.copy()
        common["client"] = client
        return common
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
    raw_path = head.raw_path
    if common["raw_path"] != raw_path and len(raw_path) <= MAX_KEPT_PATH:
        common["path"] = full_path(raw_path, root_path)  # the next request may well have the same
        common["raw_path"] = raw_path
    scope = common.copy()
    scope["asgi"] = _ASGI.copy()
    if head.method != "GET":
        scope["method"] = head.method
    if len(raw_path) > MAX_KEPT_PATH:
        scope["path"] = full_path(raw_path, root_path)
        scope["raw_path"] = raw_path
    if head.query:
        scope["query_string"] = head.query
    scope["headers"] = head.headers
    scope["state"] = state.copy()
    extensions = (_EXTENSIONS_WITH_SENDFILE if common["extensions"] else _EXTENSIONS).make()
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
