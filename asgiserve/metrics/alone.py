"""Alone: the figures of a server that has no parent, which serves them itself."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Optional

from ..config import Config
from ..systemd import Notifier
from .endpoint import Endpoint
from .snapshot import Snapshot, Totals, Worker

if TYPE_CHECKING:
    from ..processes.handover import Predecessor
    from ..sockets import Listener


class Alone:
    """The :class:`.snapshot.Source` of one server in one process: its only worker, which is never replaced.

    It stands between the server and `notifier`, and hears what that hears.
    """

    def __init__(self, config: Config, notifier: Notifier) -> None:
        assert config.metrics_bind is not None
        self.restarts: dict[str, int] = {}
        self.past = Totals()
        self.reloading = notifier.reloading
        self.reloaded = notifier.reloaded
        self._notifier = notifier
        self._worker = Worker(1, os.getpid(), "booting", time.time(), None)
        self._endpoint = Endpoint(config.metrics_bind, self, config)

    # -- for the endpoint

    def workers(self) -> list[Worker]:
        """The server."""
        return [self._worker]

    def is_ready(self) -> bool:
        """Whether it serves, and no drain has begun."""
        return self._worker.phase == "ready"

    # -- for the server

    def bind(self, predecessor: Optional[Predecessor]) -> None:
        """Opens the endpoint's address, or takes it from the `predecessor`. Raises
        :class:`asgiserve.addresses.BindError`."""
        self._endpoint.bind(predecessor)

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serves the endpoint. Raises :class:`asgiserve.addresses.BindError`."""
        await self._endpoint.start(loop)

    @property
    def listeners(self) -> list[Listener]:
        """What the endpoint listens on."""
        return self._endpoint.listeners

    def hand_over(self, pid: int) -> None:
        """Another process takes the place of this one, with the endpoint's address."""
        self._endpoint.let_go()
        self._notifier.hand_over(pid)

    def ready(self, loop: asyncio.AbstractEventLoop, status: str) -> None:
        """The server accepts connections."""
        self._worker = self._worker._replace(phase="ready")
        self._notifier.ready(loop, status)

    def beat(self, snapshot: Snapshot) -> None:
        """The server has new figures."""
        self._worker = self._worker._replace(snapshot=snapshot)

    def stopping(self, status: str) -> None:
        """The server drains. The endpoint goes on."""
        self._worker = self._worker._replace(phase="stopping")
        self._notifier.stopping(status)

    def close(self) -> None:
        """The server has ended."""
        self._endpoint.stop()
        self._notifier.close()
