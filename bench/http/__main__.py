"""Command line of the load comparison."""

from __future__ import annotations

from ..command import Comparison, main
from ..rounds import Plan
from .measure import duration, measure, rounds
from .report import report
from .servers import BASELINE, SERVERS
from .workloads import WORKLOADS

COMPARISON = Comparison(
    name="http",
    description="Compare the CPU that ASGI servers need per request, each alone on one core; latency and memory too.",
    load="the project's own load generator (bench/http/load.c)",
    servers=SERVERS,
    workloads=WORKLOADS,
    baseline=BASELINE,
    plan=Plan(rounds=3, seconds=1.5, warm_up=0.5, server_cpu=0, load_cpu=1, root=""),
    measure=measure,
    rounds=rounds,
    duration=duration,
    report=report,
)

if __name__ == "__main__":
    main(COMPARISON)
