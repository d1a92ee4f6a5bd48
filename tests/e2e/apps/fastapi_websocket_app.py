"""WebSockets in FastAPI, as its users write them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, WebSocket, WebSocketException

app = FastAPI()
rooms: dict = {}


async def user(token: Annotated[str, Query()] = ""):
    if not token:
        raise HTTPException(403, "no token")
    if token == "bad":
        raise WebSocketException(1008, "bad token")
    return token


@app.websocket("/rooms/{room}")
async def join(websocket: WebSocket, room: int, name: Annotated[str, Depends(user)]):
    """Everybody in a room hears what anybody says."""
    await websocket.accept()
    members = rooms.setdefault(room, set())
    members.add(websocket)
    try:
        async for text in websocket.iter_text():
            for member in members:
                await member.send_text(f"{name}: {text}")
    finally:
        members.discard(websocket)


@app.websocket("/http-exception")
async def refuse(websocket: WebSocket):
    raise HTTPException(418, "no WebSockets here")


@app.websocket("/accepted-exception")
async def accept_and_fail(websocket: WebSocket):
    await websocket.accept()
    raise WebSocketException(1008, "after all")
