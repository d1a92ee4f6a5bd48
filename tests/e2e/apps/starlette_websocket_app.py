"""WebSockets in Starlette, as its users write them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

ended: dict = {}


async def get_ended(request):
    return JSONResponse(ended.get(request.query_params["key"]))


async def echo(websocket):
    """Until the client leaves, which is an exception."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect as exc:
        ended[websocket.query_params["key"]] = [exc.code, exc.reason]


async def iterate(websocket):
    """Until the client leaves, which ends the loop."""
    await websocket.accept(subprotocol="json", headers=[(b"x-app", b"starlette")])
    async for value in websocket.iter_json():
        await websocket.send_json({"got": value})
    ended[websocket.query_params["key"]] = "loop ended"


async def close(websocket):
    await websocket.accept()
    await websocket.close(code=4001, reason="enough")


async def deny(websocket):
    await websocket.send_denial_response(PlainTextResponse("who are you?", status_code=401))


async def crash(websocket):
    await websocket.accept()
    await websocket.receive_text()
    raise RuntimeError("crash")


class Counter(WebSocketEndpoint):
    encoding = "bytes"
    size = 0

    async def on_receive(self, websocket, data):
        self.size += len(data)
        await websocket.send_json({"size": self.size})

    async def on_disconnect(self, websocket, close_code):
        ended[websocket.query_params["key"]] = close_code


app = Starlette(
    routes=[
        Route("/ended", get_ended),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/iterate", iterate),
        WebSocketRoute("/close", close),
        WebSocketRoute("/deny", deny),
        WebSocketRoute("/crash", crash),
        Mount("/under", routes=[WebSocketRoute("/{name}/counter", Counter)]),
    ]
)
