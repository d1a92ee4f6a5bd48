"""What `send()` and `receive()` return: awaitables that are done at once when nothing blocks.

They implement the whole coroutine protocol, so that tasks, gather(), wait_for() and anyio take them. The waiting is
done by plain futures, one for each waiter: a cancelled waiter takes no other one with it.
"""

from typing import Any, NoReturn


class Waiters:
    """Futures that are woken together. Whoever is woken looks again, and may have to wait again."""

    __slots__ = ("_loop", "_futures")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._futures: list[Any] = []

    def add(self) -> Any:
        """Return a new future in the state in which a coroutine yields it to its task."""
        if self._futures:
            self._futures = [future for future in self._futures if not future.done()]
        future = self._loop.create_future()
        future._asyncio_future_blocking = True
        self._futures.append(future)
        return future

    def wake(self) -> bool:
        """Wake all that wait now; return whether there was any."""
        futures = self._futures
        woken = False
        if futures:
            self._futures = []
            for future in futures:
                if not future.done():
                    future.set_result(None)
                    woken = True
        return woken


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
