"""The lines of the access log: a Template makes one of each request, Lines collects them.

Every request passes here, so it is compiled. What the templates are, where the lines go and when is for others to say.
"""

from time import time
from typing import Any, Optional

from .._consts import (
    PART_CLIENT,
    PART_DURATION,
    PART_HOST,
    PART_LENGTH,
    PART_LENGTH_OR_DASH,
    PART_METHOD,
    PART_REQUEST_FIELD,
    PART_REQUEST_LINE,
    PART_RESPONSE_FIELD,
    PART_SCHEME,
    PART_STATUS,
    PART_STATUS_TEXT,
    PART_TEXT,
    PART_TIME,
    PART_USER,
)
from .textbuffer import TextBuffer
from .wire import find_field

#: Methods that are remembered: the log gets those of refused requests too, which can be any words.
MANY_METHODS = 64


class Request:
    """What is known of a request when its line is made.

    Attributes:
        client: host:port, or empty.
        target: with the query, and without a quote, a space or a control character.
        length: bytes of the response's body that were sent.
        duration: in seconds.
        scheme: as the application saw it.
        headers: pairs of bytes as received.
        sent: pairs of bytes as the application gave them for the response, or None.
    """

    __slots__ = (
        "client",
        "method",
        "target",
        "http_version",
        "status",
        "length",
        "duration",
        "scheme",
        "headers",
        "sent",
    )

    def __init__(self) -> None:
        self.client: str = ""
        self.method: str = ""
        self.target: str = ""
        self.http_version: str = ""
        self.status: int = 0
        self.length: int = 0
        self.duration: float = 0.0
        self.scheme: str = "http"
        self.headers: Any = ()
        self.sent: Any = ()

    def request_id(self) -> Optional[str]:
        """Return the X-Request-ID, or else the one that the application has put on the response."""
        value = find_field(self.headers, b"x-request-id", False)
        if value is None:
            value = find_field(self.sent, b"x-request-id", False)
        return None if value is None else value.decode("latin-1")


class Lines:
    """Collects the lines of requests until there are enough of them to be written.

    Args:
        sink: has open_batch(), which returns the Template of the next lines, or None where the next request is to be
            given to take_request(), as a Request that is good for the call only; and flush(), which calls take().
        batch: how many lines are enough.
    """

    __slots__ = ("batch", "_sink", "_template", "_text", "_count", "_request")

    def __init__(self, sink: Any, batch: int) -> None:
        self.batch: int = batch
        self._sink: Any = sink
        self._template: Optional[Template] = None
        self._text: TextBuffer = TextBuffer()
        self._count: int = 0
        self._request: Request = Request()

    def log(
        self,
        client: str,
        method: str,
        target: str,
        http_version: str,
        status: int,
        length: int,
        duration: float,
        scheme: str = "http",
        headers: Any = (),
        sent: Any = (),
    ) -> None:
        """Have a line for a request that has ended; see Request."""
        request = self._request
        request.client = client
        request.method = method
        request.target = target
        request.http_version = http_version
        request.status = status
        request.length = length
        request.duration = duration
        request.scheme = scheme
        request.headers = headers
        request.sent = sent
        if self._count == 0:
            self._template = self._sink.open_batch()
        if self._template is None:
            self._sink.take_request(request)
        else:
            self._template.add_to(self._text, request)
            self._count += 1
            if self._count >= self.batch:
                self._sink.flush()
        request.headers = request.sent = ()

    def take(self) -> str:
        """Return the lines that were collected, and forget them."""
        self._count = 0
        return self._text.take()


class Template:
    """Makes text of requests."""

    __slots__ = ()

    def add_to(self, text: TextBuffer, request: Request) -> None:
        """Add the text of a request."""
        raise NotImplementedError

    def render(self, request: Request) -> str:
        """Return the text of a request."""
        text = TextBuffer()
        self.add_to(text, request)
        return text.take()


class JSONTemplate(Template):
    """Makes what JSONFormatter makes of the record of a request.

    Args:
        message: makes the message; None for the default one.
        text_of_second: returns the text of a second since the epoch.
    """

    __slots__ = ("_message", "_text_of_second", "_second", "_opening", "_methods", "_replies")

    def __init__(self, message: Optional[Template], text_of_second: Any) -> None:
        self._message: Optional[Template] = message
        self._text_of_second: Any = text_of_second
        self._second: int = -1
        self._opening: str = ""
        self._methods: dict[str, tuple[str, str]] = {}
        self._replies: dict[int, tuple[str, str]] = {}

    def add_to(self, text: TextBuffer, request: Request) -> None:
        """Add the line of a request."""
        now = time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._opening = f'{{"time":"{self._text_of_second(second)}.'
        text.add(self._opening)
        text.add_number(int((now - second) * 1000.0), 3)
        text.add('Z","level":"INFO","logger":"asgiserve.access","message":"')
        method_in_message, method = self._around_method(request.method)
        reply_in_message, reply = self._around_reply(request.http_version, request.status)
        if self._message is not None:
            text.add_json(self._message.render(request))
        else:
            text.add_json(request.client)
            text.add(method_in_message)
            text.add_json(request.target)
            text.add(reply_in_message)
        text.add('","client":"')
        text.add_json(request.client)
        text.add(method)
        text.add_json(request.target)
        text.add(reply)
        text.add_number(request.length, 1)
        text.add(',"duration":')
        text.add_decimal(request.duration)
        request_id = request.request_id()
        if request_id is not None:
            text.add(',"request_id":"')
            text.add_json(request_id)
            text.add('"')
        text.add("}\n")

    # A server sees few methods and status codes: what stands around them is put together once.

    def _around_method(self, method: str) -> "tuple[str, str]":
        """Return what stands between the client and the target, in the message and among the fields."""
        known = self._methods.get(method)
        if known is None:
            known = (f' - \\"{method} ', f'","method":"{method}","path":"')
            if len(self._methods) < MANY_METHODS:
                self._methods[method] = known
        return known

    def _around_reply(self, version: str, status: int) -> "tuple[str, str]":
        """Return what stands behind the target, in the message and among the fields."""
        if version != "1.1":
            return reply_of(version, status)
        known = self._replies.get(status)
        if known is None:
            known = self._replies[status] = reply_of(version, status)
        return known


