"""Command line of the load comparison."""

from __future__ import annotations

import argparse
import shutil
import sys

from .. import ROOT
from ..command import arguments, plan, say, unwind_on_termination
from ..page import environment
from ..rounds import Plan, Results
from ..servers import Chosen, choose
from .chart import svg
from .load import wrk_path, wrk_version
from .measure import measure_row
from .report import as_json, markdown
from .servers import BASELINE, SERVERS
from .workloads import WORKLOADS, Workload

OVERHEAD = 1.5


def _arguments() -> tuple[argparse.Namespace, Plan]:
    parser = arguments(
        "bench.http",
        "Compare the CPU that ASGI servers need per request, each alone on one core.",
        [row.name for row in WORKLOADS],
        [server.name for server in SERVERS],
    )
    parser.add_argument("--pypy", metavar="PATH", help="PyPy with the packages; default: pypy3 on PATH, if any")
    options = parser.parse_args()
    return options, plan(parser, options)


def _minutes(rows: list[Workload], servers: Chosen, plan: Plan) -> float:
    """How long it will take."""
    one = plan.seconds + OVERHEAD
    windows = [one + max(plan.warm_up, s.warm_up) for row in rows for s, _ in servers.values() if s.handles(row)]
    return plan.rounds * sum(windows) / 60


def main() -> int:
    """Measure and write ``http.md``, ``http.json`` and ``http.svg`` after every row."""
    options, planned = _arguments()
    try:
        wrk_path()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    unwind_on_termination()
    pypy = options.pypy or shutil.which("pypy3")
    servers, versions, skipped = choose(SERVERS, options.servers, pypy, str(ROOT))
    for name, reason in skipped.items():
        say(f"not measured: {name}: {reason}")
    if not servers:
        return 2
    if BASELINE not in servers:
        say(f"without {BASELINE} there are no ratios")
    rows = [workload for workload in WORKLOADS if workload.name in options.only]
    say(f"{len(rows)} rows, {len(servers)} servers, about {_minutes(rows, servers, planned):.0f} minutes")
    about = environment(planned, wrk_version(), SERVERS, WORKLOADS[0], versions, skipped)
    results: Results = {}
    options.output.mkdir(parents=True, exist_ok=True)
    for workload in rows:
        results[workload.name] = measure_row(workload, servers, planned, say)
        picture = svg(results)
        if picture:
            (options.output / "http.svg").write_text(picture)
        (options.output / "http.md").write_text(markdown(about, results, "http.svg" if picture else None))
        (options.output / "http.json").write_text(as_json(about, results))
    say(f"written: {options.output / 'http.md'}")
    return 0 if not any(cell.failure for row in results.values() for cell in row.values()) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
