"""A small ASGI application without a framework: `asgiserve examples.hello:app`.

/        plain text
/json    JSON
/echo    POST: the body comes back, as it arrives
/stream  ten lines, one every tenth of a second
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Awaitable, Callable

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def respond(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/octet-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


async def stream(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for number in range(10):
        await send({"type": "http.response.body", "body": b"line %d\n" % number, "more_body": True})
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body"})


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path, method = scope["path"], scope["method"]
    if path == "/echo" and method == "POST":
        await echo(receive, send)
    elif method not in ("GET", "HEAD"):
        await respond(send, 405, b"text/plain", b"Method Not Allowed\n")
    elif path == "/":
        await respond(send, 200, b"text/plain", b"Hello from asgiserve\n")
    elif path == "/json":
        await respond(send, 200, b"application/json", json.dumps({"hello": "world"}).encode())
    elif path == "/stream":
        await stream(send)
    else:
        await respond(send, 404, b"text/plain", b"Not Found\n")
