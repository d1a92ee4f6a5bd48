"""The raw application, and what tests of many processes ask of it."""

import asyncio
import os
import time

import raw_app


async def block():
    time.sleep(600)


async def echo(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def app(scope, receive, send):
    path = scope.get("path")
    if scope["type"] == "websocket":
        await echo(receive, send)
    elif path == "/pid":
        await raw_app.read_body(receive)
        await raw_app.respond(send, b"%d" % os.getpid())
    elif path == "/block":
        await block()
    elif path == "/thread":
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
    else:
        await raw_app.app(scope, receive, send)
