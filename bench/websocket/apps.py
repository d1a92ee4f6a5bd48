"""The ASGI applications under load: they do as little as they can and treat every server the same.

Each one refuses any scope but ``websocket``, which is how a server that insists on lifespan learns that there is none.
"""

from __future__ import annotations

from typing import Any

# The `send` callables of all open connections, for :func:`broadcast`.
_peers: dict[int, Any] = {}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send every message back as it came."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        text = message.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def broadcast(scope: Any, receive: Any, send: Any) -> None:
    """Send every message to all connections, one after the other."""
    assert scope["type"] == "websocket"
    await receive()
    # Before it is accepted, so that whoever has seen the answer is in: nobody sends before all are open.
    _peers[id(send)] = send
    try:
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            answer = {"type": "websocket.send", "bytes": message["bytes"]}
            for peer in list(_peers.values()):
                await peer(answer)
    finally:
        del _peers[id(send)]
