"""Starting an application's task: the one place that knows how, on each Python version."""

import asyncio
import sys
from collections.abc import Coroutine
from contextvars import Context
from types import CoroutineType
from typing import Any

#: Since 3.12 a task can take its first step at once, with current_task(), cancellation and context as they should be.
_HAS_EAGER_START = sys.version_info >= (3, 12)
_HAS_CONTEXT = sys.version_info >= (3, 11)


async def _wrap(awaitable: Any) -> None:
    await awaitable


def launch(awaitable: Any, loop: Any, context: Context) -> Any:
    """Start `awaitable` as a task in a copy of `context` and return the task, which may be done already.

    A task factory of the loop is respected. Without it, on Python 3.12 and newer, the task's first step is made before this returns.
    """
    coroutine: Coroutine[Any, Any, None]
    if type(awaitable) is CoroutineType or asyncio.iscoroutine(awaitable):
        coroutine = awaitable
    else:
        coroutine = _wrap(awaitable)
    if _HAS_EAGER_START and loop.get_task_factory() is None:
        return asyncio.Task(coroutine, loop=loop, context=context.copy(), eager_start=True)
    if _HAS_CONTEXT:
        return loop.create_task(coroutine, context=context.copy())
    return context.copy().run(loop.create_task, coroutine)
