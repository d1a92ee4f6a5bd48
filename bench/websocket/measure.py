"""The measurement of one server in one row, with no other at work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Callable, Union

import psutil

from ..load import finish, parse, run, running
from ..process import ServerFailed, ServerProcess, free_port
from ..rounds import Plan, stolen
from ..servers import Server
from .load import check, command
from .workloads import Workload

# Seconds that the load generator may take for all that is not load.
LIMIT = 60.0
# Seconds of load before a window on a server that has been loaded: for new connections to be all alike.
SETTLE_IN = 0.05
# Seconds that a start takes, that a window takes besides its load, and those of an idle row.
START, OVERHEAD, IDLE_TIME = 1.0, 0.3, 9.0
# How long a server may take to end before it is killed.
STOP_LIMIT = 40.0
# For what a server does a little after its last message, before its memory is read.
SETTLE = 0.5


@dataclass(frozen=True)
class LoadSample:
    """One window. ``cpu`` and ``wall`` in seconds, ``stolen`` the share of the machine that the host took.

    ``messages`` are those that came back. ``waiting`` is the share of the load generator's polls that found nothing.
    """

    messages: int
    wall: float
    cpu: float
    waiting: float
    stolen: float

    @property
    def cost(self) -> float:
        """Server CPU per message in microseconds."""
        return self.cpu / self.messages * 1e6

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.wall

    @property
    def per_cpu_second(self) -> float:
        """Messages per CPU second of the server."""
        return self.messages / self.cpu

    @property
    def busy(self) -> float:
        """The share of its core that the server used."""
        return self.cpu / self.wall

    def __str__(self) -> str:
        return f"{self.cost:.2f} us/message, {self.rate:.0f} messages/s, busy {self.busy:.0%}"


@dataclass(frozen=True)
class IdleSample:
    """Many connections, one message each, then the end. Times in seconds, ends counted from the signal.

    ``memory`` is what they added to the server, in bytes. ``agreed`` says how many compress. ``codes`` counts the
    connections by the close code that came, 1006 where none came. ``last_close`` is 0 when none came at all.
    """

    connections: int
    agreed: int
    wall: float
    cpu: float
    memory: int
    codes: dict[str, int]
    last_close: float
    last_end: float
    killed: bool

    @property
    def cost(self) -> float:
        """Server CPU per opening handshake and message in microseconds."""
        return self.cpu / self.connections * 1e6

    @property
    def each(self) -> float:
        """Memory per connection in KiB."""
        return self.memory / self.connections / 1024

    def __str__(self) -> str:
        ends = ", ".join(f"{number} x {code}" for code, number in self.codes.items())
        close = f"last close after {self.last_close:.2f} s, " if self.last_close else ""
        killed = ", killed" if self.killed else ""
        return (
            f"{self.each:.1f} KiB and {self.cost:.0f} us each, compressing {self.agreed}, "
            f"{close}last end after {self.last_end:.2f} s, {ends}{killed}"
        )


Sample = Union[LoadSample, IdleSample]


def _loaded(process: ServerProcess, workload: Workload, plan: Plan) -> dict[str, Any]:
    return run(command(workload, process, plan.warm_up, plan.seconds), plan.load_cpu, plan.whole + LIMIT)


def _measure_load(process: ServerProcess, workload: Workload, plan: Plan) -> LoadSample:
    machine = psutil.cpu_times()
    seen = _loaded(process, workload, replace(plan, warm_up=SETTLE_IN))
    share = stolen(machine, psutil.cpu_times())
    if not seen["messages"]:
        raise ServerFailed("no message came back under load")
    check(workload, process.port)
    return LoadSample(seen["messages"], seen["wall"], seen["cpu"], seen["waiting"], share)


def _measure_idle(process: ServerProcess, workload: Workload, plan: Plan) -> IdleSample:
    before = process.memory()
    with running(command(workload, process), plan.load_cpu) as popen:
        assert popen.stdout is not None
        seen = parse(popen.stdout.readline())
        time.sleep(SETTLE)
        memory = process.memory() - before
        signalled = time.monotonic()
        process.terminate()
        # The load generator reads the same clock.
        ends = finish(popen, STOP_LIMIT)
        killed = ends is None
        if ends is None:
            process.stop()
            ends = finish(popen, LIMIT)
    if ends is None:
        raise ServerFailed("connections outlived the server")
    return IdleSample(
        connections=seen["open"],
        agreed=seen["deflate"],
        wall=seen["wall"],
        cpu=seen["cpu"],
        memory=memory,
        codes=ends["codes"],
        last_close=max(0.0, ends["last_close"] - signalled),
        last_end=ends["last_end"] - signalled,
        killed=killed,
    )


@contextmanager
def session(server: Server, python: str, workload: Workload, plan: Plan) -> Iterator[Callable[[], Sample]]:
    """A server that is up, has answered rightly, and is warm; and what takes a sample of it.

    :raises ServerFailed: whatever went wrong, in one line; so does the function.
    """
    port = free_port()
    with ServerProcess(server.command(python, workload, port), port, plan.server_cpu, plan.root) as process:
        with process.explained():
            check(workload, port)
            if stays_up(workload):
                if plan.warm_up:
                    _loaded(process, workload, replace(plan, warm_up=0.0, seconds=plan.warm_up))
                process.suspend()

        def take() -> Sample:
            with process.explained():
                if not stays_up(workload):
                    return _measure_idle(process, workload, plan)
                with process.awake():
                    return _measure_load(process, workload, plan)

        yield take


def stays_up(workload: Workload) -> bool:
    """Whether a server has several windows: it is ended where connections are idle."""
    return workload.kind != "idle"


def rounds(workload: Workload, plan: Plan) -> int:
    """Memory does not vary."""
    return min(plan.rounds, 3) if workload.kind == "idle" else plan.rounds


def duration(workload: Workload, plan: Plan) -> float:
    """About how many seconds a server takes in a round."""
    if workload.kind == "idle":
        return IDLE_TIME
    return START + plan.warm_up + plan.windows * (SETTLE_IN + plan.seconds + OVERHEAD)
