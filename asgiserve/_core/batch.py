"""Batch: what is written to many connections in one turn of the event loop leaves together.

A write to a client that sleeps wakes it. Where it runs on the same machine, as a proxy in front does, that can cost as
much as the rest of the write. Writes that come close behind each other find it awake.
"""

from typing import Any

#: Writes that go out at once after a turn with too few, before a turn is tried again.
PATIENCE = 63
#: Outputs that make it worth while to collect them.
COMPANY = 4
#: Seconds that the first one waits for others: an application may take its time with the next request.
MAX_AGE = 0.001


class Deferred:
    """What a Batch has wait."""

    __slots__ = ()

    def release(self) -> None:
        """The wait is over."""
        raise NotImplementedError


class Batch:
    """The outputs of one event loop that have something to write at the end of the turn.

    While there is little to do, or each request takes long, most writes go out at once: wants() says so.

    Args:
        context: in which the loop calls back.
        clock: returns seconds.
    """

    __slots__ = ("_loop", "_context", "_clock", "_outputs", "_is_due", "_opened", "_patience")

    def __init__(self, loop: Any, context: Any, clock: Any) -> None:
        self._loop = loop
        self._context = context
        self._clock = clock
        self._outputs: list[Deferred] = []
        self._is_due: bool = False  # the loop is going to call back
        self._opened: float = 0.0  # when the first of the outputs came
        self._patience: int = PATIENCE

    def wants(self) -> bool:
        """Whether what is to be written now is better collected."""
        if self._is_due:
            return True
        if self._patience > 0:
            self._patience -= 1
            return False
        return True

    def add(self, output: Deferred) -> None:
        """Have release() of `output` called, at the end of the turn or a little earlier."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._end_turn, context=self._context)
        outputs = self._outputs
        outputs.append(output)
        now: float = self._clock()
        if len(outputs) == 1:
            self._opened = now
        elif now - self._opened > MAX_AGE:
            self._release()

    def _end_turn(self) -> None:
        self._is_due = False
        self._release()

    def _release(self) -> None:
        outputs = self._outputs
        self._outputs = []
        if outputs:
            self._patience = 0 if len(outputs) >= COMPANY else PATIENCE
        for output in outputs:
            try:
                output.release()
            except Exception as error:  # the others are to be written all the same
                self._loop.call_exception_handler({"message": "writing to a connection failed", "exception": error})
