"""The ASGI scope of a request (ASGI HTTP spec 2.5, "HTTP Connection Scope")."""

from typing import Any, Optional
from urllib.parse import unquote_to_bytes

from .head import RequestHead

#: (host, port), or (socket path, None), or None where the transport does not know.
Address = Optional["tuple[str, Optional[int]]"]

_ASGI = {"version": "3.0", "spec_version": "2.5"}
#: Copied and then filled: that is cheaper than a new dictionary that grows key by key.
_SCOPE: "dict[str, Any]" = {
    "type": "http",
    "asgi": None,
    "http_version": "1.1",
    "server": None,
    "client": None,
    "scheme": "",
    "method": "",
    "root_path": "",
    "path": "",
    "raw_path": b"",
    "query_string": b"",
    "headers": None,
    "state": None,
    "extensions": None,
}


def http_scope(
    head: RequestHead,
    scheme: str,
    client: Address,
    server: Address,
    root_path: str,
    state: "dict[str, Any]",
) -> "dict[str, Any]":
    """Return a new scope for `head`. Nothing mutable in it is shared but the values of `state`.

    `path` is decoded and begins with `root_path`; `raw_path` is what the client sent.
    """
    raw_path = head.raw_path
    if b"%" in raw_path:
        path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
    else:
        path = raw_path.decode("ascii")
    scope = _SCOPE.copy()
    scope["asgi"] = _ASGI.copy()
    if head.minor_version == 1:
        scope["extensions"] = {"http.response.trailers": {}, "http.response.early_hint": {}}
    else:
        scope["http_version"] = "1.0"
        scope["extensions"] = {}
    scope["server"] = server
    scope["client"] = client
    scope["scheme"] = scheme
    scope["method"] = head.method
    scope["root_path"] = root_path
    scope["path"] = root_path + path if root_path else path
    scope["raw_path"] = raw_path
    scope["query_string"] = head.query
    scope["headers"] = head.headers
    scope["state"] = state.copy()
    return scope
