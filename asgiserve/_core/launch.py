"""Starting an application's task: the one place that knows how, on each Python version."""

import inspect
import sys
from asyncio import Task, iscoroutine
from contextvars import Context, copy_context
from types import CoroutineType
from typing import Any

from .calls import call

#: Since 3.12 a task can take its first step at once, with current_task(), cancellation and context as they should be.
_HAS_EAGER_START = sys.version_info >= (3, 12)
_HAS_CONTEXT = sys.version_info >= (3, 11)


class Launcher:
    """Starts tasks on one event loop, each in a fresh copy of the context in which the launcher was made.

    Args:
        is_empty: whether that is an empty context in place of the current one.
    """

    __slots__ = ("context", "_loop", "_copy_context", "_is_eager", "_arguments")

    def __init__(self, loop: Any, is_empty: bool) -> None:
        self.context = Context() if is_empty else copy_context()
        self._loop = loop
        self._copy_context = self.context.copy
        self._is_eager: bool = False
        # One dictionary for all calls; only the context changes. A task has read it before its first step.
        self._arguments: dict[str, Any] = {"loop": loop, "context": None, "eager_start": True}
        self.refresh()

    def refresh(self) -> None:
        """Look whether the loop has a task factory. The tick calls this: it is seldom set, and once for all."""
        self._is_eager = _HAS_EAGER_START and self._loop.get_task_factory() is None

    def launch(self, awaitable: Any) -> Any:
        """Start `awaitable` as a task and return the task, which may be done already.

        On Python 3.12 and newer the task's first step is made before this returns, unless the loop has a task factory.
        """
        if type(awaitable) is not CoroutineType and not iscoroutine(awaitable):
            awaitable = _wait_for(awaitable)
        context = self._copy_context()
        if self._is_eager:
            arguments = self._arguments
            arguments["context"] = context
            return call(Task, awaitable, arguments)
        if _HAS_CONTEXT:
            return self._loop.create_task(awaitable, context=context)
        return context.run(self._loop.create_task, awaitable)


# A method of a type that is known need not be looked for.
_done: Any = Task.done
_exception: Any = Task.exception


def is_done(task: Any) -> bool:
    """Whether a task that launch() returned is done."""
    return bool(_done(task) if type(task) is Task else task.done())


def exception_of(task: Any) -> Any:
    """Return what a task that is done has raised, or None.

    Raises:
        CancelledError: it was cancelled.
    """
    return _exception(task) if type(task) is Task else task.exception()


async def _wait_for(awaitable: Any) -> None:
    await awaitable


def as_coroutine_function(app: Any) -> Any:
    """Return `app` as something whose every line runs inside the awaitable that it returns.

    What a plain function does before it returns its awaitable would otherwise happen in the server's context, not in
    the task's.
    """
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None)):  # noqa: B004
        return app

    async def call(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return call
