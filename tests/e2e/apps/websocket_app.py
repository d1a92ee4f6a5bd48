"""A plain ASGI application of WebSockets. Each path is one behaviour; needs no library.

A connection opened with `?key=...` is remembered under that key: HTTP GET /ended?key=... gives how it ended.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import parse_qsl

ended: dict = {}
reports: dict = {}
gates: dict = {}

PAGE = Path(__file__).with_name("websocket_page.html")


def gate(key):
    return gates.setdefault(key, asyncio.Event())


async def respond(send, body, content_type=b"application/json"):
    head = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def http(scope, receive, send, query):
    key = query.get("key", "")
    path = scope["path"]
    if path == "/page":
        await respond(send, PAGE.read_bytes(), b"text/html; charset=utf-8")
    elif path == "/ended":
        await respond(send, json.dumps(ended.get(key)).encode())
    elif path == "/go":
        gate(key).set()
        await respond(send, b"{}")
    elif path == "/report":
        if scope["method"] == "POST":
            reports[key] = json.loads(await read_body(receive))
        await respond(send, json.dumps(reports.get(key)).encode())
    else:
        await respond(send, json.dumps({"served as": "http"}).encode())


class Socket:
    """The messages of one WebSocket, as methods."""

    def __init__(self, scope, receive, send, query):
        self.scope, self._receive, self._send, self.query = scope, receive, send, query

    async def accept(self, **fields):
        message = await self._receive()
        assert message == {"type": "websocket.connect"}, message
        await self._send({"type": "websocket.accept", **fields})

    async def receive(self):
        """The next text or bytes, None at the end."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            if "key" in self.query:
                ended[self.query["key"]] = [message["code"], message.get("reason")]
            return None
        text, data = message.get("text"), message.get("bytes")
        assert (text is None) != (data is None), message
        return data if text is None else text

    async def send(self, data):
        await self._send({"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data})

    async def close(self, code=1000, reason=""):
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def wait_end(self):
        while await self.receive() is not None:
            pass


async def echo(socket):
    await socket.accept()
    while True:
        data = await socket.receive()
        if data is None:
            return
        await socket.send(data)


async def close(socket):
    """Close with ?code= and ?reason= on the first message."""
    await socket.accept()
    await socket.receive()
    await socket.close(int(socket.query.get("code", 1000)), socket.query.get("reason", ""))
    await socket.wait_end()


async def subprotocol(socket):
    """Choose ?choose=."""
    await socket.accept(subprotocol=socket.query.get("choose"))
    await socket.wait_end()


async def scope(socket):
    """Accept with headers of our own and send what the scope says."""
    headers = [(b"x-first", b"1"), (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")]
    await socket.accept(headers=headers)
    scope = socket.scope
    names = ("type", "http_version", "scheme", "path", "subprotocols", "root_path")
    found = {name: scope[name] for name in names}
    found["query_string"] = scope["query_string"].decode()
    found["headers"] = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    found["client"] = scope["client"] and scope["client"][0]
    found["extensions"] = sorted(scope["extensions"])
    await socket.send(json.dumps(found))
    await socket.wait_end()


async def deny(socket):
    """Answer the handshake with a response of our own, in two parts."""
    await socket._receive()
    headers = [(b"content-type", b"text/plain"), (b"x-why", b"because")]
    await socket._send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await socket._send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
    await socket._send({"type": "websocket.http.response.body", "body": b"you"})


async def reject(socket):
    await socket._receive()
    await socket.close()


async def fail(socket):
    raise RuntimeError("before accepting")


async def fail_later(socket):
    await socket.accept()
    await socket.receive()
    raise RuntimeError("after accepting")


async def tick(socket):
    """Send for as long as there is somebody to send to, and never listen."""
    await socket.accept()
    try:
        while True:
            await socket.send("tick")
            await asyncio.sleep(0.01)
    finally:
        print("ticker left")


async def undecided(socket):
    """Neither accept nor close, and leave when the client is gone."""
    assert await socket._receive() == {"type": "websocket.connect"}
    await socket.wait_end()


async def leave(socket):
    await socket.accept()
    await socket.receive()


async def greet(socket):
    """Send before anything is asked for."""
    await socket.accept()
    await socket.send("hello")
    await socket.wait_end()


async def flood(socket):
    """Send ?n= messages of ?size= bytes."""
    await socket.accept()
    n, size = int(socket.query["n"]), int(socket.query["size"])
    for number in range(n):
        await socket.send(bytes([number % 256]) * size)
    await socket.close()
    await socket.wait_end()


async def hold(socket):
    """Receive nothing before GET /go?key=..., then count to the text "end"."""
    await socket.accept()
    await gate(socket.query["key"]).wait()
    count = size = 0
    while True:
        data = await socket.receive()
        if data is None or data == "end":
            break
        count += 1
        size += len(data)
    await socket.send(json.dumps([count, size]))
    await socket.wait_end()


ROUTES = {
    "/echo": echo,
    "/close": close,
    "/subprotocol": subprotocol,
    "/scope": scope,
    "/deny": deny,
    "/reject": reject,
    "/fail": fail,
    "/fail-later": fail_later,
    "/tick": tick,
    "/undecided": undecided,
    "/leave": leave,
    "/greet": greet,
    "/flood": flood,
    "/hold": hold,
}


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    query = dict(parse_qsl(scope["query_string"].decode()))
    if scope["type"] == "http":
        return await http(scope, receive, send, query)
    return await ROUTES[scope["path"]](Socket(scope, receive, send, query))
