"""A chat without a framework: `asgiserve examples.chat:app`, then open http://127.0.0.1:8000 in two windows.

/      the page
/chat  the WebSocket: what one says, all hear
"""

from __future__ import annotations

from typing import Any, Awaitable, Callable

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PAGE = b"""<!doctype html>
<meta charset="utf-8">
<title>Chat</title>
<form><input autofocus placeholder="Say something"></form>
<ul></ul>
<script>
const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/chat`);
const say = text => document.querySelector("ul").appendChild(document.createElement("li")).textContent = text;
socket.onmessage = event => say(event.data);
socket.onclose = event => say(`closed with code ${event.code}`);
document.querySelector("form").onsubmit = event => {
  event.preventDefault();
  const input = document.querySelector("input");
  if (input.value) socket.send(input.value);
  input.value = "";
};
</script>
"""

members: set[Send] = set()


async def tell_all(text: str) -> None:
    for send in list(members):
        try:
            await send({"type": "websocket.send", "text": text})
        except OSError:  # this one has just left
            members.discard(send)


async def chat(receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    members.add(send)
    try:
        await tell_all(f"somebody came, we are {len(members)}")
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                break
            if message.get("text"):
                await tell_all(message["text"])
    finally:
        members.discard(send)
    await tell_all(f"somebody left, we are {len(members)}")


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        if scope["path"] == "/chat":
            await chat(receive, send)
        else:
            await send({"type": "websocket.close"})
    else:
        status, body = (200, PAGE) if scope["path"] == "/" else (404, b"Not Found\n")
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
