"""Sending: what goes out on an HTTP/2 connection: the streams take turns, as far as windows and transport allow."""

from collections import deque
from math import inf
from typing import Any

from .._consts import MAX_STREAMS
from .http2_budget import Budget
from .http2_engine import HTTP2Engine
from .output import Output
from .responder import Responder
from .state import ServerState


class Sender(Responder):
    """A stream, as Sending sees it.

    Attributes:
        id: its number.
        is_queued: whether it is among those that have something to send.
    """

    __slots__ = ("id", "is_queued")

    id: int
    is_queued: bool

    def has_data(self) -> bool:
        """Whether bytes of the body wait to be sent."""
        raise NotImplementedError

    def send_frame(self, size: int) -> None:
        """Send a frame of at most `size` bytes."""
        raise NotImplementedError

    def after_frames(self) -> None:
        """Called behind send_frame(), when frames have been passed on."""
        raise NotImplementedError

    def block(self) -> None:
        """The stream's own window is used up."""
        raise NotImplementedError


class Sending:
    """Sends for the streams of one connection.

    Attributes:
        deadline: when the client has to have opened the window of the connection, in the event loop's time.
    """

    __slots__ = ("deadline", "_state", "_engine", "_output", "_budget", "_queue", "_is_sending")

    def __init__(self, state: ServerState, engine: HTTP2Engine, output: Output, budget: Budget) -> None:
        self.deadline: float = inf
        self._state: ServerState = state
        self._engine: HTTP2Engine = engine
        self._output: Output = output
        self._budget: Budget = budget
        self._queue: Any = deque()  # of Senders
        self._is_sending: bool = False

    def flush(self) -> None:
        """Write what the engine has."""
        data = self._engine.take_output()
        if data:
            self._output.write(data)

    def has_room(self, stream_id: int, size: int) -> bool:
        """Whether a stream may send a frame at once; if it does, flush() follows."""
        output = self._output
        if self._queue or output.is_paused or output.is_closing or size > self._engine.room(stream_id):
            return False
        self._budget.explain_updates(size)
        return True

    def queue(self, sender: Sender) -> None:
        """Let a stream send what it has, in turn with the others."""
        if not sender.is_queued:
            if len(self._queue) >= 2 * MAX_STREAMS:  # half of them at least were reset
                self._queue = deque([waiting for waiting in self._queue if waiting.has_data()])
            sender.is_queued = True
            self._queue.append(sender)
        self.go_on()

    def open_window(self) -> None:
        """The client has opened the window of the connection."""
        self.deadline = inf
        self.go_on()

    def go_on(self) -> None:
        """Let each stream send a frame in turn, as far as the windows and the transport allow."""
        if self._is_sending:
            return
        self._is_sending = True
        output = self._output
        is_corked = output.is_corked
        if not is_corked:
            output.cork()
        try:
            self.flush()
            while self._queue and not output.is_paused and not output.is_closing:
                if not self._send_frame():
                    break
        finally:
            self._is_sending = False
            if not is_corked:
                output.uncork()

    def _send_frame(self) -> bool:
        """Let the first stream send a frame; False when the window of the connection is used up."""
        engine = self._engine
        queue = self._queue
        sender: Sender = queue[0]
        if not sender.has_data():  # it was reset
            queue.popleft()
            sender.is_queued = False
            return True
        if engine.window <= 0:
            if self.deadline == inf:
                self.deadline = self._state.now + self._state.timeout_write
            return False
        queue.popleft()
        room = engine.room(sender.id)
        if room > 0:
            window = engine.window
            sender.send_frame(room)
            self._budget.explain_updates(window - engine.window)
            self.flush()
            if sender.has_data():
                queue.append(sender)
                return True
        else:
            sender.block()
        sender.is_queued = False
        sender.after_frames()
        return True

    def is_stuck(self, now: float) -> bool:
        """Whether the deadline has passed, and something waits; asked for the first time, it is over."""
        if self.deadline > now:
            return False
        self.deadline = inf
        for sender in self._queue:  # noqa: SIM110, Cython knows no generator expression in a cpdef function
            if sender.has_data():
                return True
        return False

    def clear(self) -> None:
        """Nothing more is sent."""
        self.deadline = inf
        self._queue.clear()
