"""The measurement of one server in one row, alone on its core."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable

import psutil

from ..process import ServerFailed, ServerProcess, free_port
from ..rounds import Plan, Row, measure_rounds
from ..rounds import stolen as share_stolen
from ..servers import Chosen, Server
from .load import Load, check, load
from .workloads import Workload


@dataclass(frozen=True)
class Sample:
    """One window. ``cpu`` and ``wall`` in seconds, ``stolen`` the share of the machine that the host took."""

    requests: int
    wall: float
    cpu: float
    p50: float
    p99: float
    stolen: float
    start: float
    memory: int

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


def measure_once(command: list[str], server: Server, workload: Workload, port: int, plan: Plan) -> Sample:
    """Start a server, check its answers, warm it up, load it for one window.

    :raises ServerFailed: whatever went wrong, in one line.
    """
    began = time.monotonic()
    with ServerProcess(command, port, plan.server_cpu, plan.root) as process:
        check(workload, port)
        start = time.monotonic() - began
        _load(process, workload, max(plan.warm_up, server.warm_up), plan)
        lines = process.log_lines() if workload.access_log else 0
        machine = psutil.cpu_times()
        before = process.cpu_seconds()
        seen = _load(process, workload, plan.seconds, plan)
        cpu = process.cpu_seconds() - before
        stolen = share_stolen(machine, psutil.cpu_times())
        check(workload, port)
        memory = process.memory()
        process.stop()
        if workload.access_log and process.log_lines() - lines < seen.requests:
            raise ServerFailed(f"logged {process.log_lines() - lines} lines for {seen.requests} requests")
    return Sample(
        requests=seen.requests,
        wall=seen.microseconds / 1e6,
        cpu=cpu,
        p50=seen.p50,
        p99=seen.p99,
        stolen=stolen,
        start=start,
        memory=memory,
    )


def _load(process: ServerProcess, workload: Workload, seconds: float, plan: Plan) -> Load:
    """Load a server; its death is the better message than what the client saw of it."""
    try:
        return load(workload, process.port, seconds, plan.load_cpu)
    except ServerFailed as error:
        if not process.alive():
            raise ServerFailed(f"died under load: {process.last_line()}") from error
        raise


def measure_row(workload: Workload, servers: Chosen, plan: Plan, say: Callable[[str], None]) -> Row:
    """All rounds of one row.

    :param servers: by name, each with the interpreter that runs it.
    """

    def measure(name: str) -> Sample:
        server, python = servers[name]
        port = free_port()
        return measure_once([python, *server.arguments(workload, port)], server, workload, port, plan)

    names = [name for name, (server, _) in servers.items() if server.handles(workload)]
    return measure_rounds(workload.name, names, plan.rounds, measure, say)
