"""A fake event loop and a fake transport: no sockets, no threads, no real time.

Everything happens when a test says so: callbacks run in `run_until_idle()`, timers in `advance()`. A protocol
callback always runs with the fake loop set as the running loop, as under a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
import select
from collections import deque
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple, Union

MAX_CALLBACKS = 1_000_000
MAX_WAIT = 30.0  # seconds for what the kernel does at once

# What went wrong on any loop or transport since a test began: a fixture asserts that there is nothing.
ERRORS: List[Dict[str, Any]] = []


class FakeLoop(asyncio.AbstractEventLoop):
    """An event loop with a clock of its own; enough for Task, Future, wait_for, gather, Event and anyio."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: List[Tuple[float, int, asyncio.TimerHandle]] = []
        self._sequence = 0
        self._depth = 0
        self._closed = False
        self._factory: Any = None
        self.errors: List[Dict[str, Any]] = []  # what reached call_exception_handler
        self.timers_made = 0
        self.held_jobs: Optional[List[Any]] = None  # a list: what is for a thread waits in it until do_jobs()

    # -- running ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The body runs "inside the loop": get_running_loop() gives this one, also when nested."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            asyncio._set_running_loop(outer)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call something as the loop would (a protocol callback), without running what it scheduled."""
        with self.running():
            return function(*args)

    def run_once(self) -> bool:
        """Run what is ready now, but not what that makes ready. True if anything ran."""
        count = len(self._ready)
        with self.running():
            for _ in range(count):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
                handle = None  # type: ignore[assignment]
        return count > 0

    def run_until_idle(self, limit: int = MAX_CALLBACKS) -> None:
        """Run callbacks until none is ready. Timers stay where they are. Raises if it never ends."""
        if self._depth:
            raise RuntimeError("run_until_idle() from inside the loop")
        ready = self._ready
        if not ready:
            return
        with self.running():
            while ready:
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
                handle = None  # type: ignore[assignment]
                limit -= 1
                if limit < 0:
                    raise RuntimeError("the loop never becomes idle")

    def advance(self, seconds: float) -> None:
        """Move the clock, running every timer on the way in order, and all that follows from it."""
        end = self._now + seconds
        self.run_until_idle()
        while self._timers and self._timers[0][0] <= end:
            when, _, handle = heapq.heappop(self._timers)
            if handle.cancelled():
                continue
            self._now = max(self._now, when)
            self._ready.append(handle)
            handle = None  # type: ignore[assignment]
            self.run_until_idle()
        self._now = end

    def run_until_complete(self, future: Any) -> Any:
        """Run until `future` is done, moving the clock from timer to timer when nothing else is left."""
        with self.running():
            task = asyncio.ensure_future(future, loop=self)
        while not task.done():
            self.run_until_idle()
            if task.done():
                break
            while self._timers and self._timers[0][2].cancelled():
                heapq.heappop(self._timers)
            if not self._timers:
                raise RuntimeError("deadlock: nothing is ready and no timer is set")
            self.advance(self._timers[0][0] - self._now)
        return task.result()

    @property
    def idle(self) -> bool:
        return not self._ready

    @property
    def timers(self) -> List[asyncio.TimerHandle]:
        """Timers which are set and not cancelled."""
        return [handle for _, _, handle in self._timers if not handle.cancelled()]

    # -- the part of AbstractEventLoop that tasks, futures and the core use --------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._sequence += 1
        self.timers_made += 1
        heapq.heappush(self._timers, (when, self._sequence, handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # cancelled timers are passed over when their time comes

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """There is no thread: the function runs from the loop, a moment later."""
        future = self.create_future()
        if self.held_jobs is None:
            self.call_soon(_do_job, future, function, args)
        else:
            self.held_jobs.append((future, function, args))
        return future

    def do_jobs(self) -> None:
        """Let the threads finish what was held, and go on holding."""
        jobs, self.held_jobs = self.held_jobs or [], []
        for job in jobs:
            self.call_soon(_do_job, *job)
        self.run_until_idle()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        if self._factory is not None:
            return self._factory(self, coro, **kwargs)
        return asyncio.Task(coro, loop=self, **kwargs)

    def get_task_factory(self) -> Any:
        return self._factory

    def set_task_factory(self, factory: Any) -> None:
        self._factory = factory

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        pass

    def is_running(self) -> bool:
        return self._depth > 0

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._ready.clear()
        self._timers.clear()

    def call_exception_handler(self, context: Dict[str, Any]) -> None:
        self.errors.append(context)
        # A test may leave a request hanging; the garbage collector says so whenever it likes.
        if "was destroyed but it is pending" not in context.get("message", ""):
            ERRORS.append(context)

    def default_exception_handler(self, context: Dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        return None

    async def shutdown_asyncgens(self) -> None:
        pass

    async def shutdown_default_executor(self, timeout: Optional[float] = None) -> None:
        pass


class WatchingLoop(FakeLoop):
    """A fake loop that watches real sockets: turn() waits for one and calls back, as a test says, never by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: Dict[int, Callable[[], Any]] = {}
        self.writers: Dict[int, Callable[[], Any]] = {}

    def add_reader(self, fd: int, callback: Any, *args: Any) -> None:  # type: ignore[override]
        self.readers[fd] = functools.partial(callback, *args)

    def remove_reader(self, fd: int) -> bool:  # type: ignore[override]
        return self.readers.pop(fd, None) is not None

    def add_writer(self, fd: int, callback: Any, *args: Any) -> None:  # type: ignore[override]
        self.writers[fd] = functools.partial(callback, *args)

    def remove_writer(self, fd: int) -> bool:  # type: ignore[override]
        return self.writers.pop(fd, None) is not None

    def _look(self, seconds: float) -> List[Callable[[], Any]]:
        readable, writable, _ = select.select(list(self.readers), list(self.writers), [], seconds)
        return [self.readers[fd] for fd in readable] + [self.writers[fd] for fd in writable]

    def is_ready(self) -> bool:
        """Whether there is anything to call back for."""
        return bool(self._look(0.0))

    def turn(self) -> None:
        """Wait until there is something to call back for, and do so, but run nothing that was scheduled."""
        callbacks = self._look(MAX_WAIT)
        assert callbacks, "nothing comes"
        for callback in callbacks:
            self.call(callback)

    def settle(self, limit: int = 1000) -> None:
        """Go round until nothing is left to do."""
        self.run_until_idle()
        while self.is_ready():
            self.turn()
            self.run_until_idle()
            limit -= 1
            assert limit, "the loop is busy for ever"

    def turn_until(self, condition: Callable[[], Any], limit: int = 100_000) -> None:
        """Go round until `condition()`, also when that takes more than one event."""
        self.run_until_idle()
        while not condition():
            self.turn()
            self.run_until_idle()
            limit -= 1
            assert limit, "it does not happen"


def _do_job(future: asyncio.Future[Any], function: Any, args: Any) -> None:
    try:
        result = function(*args)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)


Buffer = Union[bytes, bytearray, memoryview]


class FakeTransport:
    """A socket transport. `taken` is what the peer has read; `pending` is what the transport still holds.

    It behaves as asyncio's selector transport does: the write buffer is handed over at once while the peer reads,
    `pause_writing` comes from inside `write`, `connection_lost` through the loop, and never before the buffer is
    empty after `close()`. What a correct protocol never does is kept in `faults`.
    """

    def __init__(self, loop: FakeLoop, protocol: Any, extra: Optional[Dict[str, Any]] = None) -> None:
        self.loop = loop
        self.protocol = protocol
        self.extra = {"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000)}
        if extra:
            self.extra.update(extra)
        self.taken = bytearray()
        self.pending: deque[memoryview] = deque()
        self.pending_size = 0
        self.max_pending = 0
        self.writes = 0  # calls of write()/writelines()
        self.written = 0  # bytes
        self.discard = False  # a test that moves gigabytes counts them only
        self.faults: List[str] = []
        self.lost = False
        self.lost_with: Optional[BaseException] = None
        self.aborted = False
        self.eof_written = False
        self.high, self.low = 65536, 16384
        self._closing = False
        self._reading = True
        self._blocked = False
        self._protocol_paused = False
        self._lost_scheduled = False
        self._broken = False  # by the peer; the protocol does not know before connection_lost

    def fault(self, message: str) -> None:
        self.faults.append(message)
        ERRORS.append({"message": message})

    # -- writing -----------------------------------------------------------------------------------------------

    def write(self, data: Buffer) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError("write() of " + type(data).__name__)
        if self.eof_written:
            self.fault("write() after write_eof()")
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._broken:
            return
        if self._closing:
            self.fault("write() after close()")
            return
        self.writes += 1
        if not len(data):
            return
        self.written += len(data)
        if self._blocked:
            # Like asyncio and uvloop, keep a view and no copy: whoever changes a buffer after writing it is caught.
            self.pending.append(memoryview(data))
            self.pending_size += len(data)
            self.max_pending = max(self.max_pending, self.pending_size)
            self._maybe_pause_protocol()
        elif not self.discard:
            self.taken += data

    def writelines(self, chunks: Iterable[Buffer]) -> None:
        self.write(b"".join(bytes(chunk) for chunk in chunks))

    def write_eof(self) -> None:
        if self.eof_written:
            self.fault("write_eof() twice")
        if self._closing and not self.lost and not self._broken:
            self.fault("write_eof() after close()")
        self.eof_written = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.pending_size

    def get_write_buffer_limits(self) -> Tuple[int, int]:
        return self.low, self.high

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        if high is None:
            high = 65536 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not 0 <= low <= high:
            raise ValueError("0 <= low <= high")
        self.high, self.low = high, low
        self._maybe_pause_protocol()

    def _maybe_pause_protocol(self) -> None:
        if self.pending_size > self.high and not self._protocol_paused:
            self._protocol_paused = True
            self.protocol.pause_writing()

    def _maybe_resume_protocol(self) -> None:
        if self._protocol_paused and self.pending_size <= self.low:
            self._protocol_paused = False
            self.protocol.resume_writing()

    # -- knobs: the peer's reading -------------------------------------------------------------------------------

    def stall(self) -> None:
        """The peer stops reading: writes pile up here, and pause_writing comes above the high-water mark."""
        self._blocked = True

    def block_writes(self) -> None:
        """The peer stops reading and the buffer is already full: pause_writing now."""
        self._blocked = True
        if not self._protocol_paused:
            self._protocol_paused = True
            self.loop.call(self.protocol.pause_writing)

    def take(self, size: int) -> int:
        """The peer reads at most `size` bytes, and stalls again. Returns how many it got."""
        got = 0
        while self.pending and got < size:
            view = self.pending[0]
            part = view[: size - got]
            if not self.discard:
                self.taken += part
            got += len(part)
            if len(part) == len(view):
                self.pending.popleft()
            else:
                self.pending[0] = view[len(part) :]
        self.pending_size -= got
        with self.loop.running():
            self._maybe_resume_protocol()
        self._finish_close()
        return got

    def unblock_writes(self) -> None:
        """The peer reads again, and all that waited."""
        self._blocked = False
        self.take(self.pending_size)

    # -- reading -------------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if self._closing or self.lost:
            return
        self._reading = True
        self.loop.call_soon(self.on_resume)

    def on_resume(self) -> None:
        """Set by the client: deliver what waits in the kernel."""

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    # -- the end ---------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._finish_close()

    def abort(self) -> None:
        self.aborted = True
        self._drop(None)

    def force_close(self, exc: BaseException | None) -> None:
        """The peer resets the connection."""
        self._broken = True
        self._drop(exc)

    def _drop(self, exc: BaseException | None) -> None:
        self._closing = True
        self.pending.clear()
        self.pending_size = 0
        self._schedule_lost(exc)

    def _finish_close(self) -> None:
        if self._closing and not self.pending_size:
            self._schedule_lost(None)

    def _schedule_lost(self, exc: Optional[BaseException]) -> None:
        if not self._lost_scheduled:
            self._lost_scheduled = True
            self.loop.call_soon(self._lose, exc)

    def _lose(self, exc: Optional[BaseException]) -> None:
        self.lost = True
        self.lost_with = exc
        protocol, self.protocol = self.protocol, None
        self.on_resume = _nothing  # type: ignore[method-assign]
        protocol.connection_lost(exc)

    # -- what else a protocol may ask ------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.extra.get(name, default)

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


def _nothing() -> None:
    pass
