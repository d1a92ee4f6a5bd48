"""What `send()` and `receive()` return: awaitables that are done at once when nothing blocks.

They implement the whole coroutine protocol, so that tasks, gather(), wait_for() and anyio take them. The waiting is
done by plain futures, one for each waiter: a cancelled one takes no other with it.
"""

from asyncio import Future, Task
from typing import Any, NoReturn, Optional

from .calls import call_in


class _NoLoop:
    """All that a Future asks of its event loop, when nobody waits for it."""

    __slots__ = ()

    def get_debug(self) -> bool:
        return False


#: What a task that goes on at once finds in place of the future that it waited for.
_DONE: Any = Future(loop=_NoLoop())  # type: ignore[arg-type]
_DONE.set_result(None)


class Waiters:
    """Tasks that are woken together. Whoever is woken looks again, and may have to wait again.

    Nearly always there is one task, and it waits again and again: it has the same future each time. wake_now() does
    not end that future, but takes the task's callback from it and calls that, as the event loop would.
    """

    __slots__ = ("_loop", "_first", "_is_waiting", "_others", "_callback", "_context")

    def __init__(self, loop: Any) -> None:
        self._loop: Any = loop
        self._first: Any = None
        self._is_waiting: bool = False  # a coroutine has got the first future, since all were woken
        self._others: Optional[list[Any]] = None  # futures behind that one
        # How a task was called back last; nearly always it is the next one too.
        self._callback: Any = None
        self._context: Any = None

    def add(self) -> Any:
        """Return a future in the state in which a coroutine yields it to its task."""
        if self._is_waiting and (self._others is not None or not self._first.done()):
            future = self._loop.create_future()
            if self._others is None:
                self._others = [future]
            else:
                self._others = [other for other in self._others if not other.done()]
                self._others.append(future)
        else:
            if self._first is None or self._is_waiting:
                self._first = self._loop.create_future()
            self._is_waiting = True
            future = self._first
        future._asyncio_future_blocking = True
        return future

    def wake(self) -> bool:
        """Wake all that wait now; return whether there was any."""
        if not self._is_waiting:
            return False
        others = self._others
        self._is_waiting = False
        self._others = None
        woken = self._wake(self._first)
        if others is not None:
            for future in others:
                if self._wake(future):
                    woken = True
        return woken

    def _wake(self, future: Any) -> bool:
        """Have the loop call back, in its next turn."""
        if future is self._first:
            self._first = None
        if future.done():
            return False
        future.set_result(None)
        return True

    def wake_now(self) -> bool:
        """Let all that wait now go on before this returns, unless the caller is a task itself.

        Returns:
            whether there is any that has yet to go on.
        """
        if not self._is_waiting:
            return False
        others = self._others
        self._is_waiting = False
        self._others = None
        woken = self._wake_now(self._first)
        if others is not None:
            for future in others:
                if self._wake_now(future):
                    woken = True
        return woken

    def _wake_now(self, future: Any) -> bool:
        callback = self._callback
        if callback is None or not future.remove_done_callback(callback):
            if not self._learn(future):
                return self._wake(future)
            callback = self._callback
            future.remove_done_callback(callback)
        context = self._context
        try:
            call_in(context, callback, _DONE)
        except RuntimeError:
            # A task is running, and no other one can within it.
            future.add_done_callback(callback, context=context)
            return self._wake(future)
        except (SystemExit, KeyboardInterrupt) as error:
            raise_soon(self._loop, error)
        return False

    def _learn(self, future: Any) -> bool:
        """Learn how to call back the task that waits for `future`; False when that is not known."""
        # Not all kinds of futures tell this, and who is no task may want to see the future done.
        callbacks = getattr(future, "_callbacks", None)
        if callbacks is None or len(callbacks) != 1:
            return False
        callback, context = callbacks[0]
        if not isinstance(getattr(callback, "__self__", None), Task):
            return False
        self._callback = callback
        self._context = context
        return True

    def forget(self) -> None:
        """Let go of the last task, which has ended."""
        self._callback = self._context = None


class Step:
    """The coroutine protocol over one method: send() raises StopIteration with the result, or returns a future."""

    __slots__ = ()

    def __await__(self) -> "Step":
        return self

    def __iter__(self) -> "Step":
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Take one step; `value` is ignored."""
        raise NotImplementedError

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> NoReturn:
        """Raise what is thrown in; nothing is to be undone."""
        if value is None:
            value = kind() if isinstance(kind, type) else kind
        if traceback is not None:
            raise value.with_traceback(traceback)
        raise value

    def close(self) -> None:
        """End it; there is nothing to release."""


class Ready(Step):
    """Done, with no result."""

    __slots__ = ()

    def __next__(self) -> Any:
        raise StopIteration

    def send(self, value: Any) -> Any:
        """Be done."""
        raise StopIteration


READY = Ready()


def raise_soon(loop: Any, error: BaseException) -> None:
    """Have the loop raise what is to end the process: a transport would take it for a failure of its own."""
    loop.call_soon(_raise, error)


def _raise(error: BaseException) -> NoReturn:
    raise error
