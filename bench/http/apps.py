"""The ASGI applications under load, one per kind of work.

They do as little as they can and treat every server the same. Each one refuses any scope but ``http``, which is how a
server that insists on lifespan learns that there is none. Full responses carry a Content-Length, as frameworks send it.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

TEXT = b"Hello, World!"
JSON = json.dumps({"items": [{"id": n, "name": f"item {n:04d}", "tags": ["a", "b"]} for n in range(19)]}).encode()
JSON += b" " * (1024 - len(JSON))
CHUNK = b"c" * 1024
CHUNKS = 100
LARGE = bytes(range(256)) * 4096

TEXT_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(TEXT))]
JSON_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(JSON))]
LARGE_HEADERS = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(LARGE))]
STREAM_HEADERS = [(b"content-type", b"application/octet-stream")]


async def plaintext(scope: Any, receive: Any, send: Any) -> None:
    """Answer 13 bytes."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": TEXT_HEADERS})
    await send({"type": "http.response.body", "body": TEXT})


async def json_1k(scope: Any, receive: Any, send: Any) -> None:
    """Answer 1 KiB of ready-made JSON."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": JSON_HEADERS})
    await send({"type": "http.response.body", "body": JSON})


async def large(scope: Any, receive: Any, send: Any) -> None:
    """Answer 1 MiB in one message."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": LARGE_HEADERS})
    await send({"type": "http.response.body", "body": LARGE})


async def stream(scope: Any, receive: Any, send: Any) -> None:
    """Answer 100 messages of 1 KiB, length not announced."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole request body and send it back."""
    assert scope["type"] == "http"
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def count(scope: Any, receive: Any, send: Any) -> None:
    """Read the request body without keeping it and answer its length."""
    assert scope["type"] == "http"
    size = 0
    more = True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % size
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def sleep_once(scope: Any, receive: Any, send: Any) -> None:
    """Give way to the event loop once, then answer 13 bytes."""
    assert scope["type"] == "http"
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": TEXT_HEADERS})
    await send({"type": "http.response.body", "body": TEXT})


async def sleep_ten(scope: Any, receive: Any, send: Any) -> None:
    """Give way to the event loop ten times, then answer 13 bytes."""
    assert scope["type"] == "http"
    for _ in range(10):
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": TEXT_HEADERS})
    await send({"type": "http.response.body", "body": TEXT})


async def hold(scope: Any, receive: Any, send: Any) -> None:
    """Answer one message of 1 KiB, then wait until the client leaves."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
    await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