def reply_of(version: str, status: int) -> "tuple[str, str]":
    """Return what a JSONTemplate has for a version and a status code, in the message and among the fields."""
    return f' HTTP/{version}\\" {status}', f'","http_version":"{version}","status":{status},"bytes":'


class Part:
    """A part of a PartsTemplate.

    Attributes:
        kind: one of the PART_* of `_consts`, which says what is added for a request.
        subject: TEXT: the text. REQUEST_FIELD, RESPONSE_FIELD: a name in lower case, as bytes. TIME: a function that
            returns the text of a second since the epoch. STATUS_TEXT: one that returns the text of a status code.
            USER: one that returns the user of the value of an Authorization field. OTHER: one that returns the text
            of a Request.
        shape: returns what is added in place of a text, or None.
        tail: text to add behind it.
        number: what `text` is of: the last second, or status code.
        text: what the function of the subject returned for `number`.
    """

    __slots__ = ("kind", "subject", "shape", "tail", "number", "text")

    def __init__(self, kind: int, subject: Any, shape: Any) -> None:
        self.kind: int = kind
        self.subject: Any = subject
        self.shape: Any = shape
        self.tail: str = ""
        self.number: int = -1
        self.text: str = ""

    def text_of(self, number: int) -> str:
        """Return what the subject makes of a number, which is mostly the same as the last one."""
        if number != self.number:
            self.text = self.subject(number)
            self.number = number
        return self.text


class PartsTemplate(Template):
    """Makes text of parts.

    Args:
        parts: the arguments of each Part.
        escape: replaces in a text what could break a line, which is every character but those that
            `TextBuffer.add_plain` adds.
    """

    __slots__ = ("_parts", "_escape")

    def __init__(self, parts: Any, escape: Any) -> None:
        self._parts: list[Part] = [Part(PART_TEXT, "", None)]
        self._escape: Any = escape
        for kind, subject, shape in parts:
            if kind == PART_TEXT:
                self._parts[-1].tail += subject
            else:
                self._parts.append(Part(kind, subject, shape))

    def add_to(self, text: TextBuffer, request: Request) -> None:
        """Add the text of a request."""
        for part in self._parts:
            if part.shape is None:
                self._add(text, part, request)
            else:
                scratch = TextBuffer()
                self._add(scratch, part, request)
                text.add(part.shape(scratch.take()))
            text.add(part.tail)

    def _add(self, text: TextBuffer, part: Part, request: Request) -> None:
        kind = part.kind
        if kind == PART_TEXT:
            pass  # is all tail
        elif kind == PART_STATUS:
            text.add_number(request.status, 1)
        elif kind == PART_HOST:
            text.add_before(request.client or "-", ":")
        elif kind == PART_REQUEST_LINE:
            text.add(request.method)
            text.add(" ")
            text.add(request.target)
            text.add(" HTTP/")
            text.add(request.http_version)
        elif kind == PART_LENGTH or (kind == PART_LENGTH_OR_DASH and request.length):
            text.add_number(request.length, 1)
        elif kind == PART_LENGTH_OR_DASH:
            text.add("-")
        elif kind == PART_REQUEST_FIELD:
            self._add_field(text, find_field(request.headers, part.subject, True))
        elif kind == PART_TIME:
            text.add(part.text_of(int(time())))
        elif kind == PART_USER:
            value = find_field(request.headers, b"authorization", True)
            text.add("-" if value is None else part.subject(value))
        elif kind == PART_DURATION:
            text.add_decimal(request.duration)
        elif kind == PART_CLIENT:
            text.add(request.client)
        elif kind == PART_STATUS_TEXT:
            text.add(part.text_of(request.status))
        elif kind == PART_METHOD:
            text.add(request.method)
        elif kind == PART_RESPONSE_FIELD:
            self._add_field(text, find_field(request.sent, part.subject, True))
        elif kind == PART_SCHEME:
            text.add(request.scheme)
        else:
            text.add(part.subject(request))

    def _add_field(self, text: TextBuffer, value: Optional[bytes]) -> None:
        word = value.decode("latin-1") if value else "-"
        if not text.add_plain(word):
            text.add(self._escape(word))
