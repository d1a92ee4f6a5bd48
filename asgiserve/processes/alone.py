"""A server without workers, but with a process of its own: SIGUSR2 starts a new program that takes its place."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from types import FrameType
from typing import Any, Optional, Sequence

from ..config import Config
from ..server import TICK, Server
from ..sockets import Listeners
from ..urgency import DRAIN, RETIRE
from .handover import Upgrade, refuse

logger = logging.getLogger("asgiserve.error")


class LoneServer(Server):
    """To be made before anything changes the environment, from which a new program starts as well."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._upgrade = Upgrade(self._let_go)
        self._coming_up: Optional[asyncio.Task[None]] = None
        self._is_up = False

    async def serve(self, sockets: Optional[Sequence[socket.socket]] = None) -> None:
        """As :meth:`.Server.serve`."""
        try:
            await super().serve(sockets)
        finally:
            self._upgrade.end()

    # -- as the new program

    def _announce(self, loop: asyncio.AbstractEventLoop, listeners: Listeners) -> None:
        if listeners.predecessor is not None:
            self._coming_up = loop.create_task(self._come_up(loop, listeners))
            return
        super()._announce(loop, listeners)
        self._is_up = True

    async def _come_up(self, loop: asyncio.AbstractEventLoop, listeners: Listeners) -> None:
        """Waits until the program whose place this one takes has let go of the sockets."""
        while self.should_exit or not listeners.take_over():  # noqa: ASYNC110, it is asked in small steps
            await asyncio.sleep(TICK)
        if self.config.metrics_bind is not None:
            await self._beats_to.start(loop)
        self._announce(loop, listeners)

    # -- as the old program

    def _tick(self) -> None:
        super()._tick()
        if self._urgency.level >= DRAIN:
            self._upgrade.end()
        else:
            self._upgrade.look()

    def _let_go(self, pid: int) -> None:
        """The process with that id serves in place of this one."""
        self._supervisor.hand_over(pid)
        if self._listeners is not None:
            self._listeners.let_go()
        self._urgency.rise(RETIRE)

    def _begin_upgrade(self) -> None:
        if self.should_exit or not self._is_up or self._listeners is None:
            refuse("the server stops" if self.should_exit else "the server starts")
            return
        metrics = [] if self.config.metrics_bind is None else self._beats_to.listeners
        self._upgrade.begin([*self._listeners, *metrics], self._listeners.passed, self.config.timeout_worker_boot)

    # -- signals

    def _handlers(self) -> dict[int, Any]:
        handlers = super()._handlers()
        if sys.platform != "win32":
            handlers.setdefault(signal.SIGHUP, self._on_hangup)
            handlers[signal.SIGUSR2] = self._on_upgrade
        return handlers

    def _on_hangup(self, number: int, frame: Optional[FrameType]) -> None:
        if self.config.is_ssl:
            super()._on_hangup(number, frame)
        else:
            self._soon(_explain_hangup)

    def _on_upgrade(self, number: int, frame: Optional[FrameType]) -> None:
        self._soon(self._begin_upgrade)

    def _soon(self, action: Any) -> None:
        # A handler may interrupt anything, the log as well.
        if self._loop is not None:
            self._loop.call_soon_threadsafe(action)


def _explain_hangup() -> None:
    logger.warning(
        "SIGHUP restarts workers, and there are none: start with --workers 1, or send SIGUSR2 to start the program anew"
    )
