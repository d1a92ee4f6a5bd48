"""Status: what the server is and how its workers do, as plain data for JSON; and the worst delays of the last minute.

It is what ``/status`` answers and ``asgiserve top`` shows.
"""

from __future__ import annotations

import os
import platform
import time
from typing import Any, NamedTuple

from .. import __version__, _stack
from .snapshot import BUCKETS, CLASSES, PHASES, REASONS, Snapshot, Source, Totals, Worker, total

LAG_WINDOW = 30.0
"""Seconds of one window; the worst delay is that of the running window and the one before it."""


class About(NamedTuple):
    """What does not change while the server runs: versions, and when it was started (seconds since the epoch)."""

    version: str
    stack: str
    parser: str
    python: str
    started: float


def about(stack: _stack.Stack) -> About:
    """The versions of this server and of `stack`, started now."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return About(__version__, stack.name, stack.parser, python, time.time())


class Lags:
    """The longest delay of each worker's event loop in the last while: a snapshot has that of a moment only, which
    whoever looks once in a while would miss.

    `source` is to be looked at with :meth:`look` more often than its snapshots come.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._before: dict[int, float] = {}
        self._current: dict[int, float] = {}
        self._ends = 0.0

    def look(self, now: float) -> None:
        """Takes note of the delays at the time `now`, in seconds."""
        if now >= self._ends:
            self._ends = now + LAG_WINDOW
            self._before, self._current = self._current, {}
        for worker in self._source.workers():
            if worker.snapshot is not None:
                self._current[worker.pid] = max(worker.snapshot.lag, self._current.get(worker.pid, 0.0))

    def worst(self, worker: Worker) -> float:
        """The longest delay of that worker in the last 30 to 60 seconds, in seconds."""
        latest = 0.0 if worker.snapshot is None else worker.snapshot.lag
        return max(latest, self._current.get(worker.pid, 0.0), self._before.get(worker.pid, 0.0))


def count_phases(source: Source) -> dict[str, int]:
    """How many workers there are in each phase."""
    counts = dict.fromkeys(PHASES, 0)
    for worker in source.workers():
        counts[worker.phase] = counts.get(worker.phase, 0) + 1
    return counts


def restarts(source: Source) -> dict[str, int]:
    """How often a worker was replaced, by reason, the reasons that never happened with 0."""
    return {**dict.fromkeys(REASONS, 0), **source.restarts}


def unready(source: Source) -> str:
    """Why the server is not ready, in one line; empty when it is."""
    if source.is_ready():
        return ""
    phases = count_phases(source)
    if phases["ready"] or (phases["stopping"] and not phases["booting"]):
        return "the server is shutting down"
    if phases["booting"]:
        return f"{phases['booting']} worker(s) starting, none ready"
    return "there is no worker"


def status(source: Source, about: About, lags: Lags) -> dict[str, Any]:
    """All that is known, as plain data."""
    now = time.time()
    return {
        **about._asdict(),
        "pid": os.getpid(),
        "time": now,
        "ready": source.is_ready(),
        "buckets": list(BUCKETS),
        "totals": _totals(total(source)),
        "restarts": restarts(source),
        "workers": [_worker(worker, now, lags) for worker in source.workers()],
    }


def _totals(totals: Totals) -> dict[str, Any]:
    return {
        "requests": totals.requests,
        "responses": dict(zip(CLASSES, totals.responses)),
        "latency": list(totals.latency),
        "latency_sum": totals.latency_sum,
    }


def _worker(worker: Worker, now: float, lags: Lags) -> dict[str, Any]:
    return {
        "slot": worker.slot,
        "pid": worker.pid,
        "phase": worker.phase,
        "since": worker.since,
        "age": round(max(0.0, now - worker.since), 3),
        "worst_lag": lags.worst(worker),
        "snapshot": None if worker.snapshot is None else _snapshot(worker.snapshot),
    }


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    return {**snapshot._asdict(), "responses": dict(zip(CLASSES, snapshot.responses))}
