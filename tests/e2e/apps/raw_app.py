"""A plain ASGI application with everything that a framework hides. Each path is one behaviour; needs no library."""

from __future__ import annotations

import asyncio
import hashlib
import json
from urllib.parse import parse_qsl

MIB = 1024 * 1024
BLOCK = bytes(range(256)) * 256  # 64 KiB that show when something is lost or moved


class ClientLeft(Exception):
    """The body ended too early."""


gates: dict = {}
counters: dict = {}
events: list = []


def gate(name):
    return gates.setdefault(name, asyncio.Event())


async def respond(send, body=b"", status=200, headers=(), content_type=b"text/plain"):
    head = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def respond_json(send, value):
    await respond(send, json.dumps(value).encode(), content_type=b"application/json")


async def read_body(receive):
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def plain(value):
    """`value` as JSON can hold it."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return repr(value)


async def hello(scope, receive, send, args):
    await respond(send, b"Hello, world!")


async def show_scope(scope, receive, send, args):
    await respond_json(send, plain(scope))


async def echo(scope, receive, send, args):
    await respond(send, await read_body(receive), content_type=b"application/octet-stream")


async def echo_stream(scope, receive, send, args):
    """Each piece goes back as it comes. The empty piece at first makes the server send the head."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            events.append("disconnect:echo-stream")
            return
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


async def count(scope, receive, send, args):
    """The length and digest of the body, which is never held as a whole."""
    size, digest = 0, hashlib.md5()
    while True:
        message = await receive()
        body = message.get("body", b"")
        size += len(body)
        if "digest" in args:
            digest.update(body)
        if not message.get("more_body", False):
            break
    await respond_json(send, {"size": size, "md5": digest.hexdigest()})


async def stream(scope, receive, send, args):
    """n pieces of `size` bytes; with `length`, a Content-Length."""
    number, size = int(args.get("n", 5)), int(args.get("size", 10))
    headers = [(b"content-type", b"text/plain")]
    if "length" in args:
        headers.append((b"content-length", b"%d" % (number * size)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for index in range(number):
        body = (b"%d" % (index % 10)) * size
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def firehose(scope, receive, send, args):
    """`mib` MiB in pieces of 64 KiB; how far it came shows at /progress."""
    total, name = int(args["mib"]) * MIB, args["key"]
    headers = [(b"content-length", b"%d" % total)] if "length" in args else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    counters[name] = 0
    try:
        for _ in range(total // len(BLOCK)):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
            counters[name] += len(BLOCK)
        await send({"type": "http.response.body", "body": b""})
    finally:
        events.append("end:" + name)


async def hold(scope, receive, send, args):
    """Receives nothing until /release names its key, then counts the body."""
    counters[args["key"]] = -1
    await gate(args["key"]).wait()
    await count(scope, receive, send, args)


async def release(scope, receive, send, args):
    gate(args["key"]).set()
    await respond(send, b"released")


async def progress(scope, receive, send, args):
    await respond_json(send, {"counters": counters, "events": events})


async def ignore_body(scope, receive, send, args):
    await respond(send, b"not read")


async def early_answer(scope, receive, send, args):
    await receive()
    await respond(send, b"too much", status=413)


async def wait_disconnect(scope, receive, send, args):
    """Answers nothing; notes when the client has left, and what send() does then."""
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()
    again = await receive()
    try:
        await respond(send, b"too late")
        outcome = "sent"
    except OSError:
        outcome = "OSError"
    events.append(":".join(["left", args["key"], again["type"], outcome]))


async def until_disconnect(scope, receive, send, args):
    """Streams until send() says that the client has left."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while True:
            await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
            await asyncio.sleep(0.005)
    except OSError:
        events.append("left:" + args["key"])
        raise


async def trailers(scope, receive, send, args):
    if "http.response.trailers" not in scope["extensions"]:
        return await respond(send, b"not announced", status=501)
    head = [(b"content-type", b"text/plain"), (b"trailer", b"x-sum")]
    await send({"type": "http.response.start", "status": 200, "headers": head, "trailers": True})
    await send({"type": "http.response.body", "body": b"with ", "more_body": True})
    await send({"type": "http.response.body", "body": b"trailers"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"13")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-more", b"yes")]})
    return None


async def early_hint(scope, receive, send, args):
    if "http.response.early_hint" not in scope["extensions"]:
        return await respond(send, b"not announced", status=501)
    links = [b"</style.css>; rel=preload; as=style", b"</code.js>; rel=preload; as=script"]
    await send({"type": "http.response.early_hint", "links": links})
    await respond(send, b"hinted")
    return None


async def status(scope, receive, send, args):
    code = int(args["code"])
    if code in (204, 304):
        await send({"type": "http.response.start", "status": code, "headers": [(b"x-code", b"%d" % code)]})
        await send({"type": "http.response.body", "body": b""})
    else:
        await respond(send, b"status %d" % code, status=code)


async def own_date(scope, receive, send, args):
    await respond(send, b"mine", headers=[(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"server", b"mine")])


async def fail(scope, receive, send, args):
    raise RuntimeError("on purpose")


async def fail_late(scope, receive, send, args):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    raise RuntimeError("on purpose")


async def silent(scope, receive, send, args):
    return None


async def short(scope, receive, send, args):
    """Fewer bytes than its Content-Length."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
    if "late" in args:
        await send({"type": "http.response.body", "body": b"three", "more_body": True})
    await send({"type": "http.response.body", "body": b"four"})


async def split_header(scope, receive, send, args):
    await respond(send, b"x", headers=[(b"x-bad", b"a\r\nset-cookie: stolen=1")])


ROUTES = {
    "/": hello,
    "/hello": hello,
    "/scope": show_scope,
    "/echo": echo,
    "/echo-stream": echo_stream,
    "/count": count,
    "/stream": stream,
    "/firehose": firehose,
    "/hold": hold,
    "/release": release,
    "/progress": progress,
    "/ignore-body": ignore_body,
    "/early-answer": early_answer,
    "/wait-disconnect": wait_disconnect,
    "/until-disconnect": until_disconnect,
    "/trailers": trailers,
    "/early-hint": early_hint,
    "/status": status,
    "/own-date": own_date,
    "/fail": fail,
    "/fail-late": fail_late,
    "/silent": silent,
    "/short": short,
    "/split-header": split_header,
}


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            if "state" in scope:
                scope["state"]["started"] = "yes"
            await send({"type": "lifespan.startup.complete"})
        else:
            print("lifespan: shut down", flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    args = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    handler = ROUTES.get(scope["path"], show_scope if scope["path"].startswith("/scope") else None)
    if handler is None:
        return await respond(send, b"no such path", status=404)
    try:
        await handler(scope, receive, send, args)
    except ClientLeft:
        events.append("left:" + scope["path"])
