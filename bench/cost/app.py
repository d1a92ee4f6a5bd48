"""The application that is profiled: it answers 13 bytes, and at ``/mark`` begins or ends a segment for callgrind."""

from __future__ import annotations

from typing import Any

from ..http.apps import TEXT, TEXT_HEADERS
from ..instructions.exercise import mark

served = 0


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer and count; at ``/mark`` answer how many there were since the last one."""
    global served
    assert scope["type"] == "http"
    if scope["path"] != "/mark":
        served += 1
        await send({"type": "http.response.start", "status": 200, "headers": TEXT_HEADERS})
        await send({"type": "http.response.body", "body": TEXT})
        return
    mark()
    body = b"%d" % served
    served = 0
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
