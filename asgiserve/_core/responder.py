"""Responder: what a cycle talks to. A connection implements it for HTTP/1.x."""

from typing import Any


class Responder:
    """Takes one response from a cycle, in the order of the methods, and puts it on the wire.

    Attributes:
        loop: the event loop.
    """

    __slots__ = ("loop",)

    def __init__(self, loop: Any) -> None:
        self.loop = loop

    def body_taken(self) -> None:
        """The application received what was buffered of the request body."""
        raise NotImplementedError

    def send_continue(self) -> None:
        """The application asks for a request body that has not come."""
        raise NotImplementedError

    def send_early_hint(self, links: "list[Any]") -> None:
        """Send 103 (Early Hints) with these Link values, where the client takes it.

        Raises:
            AppError: a link is not a header value.
        """
        raise NotImplementedError

    def start_response(self, status: int, headers: "list[Any]", wants_trailers: bool) -> None:
        """Check the head and hold it until the first body message.

        Raises:
            AppError: a header is not allowed.
        """
        raise NotImplementedError

    def send_body(self, body: bytes, is_last: bool) -> Any:
        """Send bytes of the body, behind the head where that was held.

        Returns:
            an awaitable that is done when more can be sent.
        Raises:
            AppError: the body does not fit the Content-Length that the application announced.
        """
        raise NotImplementedError

    def start_file(self, size: int, is_last: bool) -> Any:
        """Send what comes before `size` bytes of the body that are in a file, as send_body() would.

        Returns:
            the `filesend.FileTransfer` that sends them; None where the response has no body.
        Raises:
            AppError: they do not fit the Content-Length that the application announced.
        """
        raise NotImplementedError

    def end_file(self, is_last: bool) -> None:
        """Send what comes behind the bytes of a file."""
        raise NotImplementedError

    def add_trailers(self, headers: "list[Any]") -> None:
        """Collect trailer fields."""
        raise NotImplementedError

    def send_trailers(self) -> None:
        """End the body, with the trailers where the client takes them.

        Raises:
            AppError: a trailer is not allowed.
        """
        raise NotImplementedError

    def response_complete(self) -> None:
        """All of the response was sent."""
        raise NotImplementedError

    def fail(self, status: int) -> None:
        """Answer for an application that did not."""
        raise NotImplementedError

    def cut(self) -> None:
        """End a response that the application left unfinished, so that the client sees that it is truncated."""
        raise NotImplementedError


#: In place of a responder, for an exchange that has none any more.
NOBODY = Responder(None)
