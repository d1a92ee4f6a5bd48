"""The choice of the event loop, and running a coroutine on a new one.

:class:`Runner` is for the whole life of a server process: unlike ``asyncio.run`` its clean-up is bounded, so that a
task which swallows its cancellation, or a thread which never returns, cannot keep the process from ending. Knows
nothing of the server.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Coroutine, Iterable, Optional, TypeVar, Union

from . import importer
from .options import OptionError

T = TypeVar("T")

logger = logging.getLogger("asgiserve.error")

LEFTOVER_GRACE = 2.0
"""Seconds that cancelled tasks, async generators and pool threads get at the very end."""


def factory(name: Union[str, Callable[[], Any]]) -> Callable[[], asyncio.AbstractEventLoop]:
    """The function that makes a loop of the kind `name`: auto, asyncio, uvloop, zuvloop, iocp or none.

    It can also be such a function of the user's, or where that is, as ``"module:callable"``. Raises
    :class:`OptionError` when what is asked for is not there.
    """
    if not isinstance(name, str):
        return _checked(name, repr(name))
    if ":" in name:
        return _import_factory(name)
    if name == "none":
        # Whatever the program around us has set up as its default.
        return asyncio.new_event_loop
    if name in ("auto", "uvloop", "zuvloop"):
        package = "uvloop" if name == "auto" else name
        try:
            make: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(package).new_event_loop
            return make
        except ImportError as exc:
            if name != "auto":
                raise OptionError("loop", f"{name} is asked for, but it cannot be imported ({exc})") from None
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop
    if name == "iocp":
        raise OptionError("loop", "iocp is the event loop of Windows, and this is another system")
    return asyncio.SelectorEventLoop


def _import_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        target = importer.import_target(name)
    except importer.LoadError as exc:
        raise OptionError("loop", str(exc)) from exc.cause
    if not callable(target):
        raise OptionError("loop", f"{name} is not callable: {target!r}")
    return _checked(target, name)


def _checked(target: Callable[[], Any], name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    def make() -> asyncio.AbstractEventLoop:
        loop = target()
        if not isinstance(loop, asyncio.AbstractEventLoop):
            raise OptionError("loop", f"{name} returned {loop!r}, which is not an event loop")
        return loop

    return make


def describe(loop: asyncio.AbstractEventLoop) -> str:
    """The loop's name for the start-up line, such as ``uvloop 0.23.0`` or ``asyncio``."""
    package = type(loop).__module__.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", None)
    return f"{package} {version}" if version else package


class Runner:
    """Runs one coroutine on a new loop of its own, then closes the loop.

    `abandoned` is a set of tasks that somebody has given up already; they are not waited for. The coroutine itself,
    when something like KeyboardInterrupt ends the loop under it, is cancelled and then gets the time it takes.

    After :meth:`run`, ``stuck`` (int) counts the tasks and pools that would not end. Their threads would keep the
    interpreter from exiting, so that a program which owns its process may then have to use ``os._exit``.
    """

    def __init__(
        self, make_loop: Callable[[], asyncio.AbstractEventLoop], abandoned: Optional[set[asyncio.Task[Any]]] = None
    ) -> None:
        self.stuck = 0
        self._make_loop = make_loop
        self._abandoned = set() if abandoned is None else abandoned

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Returns or raises what `main` does. Raises RuntimeError when a loop is running in this thread."""
        if _is_running():
            main.close()
            raise RuntimeError("run() cannot be called while an event loop is running; await Server.serve() instead")
        loop = self._make_loop()
        # A pool of our own, because the loop's shutdown_default_executor() cannot be given up once it waits for a
        # thread.
        pool = ThreadPoolExecutor(thread_name_prefix="asyncio")
        loop.set_default_executor(pool)
        try:
            asyncio.set_event_loop(loop)
            task = loop.create_task(main)
            try:
                return loop.run_until_complete(task)
            finally:
                if not task.done():
                    task.cancel()
                    loop.run_until_complete(asyncio.wait([task]))
        finally:
            try:
                self._clean_up(loop)
                self._close_pool(pool)
            finally:
                asyncio.set_event_loop(None)
                loop.close()

    def _clean_up(self, loop: asyncio.AbstractEventLoop) -> None:
        for task in self._abandoned:
            _silence(task)
        tasks = asyncio.all_tasks(loop) - self._abandoned
        for task in tasks:
            task.cancel()
        for task in _finish(loop, tasks):
            self.stuck += 1
            logger.error("Task %s ignores its cancellation and is abandoned", task.get_name())
            _silence(task)
        for task in _finish(loop, [loop.create_task(loop.shutdown_asyncgens())]):
            self.stuck += 1
            _silence(task)

    def _close_pool(self, pool: ThreadPoolExecutor) -> None:
        # shutdown(wait=True) has no bound, so it waits in a thread that nobody has to wait for.
        closer = threading.Thread(target=pool.shutdown, daemon=True)
        closer.start()
        closer.join(LEFTOVER_GRACE)
        if closer.is_alive():
            self.stuck += 1
            logger.error("A thread of the event loop's pool is still busy and is abandoned")


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _finish(loop: asyncio.AbstractEventLoop, tasks: Iterable[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Waits a bounded time for `tasks`; returns those that are still not done."""
    waiting = set(tasks)
    if not waiting:
        return waiting
    done, pending = loop.run_until_complete(asyncio.wait(waiting, timeout=LEFTOVER_GRACE))
    for task in done:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {"message": "unhandled exception during loop shutdown", "exception": task.exception(), "task": task}
            )
    return pending


def _silence(task: asyncio.Task[Any]) -> None:
    # We said so already: no "Task was destroyed but it is pending" on top.
    if hasattr(task, "_log_destroy_pending"):
        task._log_destroy_pending = False
