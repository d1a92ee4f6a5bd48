"""The ASGI scope of a request (ASGI HTTP spec 2.5, "HTTP Connection Scope")."""

from typing import Any, Optional
from urllib.parse import unquote_to_bytes

from .head import RequestHead

#: (host, port), or (socket path, None), or None where the transport does not know.
Address = Optional["tuple[str, Optional[int]]"]


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
    extensions: "dict[str, dict[str, Any]]"
    if head.minor_version == 1:
        extensions = {"http.response.trailers": {}, "http.response.early_hint": {}}
    else:
        extensions = {}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1" if head.minor_version == 1 else "1.0",
        "server": server,
        "client": client,
        "scheme": scheme,
        "method": head.method,
        "root_path": root_path,
        "path": root_path + path if root_path else path,
        "raw_path": raw_path,
        "query_string": head.query,
        "headers": head.headers,
        "state": state.copy(),
        "extensions": extensions,
    }
