"""Says, on every path, whom the request is from and where it went, for HTTP and WebSocket. Needs no library."""

from __future__ import annotations

import json

KEYS = ("type", "client", "server", "scheme", "root_path", "path")


def describe(scope):
    found = {key: scope[key] for key in KEYS}
    found["raw_path"] = scope["raw_path"].decode("latin-1")
    found["host"] = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return json.dumps(found)


async def app(scope, receive, send):
    if scope["type"] == "http":
        body = describe(scope).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": describe(scope)})
        await receive()
    else:
        raise NotImplementedError(scope["type"])
