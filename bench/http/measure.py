"""The measurement: rows, then rounds, then servers, each server alone on its core."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Optional

import psutil

from .load import Load, check, load
from .process import ServerFailed, ServerProcess, free_port
from .servers import Server
from .workloads import Workload


@dataclass(frozen=True)
class Plan:
    """How to measure: seconds per window and warm-up, the two cores, where the project is."""

    rounds: int
    seconds: float
    warm_up: float
    server_cpu: int
    load_cpu: int
    root: str


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


@dataclass
class Cell:
    """All windows of one server in one row, or why there are none."""

    samples: list[Sample] = field(default_factory=list)
    failure: Optional[str] = None

    def median(self, name: str) -> Optional[float]:
        """The median of a sample attribute over the rounds; None for a failed or empty cell."""
        if self.failure or not self.samples:
            return None
        return float(statistics.median(getattr(sample, name) for sample in self.samples))

    def spread(self) -> Optional[float]:
        """(max - min) / median of the cost: how far to trust it."""
        middle = self.median("cost")
        if middle is None:
            return None
        costs = [sample.cost for sample in self.samples]
        return (max(costs) - min(costs)) / middle

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "failure": self.failure,
            "cpu_us_per_request": self.median("cost"),
            "requests_per_second": self.median("rate"),
            "spread": self.spread(),
            "samples": [{**asdict(s), "cpu_us_per_request": s.cost, "busy": s.busy} for s in self.samples],
        }


Results = dict[str, dict[str, Cell]]


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
        stolen = _stolen(machine, psutil.cpu_times())
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


def _stolen(before: Any, after: Any) -> float:
    """The share of CPU time between two readings that went to other guests of the host."""
    total = sum(after[:8]) - sum(before[:8])
    stolen: float = after.steal - before.steal
    return stolen / total if total else 0.0


def measure_row(
    workload: Workload, servers: dict[str, tuple[Server, str]], plan: Plan, say: Callable[[str], None]
) -> dict[str, Cell]:
    """All rounds of one row. A server that fails once is out of the row.

    :param servers: by name, each with the interpreter that runs it.
    """
    cells = {name: Cell() for name, (server, _) in servers.items() if server.handles(workload)}
    for number in range(1, plan.rounds + 1):
        for name, cell in cells.items():
            if cell.failure:
                continue
            server, python = servers[name]
            port = free_port()
            try:
                sample = measure_once([python, *server.arguments(workload, port)], server, workload, port, plan)
            except ServerFailed as error:
                cell.failure = str(error)
                say(f"{workload.name} {number}/{plan.rounds} {name}: FAILED: {error}")
                continue
            cell.samples.append(sample)
            say(
                f"{workload.name} {number}/{plan.rounds} {name}: {sample.cost:.1f} us/request, "
                f"{sample.rate:.0f} requests/s, busy {sample.busy:.0%}"
            )
    return cells
