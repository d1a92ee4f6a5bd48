"""The dictionary that is an HTTP scope. The pure twin of `_speedups/scopedict.pyx`, which says why."""

from typing import Any

from .._consts import ASGI_VERSION, SPEC_VERSION


def make_scope(
    http_version: str,
    server: Any,
    client: Any,
    scheme: str,
    method: str,
    root_path: str,
    path: str,
    raw_path: bytes,
    query_string: bytes,
    headers: "list[Any]",
    state: "dict[str, Any]",
    extensions: "tuple[str, ...]",
) -> "dict[str, Any]":
    """Return a scope of type "http" with a copy of `state` and an empty dictionary for each of `extensions`."""
    return {
        "type": "http",
        "asgi": {"version": ASGI_VERSION, "spec_version": SPEC_VERSION},
        "http_version": http_version,
        "server": server,
        "client": client,
        "scheme": scheme,
        "method": method,
        "root_path": root_path,
        "path": path,
        "raw_path": raw_path,
        "query_string": query_string,
        "headers": headers,
        "state": state.copy(),
        "extensions": {name: {} for name in extensions},
    }


def take_back(scope: "dict[str, Any]", headers: "list[Any]") -> None:
    """Keep a scope that was made with `headers` and that the caller does not need any more. Here it is not kept."""
