"""Received: what `receive()` returns. The pure twin of `_speedups/received.pyx`."""

from typing import Any, Optional

from .flow import Step


class Source:
    """Who has messages for an application."""

    __slots__ = ()

    def give_message(self) -> "Optional[dict[str, Any]]":
        """Return the next message; None when there is none yet."""
        raise NotImplementedError

    def wait(self) -> Any:
        """Return a future that is done when there may be a message."""
        raise NotImplementedError


class Received(Step):
    """The next message. It is taken when the step is made: a task cancelled before that eats no message."""

    __slots__ = ("_source",)

    def __init__(self, source: Source) -> None:
        self._source: Source = source

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Return a future while there is no message."""
        message = self._source.give_message()
        if message is None:
            return self._source.wait()
        raise StopIteration(message)


def receive_from(source: Source) -> Received:
    """Return an awaitable for the next message of `source`."""
    return Received(source)
