"""The exceptions of asgiserve: one class for each party that can be at fault."""

from __future__ import annotations


class ConfigError(Exception):
    """The operator's fault: an option or a combination of options that cannot work. The message is one line."""


class ProtocolError(Exception):
    """The peer's fault: a request that breaks a rule of RFC 9110 or 9112, or passes a limit.

    Attributes:
        status: the HTTP status code to answer with.
        detail: the reason in a few words; it goes into the response body and into the log.
        headers: fields that the answer needs besides, as pairs of bytes.
    """

    def __init__(self, status: int, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class FrameError(Exception):
    """The peer's fault on a WebSocket: a frame that breaks a rule of RFC 6455 or 7692, or passes a limit.

    Attributes:
        code: the close code to end the connection with.
        detail: the reason in a few words; it goes into the close frame and into the log.
    """

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class StreamError(Exception):
    """The peer's fault on one HTTP/2 stream (RFC 9113 section 5.4.2); the others go on.

    Attributes:
        code: the error code to reset the stream with.
        detail: the reason in a few words, for the log.
    """

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class ConnectionFault(Exception):
    """The peer's fault on an HTTP/2 connection (RFC 9113 section 5.4.1), which ends with it.

    Attributes:
        code: the error code to end the connection with.
        detail: the reason in a few words; it goes to the peer and into the log.
    """

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class AppError(RuntimeError):
    """The application's fault: a message that the ASGI specification does not allow in the state it was sent in."""


class ClientDisconnected(OSError):
    """Raised by `send()` once the client has left (ASGI HTTP spec 2.4); not logged when the application lets it out."""
