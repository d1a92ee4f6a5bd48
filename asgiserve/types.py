"""The ASGI 3.0 types of the public API."""

from __future__ import annotations

from collections.abc import Awaitable, MutableMapping
from typing import Any, Callable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

AccessLogger = Callable[..., None]
"""Called as ``log(client, method, target, http_version, status, length, duration)`` at the end of each response.

`client` is host:port, or empty; `target` has its query with it and no quote, space or control character in it; `length`
is in bytes, `duration` in seconds. Where the server's state says ``logs_headers``, an eighth argument is the tuple
(scheme, request headers, response headers), each of the headers a list of pairs of bytes: the request's as received,
the response's as the application gave them.
"""
