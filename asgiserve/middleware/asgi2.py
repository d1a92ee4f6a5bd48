"""ASGI 2 applications, which are called twice: ``app(scope)`` gives what is then called with receive and send."""

from __future__ import annotations

from typing import Any, Callable

from ..types import Receive, Scope, Send


class ASGI2Middleware:
    """An ASGI 3 application over `app`, an ASGI 2 application (a class or function of one parameter)."""

    def __init__(self, app: Callable[[Scope], Any]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["asgi"]["version"] = "2.0"
        await self.app(scope)(receive, send)
