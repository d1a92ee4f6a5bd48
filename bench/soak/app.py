"""The application of the endurance run: every kind of work by its path, and what the process holds at ``/figures``.

A collection leaves a block or so behind, so ``/count`` answers without one.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from typing import Any

from ..http import apps
from ..websocket.apps import echo as websocket_echo

served = 0


def figures() -> dict[str, int]:
    """Requests so far, Python objects that the collector knows, blocks of memory in use, resident bytes."""
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return {
        "requests": served,
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks() if hasattr(sys, "getallocatedblocks") else 0,
        "memory": pages * resource.getpagesize(),
    }


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Do what the path says."""
    global served
    if scope["type"] == "websocket":
        await websocket_echo(scope, receive, send)
        return
    assert scope["type"] == "http"
    served += 1
    path = scope["path"]
    if path in ("/figures", "/count"):
        body = json.dumps(figures() if path == "/figures" else served).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    elif scope["method"] == "POST":
        await apps.echo(scope, receive, send)
    elif path == "/stream":
        await apps.stream(scope, receive, send)
    elif path == "/":
        await apps.plaintext(scope, receive, send)
    else:
        await apps.json_1k(scope, receive, send)
