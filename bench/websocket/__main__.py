"""Command line of the WebSocket comparison."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from dataclasses import replace

from .. import ROOT
from ..command import arguments, plan, say, unwind_on_termination
from ..page import environment
from ..rounds import Plan, Results
from ..servers import Chosen, choose
from .chart import svg
from .load import LoadGenerator
from .measure import measure_row
from .report import as_json, markdown
from .servers import BASELINE, SERVERS
from .workloads import WORKLOADS, Workload

LOAD = "the project's own load generator (bench/websocket/load.c)"
# Seconds around the window of a loaded row, and those of an idle row.
OVERHEAD, IDLE_TIME = 2.5, 9.0
# Files that a process has open besides its connections.
OTHER_FILES = 500


def _arguments() -> tuple[argparse.Namespace, Plan]:
    parser = arguments(
        "bench.websocket",
        "Compare the CPU that ASGI servers need per WebSocket message, each alone on one core.",
        [row.name for row in WORKLOADS],
        [server.name for server in SERVERS],
    )
    parser.add_argument(
        "--idle-rounds", type=int, default=3, help="rounds of the rows with idle connections (default 3)"
    )
    options = parser.parse_args()
    return options, plan(parser, options)


def _minutes(rows: list[Workload], servers: Chosen, planned: dict[str, Plan]) -> float:
    """How long it will take."""
    total = 0.0
    for row in rows:
        one = planned[row.kind]
        each = IDLE_TIME if row.kind == "idle" else one.seconds + one.warm_up + OVERHEAD
        total += one.rounds * each * sum(server.handles(row) for server, _ in servers.values())
    return total / 60


def _raise_file_limit() -> int:
    """Allow this process and its children all the files they may have.

    :return: how many connections that is enough for.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1 << 30 if hard == resource.RLIM_INFINITY else hard - OTHER_FILES


def main() -> int:
    """Measure and write ``websocket.md``, ``websocket.json`` and ``websocket.svg`` after every row."""
    options, loaded = _arguments()
    planned = {"echo": loaded, "broadcast": loaded, "idle": replace(loaded, rounds=options.idle_rounds)}
    unwind_on_termination()
    servers, versions, skipped = choose(SERVERS, options.servers, None, str(ROOT))
    for name, reason in skipped.items():
        say(f"not measured: {name}: {reason}")
    if not servers:
        return 2
    if BASELINE not in servers:
        say(f"without {BASELINE} there are no ratios")
    most = _raise_file_limit()
    rows = [replace(row, connections=min(row.connections, most)) for row in WORKLOADS if row.name in options.only]
    say(f"{len(rows)} rows, {len(servers)} servers, about {_minutes(rows, servers, planned):.0f} minutes")
    about = environment(loaded, LOAD, SERVERS, WORKLOADS[0], versions, skipped)
    results: Results = {}
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            load = LoadGenerator(folder)
        except FileNotFoundError as error:
            print(error, file=sys.stderr)
            return 2
        for row in rows:
            results[row.name] = measure_row(row, servers, planned[row.kind], load, say)
            picture = svg(results)
            if picture:
                (options.output / "websocket.svg").write_text(picture)
            (options.output / "websocket.md").write_text(markdown(about, results, "websocket.svg" if picture else None))
            (options.output / "websocket.json").write_text(as_json(about, results))
    say(f"written: {options.output / 'websocket.md'}")
    return 0 if not any(cell.failure for cells in results.values() for cell in cells.values()) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
