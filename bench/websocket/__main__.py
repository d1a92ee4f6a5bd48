"""Command line of the WebSocket comparison."""

from __future__ import annotations

from ..command import Comparison, main
from ..rounds import Plan
from .measure import duration, measure, rounds
from .report import report
from .servers import BASELINE, SERVERS
from .workloads import WORKLOADS

COMPARISON = Comparison(
    name="websocket",
    description="Compare the CPU that ASGI servers need per WebSocket message, each alone on one core.",
    load="the project's own load generator (bench/websocket/load.c)",
    servers=SERVERS,
    workloads=WORKLOADS,
    baseline=BASELINE,
    plan=Plan(rounds=5, seconds=4.0, warm_up=1.0, server_cpu=0, load_cpu=1, root=""),
    measure=measure,
    rounds=rounds,
    duration=duration,
    report=report,
)

if __name__ == "__main__":
    main(COMPARISON)
