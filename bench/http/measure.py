"""The measurement of one server in one row, with no other at work. There is a kind of sample for every kind of row."""

from __future__ import annotations

import functools
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Callable

import psutil

from ..load import finish, parse, run, running
from ..process import ServerFailed, ServerProcess, free_port
from ..rounds import Plan, stolen
from ..servers import Server
from .load import check, command
from .workloads import Workload

# Seconds that the load generator may take for all that is not load.
LIMIT = 60.0
# For what a server does a little after its last request, before its memory is read.
SETTLE = 0.3
# Seconds of load before a window on a server that has been loaded: for new connections to be all alike.
SETTLE_IN = 0.05
# Seconds that a start takes, that a window takes besides its load, and a sample without load.
START, OVERHEAD, SILENT = 0.6, 0.1, 2.0
# Seconds that a server may take to write the last lines of its access log.
LOG_LIMIT = 10.0
# A window at a fixed rate is so many times as long as others: it has few requests, and rare ones matter.
RATE_WINDOW = 10


@dataclass(frozen=True)
class FlatSample:
    """One window under full load. ``cpu`` and ``wall`` in seconds, ``stolen`` the share of the machine that the host
    took, ``waiting`` the share of the load generator's polls that found nothing."""

    requests: int
    wall: float
    cpu: float
    waiting: float
    stolen: float

    @property
    def cost(self) -> float:
        """Server CPU per request in microseconds."""
        return self.cpu / self.requests * 1e6

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.wall

    @property
    def busy(self) -> float:
        """The share of its core that the server used."""
        return self.cpu / self.wall

    def __str__(self) -> str:
        return f"{self.cost:.1f} us/request, {self.rate:.0f} requests/s, busy {self.busy:.0%}"


@dataclass(frozen=True)
class RateSample:
    """One window at a fixed rate. Latencies in microseconds, from when a request was due to the end of its response.

    ``in_time`` of those that were ``due`` in the window were answered before it ended, ``unanswered`` ones were not
    some seconds later. ``requests`` were answered in the window, also such as were due before.
    ``stall`` is how long the load generator itself stood still at most, in microseconds.
    """

    due: int
    in_time: int
    unanswered: int
    requests: int
    wall: float
    cpu: float
    p50: float
    p99: float
    p999: float
    highest: float
    stall: float
    stolen: float

    @property
    def cost(self) -> float:
        """Server CPU per answered request in microseconds."""
        return self.cpu / self.requests * 1e6

    @property
    def rate(self) -> float:
        """Requests answered per second."""
        return self.requests / self.wall

    @property
    def busy(self) -> float:
        """The share of its core that the server used."""
        return self.cpu / self.wall

    def __str__(self) -> str:
        return (
            f"p50 {self.p50:.0f}, p99 {self.p99:.0f}, p99.9 {self.p999:.0f} us at {self.rate:.0f} requests/s, "
            f"busy {self.busy:.0%}"
        )


@dataclass(frozen=True)
class SilentSample:
    """Many connections that made one request each. ``memory`` is what they added to the server, in bytes."""

    connections: int
    memory: int
    wall: float
    cpu: float

    @property
    def each(self) -> float:
        """Memory per connection in KiB."""
        return self.memory / self.connections / 1024

    @property
    def cost(self) -> float:
        """What the row is about."""
        return self.each

    def __str__(self) -> str:
        return f"{self.each:.1f} KiB each, {self.connections} opened in {self.wall:.2f} s"


@dataclass(frozen=True)
class StartSample:
    """One start: seconds until the first response, and the memory of the server then, in bytes."""

    start: float
    memory: int

    @property
    def cost(self) -> float:
        """Milliseconds until the first response."""
        return self.start * 1e3

    def __str__(self) -> str:
        return f"{self.cost:.0f} ms, {self.memory / (1 << 20):.1f} MiB"


def _longer(plan: Plan) -> Plan:
    return replace(plan, seconds=RATE_WINDOW * plan.seconds)


def _loaded(process: ServerProcess, workload: Workload, plan: Plan) -> tuple[dict[str, Any], float]:
    """What the load generator saw, and the share of the machine that the host took."""
    machine = psutil.cpu_times()
    seen = run(command(workload, process, plan.warm_up, plan.seconds), plan.load_cpu, plan.whole + LIMIT)
    return seen, stolen(machine, psutil.cpu_times())


