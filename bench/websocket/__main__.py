"""Command line of the WebSocket comparison."""

from __future__ import annotations

from ..command import Comparison, main
from ..rounds import Plan
from .measure import duration, rounds, session, stays_up
from .report import report
from .servers import BASELINE, SERVERS
from .workloads import WORKLOADS

COMPARISON = Comparison(
    name="websocket",
    description="Compare the CPU that ASGI servers need per WebSocket message, on one core.",
    load="the project's own load generator (bench/websocket/load.c)",
    servers=SERVERS,
    workloads=WORKLOADS,
    baseline=BASELINE,
    plan=Plan(rounds=3, seconds=0.3, warm_up=0.3, server_cpu=0, load_cpu=1, root="", windows=5),
    session=session,
    stays_up=stays_up,
    joins=lambda row: False,
    rounds=rounds,
    duration=duration,
    report=report,
)

if __name__ == "__main__":
    main(COMPARISON)
