"""Reader: asks a running server for its ``/status``, and what changed between two answers."""

from __future__ import annotations

import http.client
import json
import math
import socket
from typing import Any, NamedTuple, Optional

from ..addresses import TCP, Address, Unix

TIMEOUT = 5.0
"""Seconds that the server may take to answer."""

_LARGEST = 4 * 1024 * 1024
_THIS_MACHINE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class Unreachable(Exception):
    """There is no answer, or none that makes sense. The text is one line that names the address and the reason."""


class WorkerStatus(NamedTuple):
    """A worker: times in seconds, memory in bytes. What a worker that does not serve yet has not counted is 0."""

    slot: int
    pid: int
    phase: str
    age: float
    worst_lag: float
    has_figures: bool
    lag: float
    requests: int
    active: int
    connections: int
    memory: int
    latency: list[int]


class Status(NamedTuple):
    """A whole answer. ``what`` says what serves, ``time`` is when it was given, in seconds since the epoch."""

    what: str
    pid: int
    started: float
    time: float
    is_ready: bool
    buckets: list[float]
    requests: int
    responses: dict[str, int]
    latency: list[int]
    restarts: dict[str, int]
    workers: list[WorkerStatus]


class Reader:
    """Asks the server whose metrics are at `address`."""

    def __init__(self, address: Address) -> None:
        self.name = str(address)
        self._address = address

    def read(self) -> Status:
        """What the server says now. Raises :class:`Unreachable`."""
        connection = _connection(self._address)
        try:
            connection.request("GET", "/status", headers={"Host": "localhost"})
            reply = connection.getresponse()
            body = reply.read(_LARGEST)
        except http.client.HTTPException:
            raise Unreachable(f"{self.name} does not speak HTTP") from None
        except OSError as exc:
            raise Unreachable(f"{self.name} cannot be reached: {(exc.strerror or str(exc)).lower()}") from None
        finally:
            connection.close()
        try:
            if reply.status == 200:
                return _status(json.loads(body))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            pass
        raise Unreachable(f"{self.name} is not where an asgiserve serves its metrics")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Connects."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def _connection(address: Address) -> http.client.HTTPConnection:
    if isinstance(address, Unix):
        return _UnixConnection(address.path)
    assert isinstance(address, TCP)
    return http.client.HTTPConnection(_THIS_MACHINE.get(address.host, address.host), address.port, timeout=TIMEOUT)


# -- what is in an answer


def _status(found: Any) -> Status:
    totals = found["totals"]
    return Status(
        f"asgiserve {_text(found['version'])}, {_text(found['stack'])} stack, {_text(found['parser'])},"
        f" {_text(found['python'])}",
        int(found["pid"]),
        float(found["started"]),
        float(found["time"]),
        bool(found["ready"]),
        [float(bound) for bound in found["buckets"]],
        int(totals["requests"]),
        _counts(totals["responses"]),
        [int(count) for count in totals["latency"]],
        _counts(found["restarts"]),
        [_worker(worker) for worker in found["workers"]],
    )


def _worker(found: Any) -> WorkerStatus:
    figures = found["snapshot"] or {}
    return WorkerStatus(
        int(found["slot"]),
        int(found["pid"]),
        _text(found["phase"]),
        float(found["age"]),
        float(found["worst_lag"]),
        bool(figures),
        float(figures.get("lag", 0.0)),
        int(figures.get("requests", 0)),
        int(figures.get("active", 0)),
        int(figures.get("connections", 0)),
        int(figures.get("memory", 0)),
        [int(count) for count in figures.get("latency", ())],
    )


def _counts(found: Any) -> dict[str, int]:
    return {_text(name): int(count) for name, count in found.items()}


def _text(value: Any) -> str:
    """Nothing of it may control the terminal."""
    return "".join(char for char in str(value) if char.isprintable())


# -- what changed


class Change(NamedTuple):
    """What went on between two answers: events per second, and the durations below which half and 99 % of the requests
    stayed, in seconds. None where nothing can be said."""

    requests: Optional[float]
    median: Optional[float]
    p99: Optional[float]


NO_CHANGE = Change(None, None, None)


def change(before: Optional[Status], now: Status) -> Change:
    """What went on over all workers."""
    if not _is_same(before, now):
        return NO_CHANGE
    assert before is not None
    seconds = now.time - before.time
    return _change(now.buckets, seconds, (before.requests, now.requests), (before.latency, now.latency))


def worker_change(before: Optional[Status], now: Status, worker: WorkerStatus) -> Change:
    """What went on in one worker of `now`."""
    if not _is_same(before, now) or not worker.has_figures:
        return NO_CHANGE
    assert before is not None
    for earlier in before.workers:
        if earlier.pid == worker.pid and earlier.has_figures:
            counts = (earlier.requests, worker.requests)
            return _change(now.buckets, now.time - before.time, counts, (earlier.latency, worker.latency))
    return NO_CHANGE


def response_rates(before: Optional[Status], now: Status) -> dict[str, float]:
    """Responses per second by class; empty where nothing can be said."""
    if not _is_same(before, now):
        return {}
    assert before is not None
    seconds = now.time - before.time
    return {name: (count - before.responses.get(name, 0)) / seconds for name, count in now.responses.items()}


def _is_same(before: Optional[Status], now: Status) -> bool:
    """Whether both are of one server, and time has passed between them."""
    return before is not None and before.started == now.started and before.pid == now.pid and now.time > before.time


def _change(
    buckets: list[float], seconds: float, requests: tuple[int, int], latency: tuple[list[int], list[int]]
) -> Change:
    counts = [after - earlier for earlier, after in zip(*latency)]
    return Change(
        (requests[1] - requests[0]) / seconds, quantile(buckets, counts, 0.5), quantile(buckets, counts, 0.99)
    )


def quantile(buckets: list[float], counts: list[int], part: float) -> Optional[float]:
    """The duration below which that `part` (0 to 1) of the requests stayed; None without requests.

    It is an estimate, as if the requests in each bucket were spread evenly over it; math.inf when it lies above all
    bounds. `counts` are not cumulative.
    """
    rank = part * sum(counts)
    if rank <= 0:
        return None
    lower = 0.0
    for bound, count in zip(buckets, counts):
        if rank <= count:
            return lower + (bound - lower) * rank / count
        rank -= count
        lower = bound
    return math.inf
