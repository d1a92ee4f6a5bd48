"""What `send()` and `receive()` return: awaitables that are done at once when nothing blocks.

They implement the whole coroutine protocol, so that tasks, gather(), wait_for() and anyio take them. Who waits has a
Waiter of its own: a cancelled one takes no other with it.
"""

from asyncio import CancelledError, Future, current_task
from typing import Any, NoReturn, Optional


class _NoLoop:
    """All that a Future asks of its event loop, when nobody waits for it."""

    __slots__ = ()

    def get_debug(self) -> bool:
        return False


#: What a task that goes on at once finds in place of its Waiter: it has a short way to the result of a real future.
_DONE: Any = Future(loop=_NoLoop())  # type: ignore[arg-type]
_DONE.set_result(None)


class Waiter:
    """What one task waits for: as much of an asyncio.Future as a task asks for, and the power to let it go on at once.

    Attributes:
        is_done: whether the task is woken.
    """

    __slots__ = ("is_done", "_asyncio_future_blocking", "_loop", "_callback", "_context", "_is_cancelled", "_message")

    def __init__(self, loop: Any) -> None:
        self.is_done: bool = False
        self._asyncio_future_blocking: bool = True  # the state in which a coroutine yields a future to its task
        self._loop: Any = loop
        self._callback: Any = None
        self._context: Any = None
        self._is_cancelled: bool = False
        self._message: Any = None  # the reason for that

    # -- for the task

    def get_loop(self) -> Any:
        """Return the event loop."""
        return self._loop

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        """Have `callback` called; there is one only, that of the task."""
        self._callback = callback
        self._context = context
        if self.is_done:
            self.wake()

    def cancel(self, msg: Any = None) -> bool:
        """Wake the task with CancelledError; False when it is woken already."""
        if self.is_done:
            return False
        self._is_cancelled = True
        self._message = msg
        self.wake()
        return True

    def result(self) -> None:
        """Raise CancelledError if that is why the task was woken."""
        if self._is_cancelled:
            raise CancelledError() if self._message is None else CancelledError(self._message)

    # -- for who wakes it

    def wake(self) -> None:
        """Let the task go on, in the next turn of the loop."""
        self.is_done = True
        if self._callback is not None:
            self._loop.call_soon(self._callback, self, context=self._context)

    def is_waited_on(self) -> bool:
        """Whether a task waits, and has not been woken."""
        return self._callback is not None and not self.is_done

    def wake_now(self) -> None:
        """Let the task go on before this returns.

        The Waiter is as new before the task goes on, which has let go of it by then: it may wait on it again.
        """
        callback = self._callback
        context = self._context
        self._callback = self._context = None
        self._asyncio_future_blocking = True
        try:
            context.run(callback, _DONE)
        except (SystemExit, KeyboardInterrupt) as error:
            raise_soon(self._loop, error)


class Waiters:
    """Tasks that are woken together. Whoever is woken looks again, and may have to wait again."""

    __slots__ = ("_loop", "_first", "_others", "_spare")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._first: Optional[Waiter] = None
        self._others: Optional[list[Waiter]] = None  # behind the first one; seldom is there more than that
        self._spare: Optional[Waiter] = None  # may be used again

    def add(self) -> Waiter:
        """Return a Waiter for a coroutine to yield to its task."""
        waiter = self._spare
        if waiter is None or waiter.is_done:
            waiter = Waiter(self._loop)
        self._spare = None
        if self._others is not None:
            self._others = [other for other in self._others if not other.is_done]
            self._others.append(waiter)
        elif self._first is None or self._first.is_done:
            self._first = waiter
        else:
            self._others = [waiter]
        return waiter

    def wake(self) -> bool:
        """Wake all that wait now; return whether there was any."""
        first = self._first
        if first is None:
            return False
        others = self._others
        self._first = None
        self._others = None
        woken = not first.is_done
        if woken:
            first.wake()
        if others is not None:
            for other in others:
                if not other.is_done:
                    other.wake()
                    woken = True
        return woken

    def wake_now(self) -> bool:
        """Let all that wait now go on before this returns, unless the caller is a task itself.

        Returns:
            whether there is any that has yet to go on.
        """
        first = self._first
        if first is None:
            return False
        if current_task(self._loop) is not None:
            return self.wake()
        others = self._others
        self._first = None
        self._others = None
        self._wake_now(first)
        if others is not None:
            for other in others:
                self._wake_now(other)
        return False

    def _wake_now(self, waiter: Waiter) -> None:
        if waiter.is_waited_on():
            self._spare = waiter
            waiter.wake_now()
        else:
            waiter.is_done = True


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
