"""An application for servers with worker processes: each response names the process that it is from.

What tests/e2e/load_client.py asks for, and everything that can keep a process from ending.
"""

from __future__ import annotations

import asyncio
import os
import time

PID = b"%d" % os.getpid()


async def respond(send, body, **more):
    headers = [(b"x-pid", PID), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def plain(scope, receive, send):
    await respond(send, scope["query_string"])


async def slow(scope, receive, send):
    await asyncio.sleep(0.05)
    await respond(send, scope["query_string"])


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await respond(send, body)


async def stream(scope, receive, send):
    text = scope["query_string"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-pid", PID)]})
    for start in range(0, len(text), 16):
        await send({"type": "http.response.body", "body": text[start : start + 16], "more_body": True})
        await asyncio.sleep(0.002)
    await send({"type": "http.response.body", "body": b""})


async def events(scope, receive, send):
    """Server-sent events for ever, as frameworks do it: until the client has left."""
    headers = [(b"content-type", b"text/event-stream"), (b"x-pid", PID)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"data: first\n\n", "more_body": True})
    left = asyncio.ensure_future(receive())
    try:
        while not left.done():
            await asyncio.wait([left], timeout=1.0)
            await send({"type": "http.response.body", "body": b"data: more\n\n", "more_body": True})
    finally:
        left.cancel()


async def poll(scope, receive, send):
    """A long poll: an answer when something happens, which is never."""
    await asyncio.Event().wait()


async def stubborn(scope, receive, send):
    """Ignores its cancellation."""
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass


async def block(scope, receive, send):
    """Blocks the event loop."""
    time.sleep(1000)


hoard = {}


async def grow(scope, receive, send):
    """Takes 128 MiB of memory, once, and keeps them."""
    if not hoard:
        hoard["it"] = os.urandom(1024 * 1024) * 128
    await respond(send, scope["query_string"])


async def websocket(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": message["text"]})


PATHS = {
    "/" + function.__name__: function for function in (plain, slow, echo, stream, events, poll, stubborn, block, grow)
}


SILENT = ("/poll", "/stubborn", "/block")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        if scope["path"] in SILENT:
            print("asked", scope["path"], flush=True)
        await PATHS[scope["path"]](scope, receive, send)


async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print(f"{os.getpid()} shut down", flush=True)
    await send({"type": "lifespan.shutdown.complete"})
