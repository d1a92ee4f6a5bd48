"""The ASGI lifespan protocol 2.0: the application's start-up and shutdown.

One :class:`Lifespan` runs the application once with a lifespan scope, on the loop that serves the requests. It knows
the messages and their order; when to start and to stop is the server's business.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Optional

from .errors import AppError
from .types import ASGIApplication, Message, Scope

logger = logging.getLogger("asgiserve.error")

CANCEL_GRACE = 2.0
"""Seconds for the application's lifespan task to end once it is cancelled."""

# States, in their order.
_STARTING, _RUNNING, _STOPPING, _OVER = range(4)


class LifespanError(Exception):
    """The application did not start. The text is one line; what the application said is in the log already."""


class Lifespan:
    """Runs `app` through start-up and shutdown.

    `mode` is auto, on or off. ``state`` (dict) is the namespace that the application fills during start-up and that
    the connections get shallow copies of. ``supported`` is False once the application turned out to know no lifespan
    events. ``abandoned`` is the application's task if it would not end.
    """

    def __init__(
        self,
        app: ASGIApplication,
        mode: str = "auto",
        startup_timeout: Optional[float] = None,
        shutdown_timeout: Optional[float] = None,
    ) -> None:
        self.state: dict[str, Any] = {}
        self.supported = mode != "off"
        self.abandoned: Optional[asyncio.Task[None]] = None
        self._app = app
        self._mode = mode
        self._startup_timeout = startup_timeout
        self._shutdown_timeout = shutdown_timeout
        self._phase = _STARTING
        self._failed: Optional[str] = None  # the message of startup.failed or shutdown.failed
        self._error: Optional[BaseException] = None
        self._asked = False  # receive() has handed out lifespan.startup
        self._task: Optional[asyncio.Task[None]] = None

    async def startup(self) -> None:
        """Runs the application's start-up code and returns when requests may come.

        Raises :class:`LifespanError` when the application does not start. Cancelling this call cancels the
        application's code.
        """
        if not self.supported:
            return
        logger.info("Waiting for application startup.")
        self._done = asyncio.Event()
        self._stop = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())
        try:
            await asyncio.wait_for(self._done.wait(), self._startup_timeout)
        except asyncio.TimeoutError:
            await self._cancel()
            raise LifespanError(
                f"The application's start-up took more than {self._startup_timeout:g} seconds."
            ) from None
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if self._failed is not None:
            if self._failed:
                logger.error("%s", self._failed)
            await self._cancel()
            raise LifespanError("The application's start-up failed.")
        if self._phase == _RUNNING:
            logger.info("Application startup complete.")
        elif self._mode == "on":
            self._log_error("Exception in the application's start-up")
            raise LifespanError("The application's start-up failed.")
        else:
            self._give_up()

    def _give_up(self) -> None:
        """The application ended before it said that it started: in mode auto this means that it knows no lifespan."""
        self.supported = False
        self.state.clear()
        error = self._error
        if error is None:
            why = "it returned without an answer"
        else:
            why = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
        logger.info("The application does not support lifespan events (%s); going on without, see --lifespan.", why)
        if error is not None:
            logger.debug("What the application raised:", exc_info=error)

    async def shutdown(self) -> None:
        """Runs the application's shutdown code, within the bound, and logs how it failed if it did. Raises nothing."""
        if not self.supported or self._task is None:
            return
        if self._phase != _RUNNING or self._task.done():
            return  # it raised while the server ran, and that was logged then
        logger.info("Waiting for application shutdown.")
        self._phase = _STOPPING
        self._done.clear()
        self._stop.set()
        try:
            await asyncio.wait_for(self._done.wait(), self._shutdown_timeout)
        except asyncio.TimeoutError:
            logger.error(
                "The application's shutdown took more than %g seconds and is cancelled.", self._shutdown_timeout
            )
            await self._cancel()
            return
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if self._failed is not None:
            logger.error("The application's shutdown failed.%s", f" {self._failed}" if self._failed else "")
        elif self._error is not None:
            self._log_error("Exception in the application's shutdown")
        else:
            logger.info("Application shutdown complete.")
        # It has answered; what it still does may finish, but not hold us.
        await asyncio.wait([self._task], timeout=CANCEL_GRACE)
        await self._cancel()

    async def _cancel(self) -> None:
        task = self._task
        if task is None or task.done():
            return
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_GRACE)
        if not task.done():
            self.abandoned = task
            logger.error("The application's lifespan task ignores its cancellation and is abandoned.")

    def _log_error(self, text: str) -> None:
        logger.error(text, exc_info=self._error)

    async def _run(self) -> None:
        scope: Scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            self._error = exc
            if self._phase == _RUNNING:
                self._log_error("Exception in the application's lifespan; its shutdown code will not run")
        finally:
            self._done.set()

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        if self._phase == _STOPPING and not self._done.is_set():
            self._stop = asyncio.Event()  # there is no third message: whoever asks for it waits until he is cancelled
            return {"type": "lifespan.shutdown"}
        await asyncio.Event().wait()
        raise AssertionError  # pragma: no cover

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._phase == _STARTING and kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            self._phase = _RUNNING if kind == "lifespan.startup.complete" else _OVER
        elif self._phase == _STOPPING and kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            self._phase = _OVER
        else:
            state = ("before start-up", "while running", "during shutdown", "after the end")[self._phase]
            raise AppError(f"message {kind!r} is not allowed {state} of the lifespan")
        if kind.endswith(".failed"):
            self._failed = str(message.get("message", ""))
        self._done.set()
