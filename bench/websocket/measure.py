"""The measurement of one server in one row, alone on its core."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Union

import psutil

from ..process import ServerFailed, ServerProcess, free_port
from ..rounds import Plan, Row, measure_rounds, stolen
from ..servers import Chosen, Server
from .load import LIMIT, LoadGenerator, check, finish, parse
from .workloads import Workload

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


def _measure_load(
    process: ServerProcess, workload: Workload, warm_up: float, plan: Plan, load: LoadGenerator
) -> LoadSample:
    machine = psutil.cpu_times()
    with load.running(workload, process, plan.load_cpu, warm_up, plan.seconds) as popen:
        seen = finish(popen, warm_up + plan.seconds + LIMIT)
    share = stolen(machine, psutil.cpu_times())
    if seen is None:
        raise ServerFailed("the load did not end")
    if not seen["messages"]:
        raise ServerFailed("no message came back under load")
    check(workload, process.port)
    return LoadSample(seen["messages"], seen["wall"], seen["cpu"], seen["waiting"], share)


def _measure_idle(process: ServerProcess, workload: Workload, plan: Plan, load: LoadGenerator) -> IdleSample:
    before = process.memory()
    with load.running(workload, process, plan.load_cpu) as popen:
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


def measure_once(server: Server, python: str, workload: Workload, plan: Plan, load: LoadGenerator) -> Sample:
    """Start a server, check its answers, measure.

    :raises ServerFailed: whatever went wrong, in one line.
    """
    port = free_port()
    with ServerProcess([python, *server.arguments(workload, port)], port, plan.server_cpu, plan.root) as process:
        try:
            check(workload, port)
            if workload.kind == "idle":
                return _measure_idle(process, workload, plan, load)
            return _measure_load(process, workload, max(plan.warm_up, server.warm_up), plan, load)
        except ServerFailed as error:
            if process.alive():
                raise
            # Its death is the better message than what the client saw of it.
            raise ServerFailed(f"died: {process.last_line()}") from error


def measure_row(
    workload: Workload, servers: Chosen, plan: Plan, load: LoadGenerator, say: Callable[[str], None]
) -> Row:
    """All rounds of one row.

    :param servers: by name, each with the interpreter that runs it.
    """

    def measure(name: str) -> Sample:
        return measure_once(*servers[name], workload, plan, load)

    names = [name for name, (server, _) in servers.items() if server.handles(workload)]
    return measure_rounds(workload.name, names, plan.rounds, measure, say)
