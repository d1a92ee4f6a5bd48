"""Command line of the load comparison."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Optional

from .chart import svg
from .load import wrk_path
from .measure import Plan, Results, measure_row
from .report import as_json, environment, markdown
from .servers import BASELINE, SERVERS, Server, probe
from .workloads import WORKLOADS, Workload

ROOT = Path(__file__).resolve().parents[2]
OVERHEAD = 1.5

Chosen = dict[str, tuple[Server, str]]


def _names(known: list[str]) -> argparse._ActionType:
    def parse(value: str) -> list[str]:
        names = [name.strip() for name in value.split(",")]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown name {name!r}, known: {', '.join(known)}")
        return names

    return parse


def _arguments() -> argparse.Namespace:
    rows, servers = [row.name for row in WORKLOADS], [server.name for server in SERVERS]
    parser = argparse.ArgumentParser(
        prog="python -m bench.http",
        description="Compare the CPU that ASGI servers need per request, each alone on one core.",
        epilog=f"Rows: {', '.join(rows)}. Servers: {', '.join(servers)}.",
    )
    parser.add_argument("--only", type=_names(rows), default=rows, metavar="ROW,...", help="measure these rows only")
    parser.add_argument(
        "--servers", type=_names(servers), default=servers, metavar="SERVER,...", help="these servers only"
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds per row (default 5)")
    parser.add_argument("--seconds", type=int, default=4, help="length of the measured window (default 4)")
    parser.add_argument("--warm-up", type=int, default=1, help="seconds of load before it (default 1)")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results", metavar="DIR", help="where to write")
    parser.add_argument("--pypy", metavar="PATH", help="PyPy with the packages; default: pypy3 on PATH, if any")
    parser.add_argument("--server-cpu", type=int, default=0, help="core of the server (default 0)")
    parser.add_argument("--load-cpu", type=int, default=1, help="core of the load generator (default 1)")
    options = parser.parse_args()
    if not {options.server_cpu, options.load_cpu} <= os.sched_getaffinity(0) or options.server_cpu == options.load_cpu:
        parser.error("two different cores are needed: see --server-cpu and --load-cpu")
    return options


def _choose(names: list[str], pypy: Optional[str]) -> tuple[Chosen, dict[str, str], dict[str, str]]:
    """Probe every wanted server.

    :return: the servers that can run, each with its interpreter; their versions; why the others cannot.
    """
    chosen: Chosen = {}
    versions, skipped = {}, {}
    for server in SERVERS:
        if server.name not in names:
            continue
        python = pypy if server.pypy else sys.executable
        if python is None:
            skipped[server.name] = "no PyPy found"
            continue
        found, reason = probe(server, python, str(ROOT))
        if found is None:
            skipped[server.name] = reason
        else:
            chosen[server.name] = (server, python)
            versions[server.name] = found
    return chosen, versions, skipped


def _minutes(rows: list[Workload], servers: Chosen, plan: Plan) -> float:
    """How long it will take."""
    one = plan.seconds + OVERHEAD
    windows = [one + max(plan.warm_up, s.warm_up) for row in rows for s, _ in servers.values() if s.handles(row)]
    return plan.rounds * sum(windows) / 60


def _say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


def _stop(number: int, frame: object) -> None:
    # As an exception it unwinds through the context managers that end the children.
    sys.exit(128 + number)


def main() -> int:
    """Measure and write ``http.md``, ``http.json`` and ``http.svg`` after every row."""
    options = _arguments()
    try:
        wrk_path()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    plan = Plan(options.rounds, options.seconds, options.warm_up, options.server_cpu, options.load_cpu, root=str(ROOT))
    servers, versions, skipped = _choose(options.servers, options.pypy or shutil.which("pypy3"))
    for name, reason in skipped.items():
        _say(f"not measured: {name}: {reason}")
    if not servers:
        return 2
    if BASELINE not in servers:
        _say(f"without {BASELINE} there are no ratios")
    rows = [workload for workload in WORKLOADS if workload.name in options.only]
    _say(f"{len(rows)} rows, {len(servers)} servers, about {_minutes(rows, servers, plan):.0f} minutes")
    about = environment(plan, versions, skipped)
    results: Results = {}
    options.output.mkdir(parents=True, exist_ok=True)
    for workload in rows:
        results[workload.name] = measure_row(workload, servers, plan, _say)
        picture = svg(results)
        if picture:
            (options.output / "http.svg").write_text(picture)
        (options.output / "http.md").write_text(markdown(about, results, "http.svg" if picture else None))
        (options.output / "http.json").write_text(as_json(about, results))
    _say(f"written: {options.output / 'http.md'}")
    return 0 if not any(cell.failure for row in results.values() for cell in row.values()) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
