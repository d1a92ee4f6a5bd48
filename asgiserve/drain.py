"""The end of a server's connections: what is under way may finish, within a bound, whatever the application does."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Optional

from .config import Config
from .urgency import DRAIN, DROP, HURRY, Urgency

logger = logging.getLogger("asgiserve.error")

CANCEL_GRACE = 2.0
"""Seconds that a cancelled task of the application gets to end."""

LINGER = 5.0
"""Seconds, at most, that idle connections stay open when another server has taken over."""

_POLL = 0.02


class Drain:
    """Ends the connections of `state`, which gets no new ones.

    Tasks that would not end are added to `abandoned`. `name` is that of the server in the log, where it is one of
    several.
    """

    def __init__(
        self, state: Any, config: Config, urgency: Urgency, abandoned: set[asyncio.Task[Any]], name: str = ""
    ) -> None:
        self._state = state
        self._config = config
        self._urgency = urgency
        self._abandoned = abandoned
        self._name = name and f" {name}"

    async def run(self) -> None:
        """Returns when no connection and no task is left; it always does.

        Idle connections close at once, those of a server that retires after a while. After half of
        ``timeout_graceful_shutdown`` running applications are told that their client left, after all of it their tasks
        are cancelled and the connections cut.
        """
        self._state.stopping = True
        bound = self._config.timeout_graceful_shutdown
        half = None if bound is None else bound / 2
        linger = min(limit for limit in (LINGER, half, self._config.timeout_keep_alive) if limit is not None)
        start = time.monotonic()
        if self._urgency.level < DRAIN and await self._quiet(linger, DRAIN):
            return
        if half is not None:
            half -= min(linger, time.monotonic() - start)
        self._tell("shutdown")
        if not await self._quiet(half, HURRY, announce=True) and self._urgency.level < HURRY:
            self._tell("disconnect_app")
            await self._quiet(None if bound is None else bound / 2, HURRY)
        await self._cut()

    def _tell(self, what: str) -> None:
        """Calls that method of each connection; one that fails must not keep the others open."""
        for connection in list(self._state.connections):
            try:
                getattr(connection, what)()
            except Exception:
                logger.exception("A connection could not be told: %s", what)

    async def _quiet(self, timeout: Optional[float], level: int, announce: bool = False) -> bool:
        """Waits until no connection and no task is left; False after `timeout` seconds or when the urgency is that."""
        state, urgency = self._state, self._urgency
        end = None if timeout is None else time.monotonic() + timeout
        said = not announce
        pause = 0.001
        while state.connections or state.tasks:
            if urgency.level >= level or (end is not None and time.monotonic() >= end):
                return False
            if not said and pause >= _POLL:
                said = True
                logger.info(
                    "Waiting for %d connection(s) and %d task(s) to finish.%s",
                    len(state.connections),
                    len(state.tasks),
                    self._name or " (Press CTRL+C again to hurry)",
                )
            await urgency.wait(level, pause if end is None else min(pause, max(0.0, end - time.monotonic())))
            pause = min(pause * 2, _POLL)
        return True

    async def _cut(self) -> None:
        state = self._state
        tasks = set(state.tasks)
        if tasks:
            logger.error("Cancelling %d task(s) that did not finish in time.%s", len(tasks), self._name)
            for task in tasks:
                task.cancel()
            # Give them a turn of the loop, so that an answer they still send goes out before the connection is cut.
            await asyncio.wait(tasks, timeout=0.05)
        self._tell("abort")
        if not await self._quiet(CANCEL_GRACE, DROP):
            left = [task for task in state.tasks if not task.done()]
            if left:
                self._abandoned.update(left)
                logger.error("%d task(s) ignore the cancellation and are abandoned.%s", len(left), self._name)
