"""What the trace level shows of an application: its start and end, and each message without its contents."""

from __future__ import annotations

import itertools
import logging
from typing import Any

from .._consts import TRACE
from ..types import ASGIApplication, Message, Receive, Scope, Send

logger = logging.getLogger("asgiserve.asgi")

_SIZES = {"body": "bytes", "bytes": "bytes", "text": "chars", "headers": "headers"}


def is_tracing() -> bool:
    """Whether anybody wants to see the messages."""
    return logger.isEnabledFor(TRACE)


def without_contents(message: Any) -> dict[str, Any]:
    """A copy of a message or a scope with sizes in the place of bodies, texts and headers."""
    shown = dict(message)
    for key, unit in _SIZES.items():
        value = shown.get(key)
        if value is not None:
            size = len(value) if hasattr(value, "__len__") else "?"
            shown[key] = f"<{size} {unit}>"
    return shown


class TracedApplication:
    """An application around `app` that logs what goes in and out."""

    def __init__(self, app: ASGIApplication) -> None:
        self._app = app
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        name = f"{client[0]}:{client[1]} - ASGI" if client else "ASGI"
        number = next(self._numbers)

        def log(text: str, *args: Any) -> None:
            logger.log(TRACE, "%s [%d] " + text, name, number, *args)

        async def traced_receive() -> Message:
            message = await receive()
            log("Receive %s", without_contents(message))
            return message

        async def traced_send(message: Message) -> None:
            log("Send %s", without_contents(message))
            await send(message)

        log("Started scope=%s", without_contents(scope))
        try:
            await self._app(scope, traced_receive, traced_send)
        except BaseException as exc:
            log("Raised %s", type(exc).__name__)
            raise
        log("Completed")
