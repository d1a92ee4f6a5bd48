"""Snapshot: what a worker says of itself, and what comes out over all workers.

Snapshots cross process boundaries several times a second, so they are plain numbers. How they travel, and what is made
of them for readers, is not known here.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Mapping, NamedTuple, Optional, Protocol

from .._consts import LATENCY_BUCKETS

BUCKETS: tuple[float, ...] = LATENCY_BUCKETS
"""Upper bounds of the latency histogram, in seconds; one more bucket is open."""

CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
"""The classes of responses, in the order of :attr:`Snapshot.responses`."""

PHASES = ("booting", "ready", "stopping")
"""What a worker can be doing."""

REASONS = ("crash", "hang", "boot", "requests", "age", "memory", "signal", "reload")
"""Why a worker was replaced."""

_NO_RESPONSES = (0,) * len(CLASSES)
_NO_LATENCY = (0,) * (len(BUCKETS) + 1)
_MEMORY_AGE = 1.0


class Snapshot(NamedTuple):
    """One worker's figures at one moment.

    ``started`` is when the worker became ready, in seconds since the epoch; ``requests`` were started so far,
    ``active`` are in flight, open WebSockets among them; ``connections`` are open; ``tasks`` of the application run.
    ``lag`` is the longest delay of the event loop since the last snapshot, in seconds, ``memory`` the resident bytes of
    the process (0 where that cannot be known). ``responses`` are counted by status class, 1xx to 5xx, ``latency`` is
    the number of requests in each bucket of :data:`BUCKETS` (not cumulative; the last one is open), and ``latency_sum``
    their time together, in seconds. The last three are all 0 where nobody asked for metrics.
    """

    started: float
    requests: int
    active: int
    connections: int
    tasks: int
    lag: float
    memory: int
    responses: tuple[int, ...]
    latency: tuple[int, ...]
    latency_sum: float


class Worker(NamedTuple):
    """One worker as its parent sees it: ``phase`` is one of :data:`PHASES`, ``since`` the time.time() at which it was
    started, ``snapshot`` the last that came, None before the first."""

    slot: int
    pid: int
    phase: str
    since: float
    snapshot: Optional[Snapshot]


class Totals:
    """Sums that never fall: of workers that ended, or of all."""

    __slots__ = ("latency", "latency_sum", "requests", "responses")

    def __init__(self) -> None:
        self.requests = 0
        self.responses: tuple[int, ...] = _NO_RESPONSES
        self.latency: tuple[int, ...] = _NO_LATENCY
        self.latency_sum = 0.0

    def add(self, other: Snapshot | Totals) -> None:
        """Adds what `other` counted."""
        self.requests += other.requests
        self.responses = tuple(map(int.__add__, self.responses, other.responses))
        self.latency = tuple(map(int.__add__, self.latency, other.latency))
        self.latency_sum += other.latency_sum


class Source(Protocol):
    """Whoever knows the workers: the parent's supervisor, or the server where there is no parent.

    To be asked in the thread of the event loop that the metrics are served from; the answers must not take time.
    """

    def workers(self) -> list[Worker]:
        """The workers that there are, in the order of their slots."""

    def is_ready(self) -> bool:
        """Whether at least one worker serves, and no drain has begun."""

    @property
    def restarts(self) -> Mapping[str, int]:
        """How often a worker was replaced, by reason (:data:`REASONS`); what is missing is 0."""

    @property
    def past(self) -> Totals:
        """The sums of workers that are not among :meth:`workers` any more."""


def total(source: Source) -> Totals:
    """The sums over all workers, those that ended too."""
    totals = Totals()
    totals.add(source.past)
    for worker in source.workers():
        if worker.snapshot is not None:
            totals.add(worker.snapshot)
    return totals


def take(state: Any, started: float, lag: float) -> Snapshot:
    """The Snapshot of this process. `state` is the stack's ServerState; the others are as in :class:`Snapshot`."""
    figures = state.figures
    return Snapshot(
        started,
        state.total_requests,
        state.active,
        len(state.connections),
        len(state.tasks),
        lag,
        _memory.read(),
        _NO_RESPONSES if figures is None else tuple(figures.responses),
        _NO_LATENCY if figures is None else tuple(figures.latency),
        0.0 if figures is None else figures.latency_sum,
    )


class _Memory:
    """The memory of this process, looked at no more than once a second."""

    def __init__(self) -> None:
        self._bytes = 0
        self._due = -1.0

    def read(self) -> int:
        """The resident bytes; 0 where that cannot be known."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _MEMORY_AGE
            self._bytes = resident_bytes()
        return self._bytes


def resident_bytes() -> int:
    """The resident bytes of this process: now on Linux, the most so far on other systems; 0 where neither is known."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return _peak_bytes()


def _peak_bytes() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


_memory = _Memory()