def _flat(process: ServerProcess, workload: Workload, plan: Plan) -> FlatSample:
    lines = process.log_lines() if workload.access_log else 0
    seen, share = _loaded(process, workload, replace(plan, warm_up=SETTLE_IN))
    if not seen["requests"]:
        raise ServerFailed("no request was answered under load")
    if not workload.close and not workload.http2 and seen["reopened"] and workload.depth > 1:
        raise ServerFailed("closed connections with requests in flight")
    check(workload, process.port)
    if workload.access_log:
        _await_log(process, lines, seen["requests"])
    return FlatSample(seen["requests"], seen["wall"], seen["cpu"], seen["waiting"], share)


def _await_log(process: ServerProcess, before: int, requests: int) -> None:
    """Wait for a line of each request.

    :raises ServerFailed: they do not come.
    """
    deadline = time.monotonic() + LOG_LIMIT
    while (logged := process.log_lines() - before) < requests:
        if time.monotonic() > deadline:
            raise ServerFailed(f"logged {logged} lines for {requests} requests")
        time.sleep(SETTLE_IN)


def _rate(process: ServerProcess, workload: Workload, plan: Plan) -> RateSample:
    seen, share = _loaded(process, workload, _longer(plan))
    if not seen["requests"]:
        raise ServerFailed("no request was answered")
    return RateSample(**seen, stolen=share)


def _silent(process: ServerProcess, workload: Workload, plan: Plan) -> SilentSample:
    before = process.memory()
    with running(command(workload, process, 0, 0), plan.load_cpu) as popen:
        assert popen.stdout is not None
        seen = parse(popen.stdout.readline())
        time.sleep(SETTLE)
        memory = process.memory() - before
        ended = finish(popen, LIMIT)
    if ended is None or ended["lost"]:
        raise ServerFailed(f"{ended['lost'] if ended else 'all'} of {seen['open']} connections did not stay open")
    return SilentSample(seen["open"], memory, seen["wall"], seen["cpu"])


_MEASURES: dict[str, Callable[[ServerProcess, Workload, Plan], Any]] = {
    "flat": _flat,
    "rate": _rate,
    "idle": _silent,
    "held": _silent,
}


@functools.cache
def _compile(python: str, root: str) -> None:
    """Put the bytecode of the checkout where installed packages have theirs."""
    subprocess.run([python, "-m", "compileall", "-q", "asgiserve", "bench"], cwd=root, check=True)


@contextmanager
def session(server: Server, python: str, workload: Workload, plan: Plan) -> Iterator[Callable[[], Any]]:
    """A server that is up, has answered rightly, and is warm; and what takes a sample of it.

    :raises ServerFailed: whatever went wrong, in one line; so does the function.
    """
    if workload.kind == "start":
        _compile(python, plan.root)
    port = free_port()
    began = time.monotonic()
    with ServerProcess(server.command(python, workload, port), port, plan.server_cpu, plan.root) as process:
        with process.explained():
            check(workload, port)
            took = time.monotonic() - began
            if stays_up(workload):
                if plan.warm_up:
                    _loaded(process, workload, replace(plan, warm_up=0.0, seconds=plan.warm_up))
                process.suspend()

        def take() -> Any:
            if workload.kind == "start":
                return StartSample(took, process.memory())
            with process.explained(), process.awake() if stays_up(workload) else nullcontext():
                return _MEASURES[workload.kind](process, workload, plan)

        yield take


def stays_up(workload: Workload) -> bool:
    """Whether a server has several windows: where it is measured under full load, and the next one is as good."""
    return workload.kind == "flat"


def rounds(workload: Workload, plan: Plan) -> int:
    """Starts are short and vary, memory does not."""
    return {"start": 3 * plan.rounds, "idle": min(2, plan.rounds), "held": min(2, plan.rounds)}.get(
        workload.kind, plan.rounds
    )


def duration(workload: Workload, plan: Plan) -> float:
    """About how many seconds a server takes in a round."""
    if workload.is_silent:
        return SILENT
    if workload.kind == "flat":
        return START + plan.warm_up + plan.windows * (SETTLE_IN + plan.seconds + OVERHEAD)
    return START + (_longer(plan).whole if workload.kind == "rate" else 0.0)
