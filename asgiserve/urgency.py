"""Urgency: how soon the server is to end, who may say so, and that also a loop which is held up hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from types import FrameType
from typing import Optional

SERVE, RETIRE, DRAIN, HURRY, DROP = range(5)
"""Not to end; to end when clients have had their time, for others serve already; gracefully; without waiting for
running requests; without waiting for anything."""

BLOCKED = 1.0
"""Seconds after which a request to stop that the loop has not taken note of means that the loop is blocked."""


class Urgency:
    """Rises from SERVE to DROP, and never falls.

    ``level`` (int) is how much there is. ``is_loading`` (bool) has to be set while code of the application runs that
    the loop waits for, such as its import.
    """

    def __init__(self) -> None:
        self.level = SERVE
        self.is_loading = False
        self._noticed = SERVE  # the level that the loop has seen
        self._risen_at = 0.0
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._changed: Optional[asyncio.Event] = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on `loop`, the running one, is what is to take note."""
        self._loop = loop
        self._changed = asyncio.Event()

    def detach(self) -> None:
        """The loop is about to end."""
        self._loop = None

    def rise(self, level: int) -> None:
        """Makes it at least that much, from any thread."""
        if self.level == self._noticed:
            self._risen_at = time.monotonic()
        self.level = max(self.level, level)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to stop
                self._loop.call_soon_threadsafe(self._notice)

    def _notice(self) -> None:
        self._noticed = self.level
        if self._changed is not None:
            self._changed.set()

    async def wait(self, level: int = RETIRE, timeout: Optional[float] = None) -> bool:
        """Waits until there is at least that much; False when `timeout` seconds pass first."""
        changed = self._changed
        assert changed is not None
        end = None if timeout is None else time.monotonic() + timeout
        while self.level < level:
            changed.clear()
            left = None if end is None else end - time.monotonic()
            try:
                await asyncio.wait_for(changed.wait(), left)
            except asyncio.TimeoutError:
                return False
        return True

    # -- signals, and what comes from other threads

    def ask(self, level: int) -> None:
        """Makes it at least that much, in the handler of a signal, which the main thread runs.

        Raises KeyboardInterrupt when code of the application holds up the loop.
        """
        if self._ask(level):
            raise KeyboardInterrupt

    def order(self, level: int) -> None:
        """Makes it at least that much, from another thread, and interrupts what holds up the main thread.

        Needs :meth:`on_interrupt` as the handler of SIGINT.
        """
        if self._ask(level):
            interrupt_main()

    def on_interrupt(self, number: int, frame: Optional[FrameType]) -> None:
        """The handler of SIGINT where that is none of the user's."""
        if self.level > SERVE and self._is_held_up():
            raise KeyboardInterrupt

    def _ask(self, level: int) -> bool:
        """Returns whether the loop is held up, as far as that is known."""
        held_up = self._is_held_up()
        self.rise(level)
        return held_up

    def _is_held_up(self) -> bool:
        return self.is_loading or (self.level > self._noticed and time.monotonic() - self._risen_at > BLOCKED)


def interrupt_main() -> None:
    """Has the handler of SIGINT run in the main thread, whatever that waits for."""
    if hasattr(signal, "pthread_kill"):
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)  # one that another thread gets would not end a wait of the main one
    else:
        signal.raise_signal(signal.SIGINT)
