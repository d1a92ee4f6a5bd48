"""Exchange: what an application is run for. The part that an HTTP request and a WebSocket have in common.

A subclass knows the messages and the states they are allowed in; here is how they are handed over, and what becomes of
the application's task.
"""

from asyncio import CancelledError
from typing import Any, Optional

from ..errors import AppError, ClientDisconnected
from .calls import bind
from .flow import Waiters
from .launch import exception_of
from .received import Source, receive_from
from .spare import Spare


class Exchange(Source):
    """One run of an application. The application uses receive() and send(); a subclass defines the rest.

    A subclass sets the attributes itself: there is one object for each request, and super() would cost as much as all
    of its assignments.

    Attributes:
        loop: the event loop.
        task: the application's task while it runs, else None.
        waiters: who waits in receive(), or None.
    """

    __slots__ = ("loop", "task", "waiters")

    loop: Any
    task: Any
    waiters: Optional[Waiters]

    # -- for the application

    def receive(self) -> Any:
        """The ASGI `receive` callable."""
        return receive_from(self)

    def send(self, message: Any) -> Any:
        """The ASGI `send` callable.

        Raises:
            AppError: the message is malformed, or not allowed in this state.
            ClientDisconnected: the client has left.
        """
        return self.take_message(message if type(message) is dict else dict(message))

    # -- for a subclass

    def wait(self) -> Any:
        """Return a future that is done when there may be a message."""
        if self.waiters is None:
            self.waiters = Waiters(self.loop)
        return self.waiters.add()

    # -- the end of the application

    def task_done(self, task: Any) -> None:
        """For Task.add_done_callback()."""
        self.judge(task)

    def judge(self, task: Any) -> None:
        """Judge how the application's task ended."""
        self.task = None
        if self.waiters is not None:
            self.waiters.forget()
        try:
            error = exception_of(task)
        except CancelledError:
            self.app_ended(None, True)
        else:
            self.app_ended(error, False)
        self.let_go()

    # -- what a subclass defines

    def take_message(self, message: "dict[str, Any]") -> Any:
        """Act on a message of the application; return an awaitable."""
        raise NotImplementedError

    def app_ended(self, error: Optional[BaseException], cancelled: bool) -> None:
        """The application has ended: with `error`, cancelled, or by returning."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Have no part in anything any more: the application, which has ended, may have left somebody with send()."""


class SpareExchange:
    """The last exchange of a kind with its receive() and send(), to be used again when nobody has any of them."""

    __slots__ = ("_exchange", "_receive", "_send")

    def __init__(self) -> None:
        self._exchange: Spare = Spare()
        self._receive: Spare = Spare()
        self._send: Spare = Spare()

    def take(self) -> Any:
        """Return it, in the state in which it was left; None where there is none that is free."""
        # The two callables refer to the exchange.
        if self._receive.is_free(0) and self._send.is_free(0) and self._exchange.is_free(2):
            return self._exchange.kept
        return None

    def keep(self, exchange: Exchange) -> None:
        """Keep a new one."""
        self._exchange.keep(exchange)
        self._receive.keep(bind(_RECEIVE, exchange))
        self._send.keep(bind(_SEND, exchange))

    def receive_of(self, exchange: Exchange) -> Any:
        """Return the `receive` callable of an exchange, be it kept or not."""
        return self._receive.kept if self._exchange.kept is exchange else bind(_RECEIVE, exchange)

    def send_of(self, exchange: Exchange) -> Any:
        """Return its `send` callable."""
        return self._send.kept if self._exchange.kept is exchange else bind(_SEND, exchange)


_RECEIVE: Any = Exchange.receive
_SEND: Any = Exchange.send


def is_disconnect(error: BaseException) -> bool:
    """Whether a ClientDisconnected is what `error` is, came from, or is a group of; frameworks wrap it."""
    nested = getattr(error, "exceptions", None)
    if isinstance(nested, tuple):
        for item in nested:  # noqa: SIM110, Cython knows no generator expression in a cpdef function
            if not is_disconnect(item):
                return False
        return True
    cause: Optional[BaseException] = error
    while cause is not None:
        if isinstance(cause, ClientDisconnected):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def to_list(items: Any) -> "list[Any]":
    """Return a message's headers or links as a list.

    Raises:
        AppError: they are not iterable.
    """
    try:
        return list(items)
    except TypeError:
        raise AppError(f"headers and links must be iterable, not {type(items).__name__}") from None


def to_bytes(data: Any, name: str) -> bytes:
    """Return the data of a message as bytes.

    Raises:
        AppError: it is of another type; `name` says what it is.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise AppError(f"{name} must be bytes, not {type(data).__name__}")


def to_status(status: object, kind: str) -> int:
    """Return the status code of a final response.

    Raises:
        AppError: it is none; `kind` is the message's.
    """
    if not isinstance(status, int) or isinstance(status, bool):
        raise AppError(f"the status in '{kind}' must be an int, not {status!r}")
    if status < 200 or status > 999:
        raise AppError(f"invalid status {status!r} in '{kind}': a final status is 200 to 999")
    return int(status)  # from http.HTTPStatus, for one
