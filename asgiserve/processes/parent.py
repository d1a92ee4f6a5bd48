"""The parent of the workers: its event loop, the signals, the listening sockets, and who else is told.

What is done about workers is decided in :mod:`.supervisor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import sys
import threading
import time
from functools import partial
from typing import Any, Callable, Iterator, Optional

from .. import loops
from ..config import Config
from ..options import OptionError
from ..server import EXIT_STARTUP_FAILED
from ..sockets import BindError, Listeners, open_configured
from ..systemd import Notifier
from .handover import Upgrade, refuse
from .link import Message
from .process import WorkerProcess, open_board
from .reload import Watcher, describe, forget_bytecode
from .slots import Slots
from .supervisor import Supervisor, Worker

logger = logging.getLogger("asgiserve.error")

TICK = 0.25
"""Seconds between two looks at the workers."""

_IS_WINDOWS = sys.platform == "win32"  # where loops know no signals


class Parent:
    """Serves with worker processes until stopped.

    Raises :class:`asgiserve.ConfigError` for settings that cannot be handed to another process.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        _check(config)
        self._listeners: Optional[Listeners] = None
        self._slots: Any = None
        self._board = None if config.worker_sockets == "own" else open_board()
        self._notifier = Notifier({})
        self._supervisor: Any = None
        self._news: Any = None  # an event: there is something to look at
        self._endpoint: Any = None
        self._is_up = False
        self._is_restarting = False
        self._upgrade = Upgrade(self._let_go)
        self._watcher = Watcher(config) if config.reload else None
        self._changed: set[str] = set()  # files that changed since the last start of a worker

    def run(self) -> int:
        """Returns the exit status: 0 after a graceful stop, 3 when the application did not start."""
        runner = loops.Runner(_new_loop)
        return runner.run(self._main())

    async def _main(self) -> int:
        loop = asyncio.get_running_loop()
        with self._signals(loop):
            return await self._serve(loop)

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> int:
        config = self.config
        config.configure_logging()
        logger.info("Started parent process [%d]", os.getpid())
        config.warn_of_idle_options()
        config.load_stack()
        logger.info("stack: %s, %s", config.stack.name, config.stack.parser)
        try:
            self._listeners = open_configured(config)
        except BindError as exc:
            logger.error("%s", exc)
            return EXIT_STARTUP_FAILED
        self._slots = Slots(self._listeners, config.worker_sockets == "own")
        self._notifier = _take_notifier()
        self._news = asyncio.Event()
        self._supervisor = Supervisor(config, partial(self._start, loop), time.monotonic())
        try:
            await self._open_metrics(loop)
            with self._watching_files(loop):
                await self._watch(loop)
        except BindError as exc:
            logger.error("%s", exc)
            return EXIT_STARTUP_FAILED
        except BaseException:
            self._supervisor.abandon()  # without us they would serve on, and nobody would know
            raise
        finally:
            self._upgrade.end()
            if self._endpoint is not None:
                self._endpoint.stop()
            self._notifier.close()
            self._close_sockets()
        logger.info("Finished parent process [%d]", os.getpid())
        status: int = self._supervisor.exit_status
        return status

    async def _open_metrics(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.config.metrics_bind is None:
            return
        from ..metrics.endpoint import Endpoint  # it takes time to load, and most do not need it

        assert self._listeners is not None
        predecessor = self._listeners.predecessor
        self._endpoint = Endpoint(self.config.metrics_bind, self._supervisor, self.config)
        self._endpoint.bind(predecessor)
        if predecessor is None:  # whose probes go on until its end
            await self._endpoint.start(loop)

    async def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lets the supervisor look at the workers until all is over."""
        supervisor = self._supervisor
        while supervisor.exit_status is None:
            supervisor.tick(time.monotonic())
            self._slots.cover(supervisor.serving())
            if supervisor.is_complete and not self._is_up and not supervisor.is_stopping:
                await self._come_up(loop)
            self._upgrade.look()
            if self._is_restarting and not supervisor.is_swapping:
                self._is_restarting = False
                self._notifier.reloaded()
            if supervisor.exit_status is None:
                self._news.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._news.wait(), TICK)

    def _start(self, loop: asyncio.AbstractEventLoop, worker: Worker) -> WorkerProcess:
        assert self._listeners is not None

        def on_message(message: Message) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(self._hear, worker, message)

        forget_bytecode(self._changed)
        self._changed.clear()
        name = f"asgiserve-worker-{worker.slot}"
        board = self._board if self._supervisor.target > 1 else None  # alone there is nobody to share with
        return WorkerProcess(self.config, self._slots.of(worker.slot), on_message, name, board)

    def _hear(self, worker: Worker, message: Message) -> None:
        self._supervisor.hear(worker, message, time.monotonic())
        self._slots.cover(self._supervisor.serving())
        if self._supervisor.is_complete and not self._is_up:
            self._look()

    @contextlib.contextmanager
    def _watching_files(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Hears of changed files meanwhile, when they are to be watched."""
        if self._watcher is None:
            yield
            return

        def on_change(changed: set[str]) -> None:
            loop.call_soon_threadsafe(self._reload, changed)

        self._watcher.start(on_change)
        try:
            yield
        finally:
            self._watcher.stop()

    def _reload(self, changed: set[str]) -> None:
        if not self._supervisor.is_stopping:
            logger.info("%s. Reloading...", describe(changed))
            self._changed |= changed
            self._supervisor.reload(time.monotonic())
            self._look()

    def _look(self) -> None:
        """Has the supervisor look at its workers now."""
        self._news.set()

    async def _come_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Says that there are workers, once the program whose place they take has let go of the sockets."""
        assert self._listeners is not None
        is_new = self._listeners.predecessor is not None
        if not self._listeners.take_over():
            return
        self._is_up = True
        if is_new and self._endpoint is not None:
            await self._endpoint.start(loop)
        urls = self._listeners.urls("https" if self.config.is_ssl else "http")
        for url in urls:
            logger.info("asgiserve running on %s (Press CTRL+C to quit)", url)
        self._notifier.ready(loop, f"Running on {', '.join(urls)}")

    def _begin_upgrade(self) -> None:
        if self.config.reload:
            refuse("files that change start the workers anew")
        elif self._supervisor.is_stopping or not self._is_up:
            refuse("the workers stop" if self._supervisor.is_stopping else "the workers start")
        else:
            assert self._listeners is not None
            listeners = self._slots.all() + ([] if self._endpoint is None else self._endpoint.listeners)
            self._upgrade.begin(listeners, self._listeners.passed, self.config.timeout_worker_boot)

    def _let_go(self, pid: int) -> None:
        """The process with that id serves in place of this one."""
        assert self._listeners is not None
        self._notifier.hand_over(pid)
        if self._endpoint is not None:
            self._endpoint.let_go()
        self._listeners.let_go()
        self._close_sockets()
        self._supervisor.retire(time.monotonic())

    def _close_sockets(self) -> None:
        """Takes the address away; a worker that still accepts has the sockets too."""
        if self._listeners is not None:
            self._listeners.remove()
            self._listeners.close()
            self._listeners = None

    # -- signals

    @contextlib.contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Handles signals meanwhile; those of a thread that is not the main one are left to the program around us."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        earlier: list[tuple[int, Any]] = []
        try:
            for number, action in self._actions().items():
                earlier.append((number, signal.getsignal(number)))
                if _IS_WINDOWS:
                    signal.signal(number, lambda *_, action=action: loop.call_soon_threadsafe(action))
                else:
                    loop.add_signal_handler(number, action)
            yield
        finally:
            for number, handler in earlier:
                if not _IS_WINDOWS:
                    loop.remove_signal_handler(number)
                # None: a handler that was not set from Python, which Python cannot put back.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _actions(self) -> dict[int, Callable[[], None]]:
        found: dict[str, Callable[[], None]] = {
            "SIGINT": self._stop,
            "SIGTERM": self._stop,
            "SIGBREAK": self._stop,
            "SIGHUP": self._restart,
            "SIGUSR2": self._begin_upgrade,
            "SIGTTIN": self._add,
            "SIGTTOU": self._remove,
            "SIGCHLD": self._look,
        }
        return {getattr(signal, name): action for name, action in found.items() if hasattr(signal, name)}

    def _stop(self) -> None:
        self._upgrade.end()
        if not self._supervisor.is_stopping:
            self._notifier.stopping("Shutting down")
            logger.info("Shutting down the workers. (Press CTRL+C again to hurry)")
            self._close_sockets()
        self._supervisor.stop(time.monotonic())
        self._look()

    def _restart(self) -> None:
        if self._supervisor.is_stopping:
            return
        if self._is_up:
            self._is_restarting = True
            self._notifier.reloading()
        self._supervisor.restart(time.monotonic())
        self._look()

    def _add(self) -> None:
        if self._may_change():
            self._supervisor.add(time.monotonic())
            self._look()

    def _remove(self) -> None:
        if self._may_change():
            self._supervisor.remove(time.monotonic())
            self._look()

    def _may_change(self) -> bool:
        """Whether the number of workers, and with it that of sockets, may change now."""
        if self._upgrade.is_under_way:
            logger.warning("The number of workers stays as it is while a new program starts")
            return False
        return True


def _check(config: Config) -> None:
    """Whether a new process can be given these settings. Raises :class:`asgiserve.ConfigError`."""
    name = "reload" if config.reload else "workers"
    if config.worker_sockets == "own" and sys.platform != "linux":
        raise OptionError("worker_sockets", "own is for Linux, whose SO_REUSEPORT spreads connections over the sockets")
    if not isinstance(config.app, str):
        raise OptionError(name, "the application has to be given as module:attribute, for other processes to import it")
    try:
        pickle.dumps(config)
    except Exception as exc:
        raise OptionError(name, f"the settings cannot be handed to another process: {exc}") from None


def _new_loop() -> asyncio.AbstractEventLoop:
    # Hardly anything goes on in it: no reason to load another one.
    return asyncio.SelectorEventLoop()


def _take_notifier() -> Notifier:
    """The notifier of this process. The variables that name it are taken away: workers speak with their parent."""
    notifier = Notifier(os.environ)
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        os.environ.pop(name, None)
    return notifier
