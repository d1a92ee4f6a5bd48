"""The command line of a comparison: what is measured, in what order, and where the results go."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Optional

from . import ROOT
from .page import environment, steal
from .rounds import Cell, Key, Plan, Results, measure_rounds
from .scratch import NotCompiled
from .servers import Chosen, Server, choose

# Files that a process has open besides its connections.
OTHER_FILES = 500

Session = Callable[[Server, str, Any, Plan], AbstractContextManager[Callable[[], Any]]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """What one comparison consists of.

    ``load`` names the load generator. Every workload has at least a ``name``, a ``kind``, ``canned`` and
    ``connections``; the first one's command lines are shown in the report. ``session`` takes a server, its interpreter,
    a workload and a plan, starts the server, and gives what returns a sample each time it is called; either raises
    ``ServerFailed``. ``stays_up`` says of a workload whether its servers stay up through a round and have several
    windows; ``joins`` of one of these whether it has its rounds together with the one before it in the table.
    ``rounds`` and ``duration`` say how many rounds there are, and about how many seconds a server takes in one.
    ``report`` makes, from the environment, the results and a name, the texts of all files by their names.
    """

    name: str
    description: str
    load: str
    servers: list[Server]
    workloads: list[Any]
    baseline: str
    plan: Plan
    session: Session
    stays_up: Callable[[Any], bool]
    joins: Callable[[Any], bool]
    rounds: Callable[[Any, Plan], int]
    duration: Callable[[Any, Plan], float]
    report: Callable[[dict[str, Any], Results, str], dict[str, str]]


def names(known: list[str]) -> Callable[[str], list[str]]:
    """A parser for a comma-separated choice of names."""

    def parse(value: str) -> list[str]:
        found = [name.strip() for name in value.split(",")]
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown name {name!r}, known: {', '.join(known)}")
        return found

    return parse


def parser(comparison: Comparison) -> argparse.ArgumentParser:
    """The options that every comparison has."""
    plan = comparison.plan
    rows = [row.name for row in comparison.workloads]
    servers = [server.name for server in comparison.servers]
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{comparison.name}",
        description=comparison.description,
        epilog=f"Rows: {', '.join(rows)}. Servers: {', '.join(servers)}.",
    )
    add = parser.add_argument
    add("--only", type=names(rows), default=rows, metavar="ROW,...", help="measure these rows only")
    add("--servers", type=names(servers), metavar="SERVER,...", help="these servers only")
    add(
        "--pypy", metavar="PATH", help="a PyPy with the packages; its servers are measured too, unless others are named"
    )
    add("--rounds", type=int, default=plan.rounds, help=f"interleaved rounds per row (default {plan.rounds})")
    add("--windows", type=int, default=plan.windows, help=f"windows of each server in a round (default {plan.windows})")
    add("--seconds", type=float, default=plan.seconds, help=f"length of a window (default {plan.seconds:g})")
    add("--warm-up", type=float, default=plan.warm_up, help=f"seconds of load before all (default {plan.warm_up:g})")
    add("--output", type=Path, default=ROOT / "bench" / "results", metavar="DIR", help="where to write")
    add("--report", default=comparison.name, metavar="NAME", help=f"name of the files (default {comparison.name})")
    add_cores(parser)
    return parser


def add_cores(parser: argparse.ArgumentParser) -> None:
    """The options that say which core is whose."""
    parser.add_argument("--server-cpu", type=int, default=0, help="core of the server (default 0)")
    parser.add_argument("--load-cpu", type=int, default=1, help="core of the load generator (default 1)")


def check_cores(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program where the cores are not there."""
    if not {options.server_cpu, options.load_cpu} <= os.sched_getaffinity(0) or options.server_cpu == options.load_cpu:
        parser.error("two different cores are needed: see --server-cpu and --load-cpu")


def _plan(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Plan:
    """The plan that the options ask for; ends the program where they make no sense here."""
    check_cores(parser, options)
    if options.rounds < 1 or options.windows < 1 or options.seconds <= 0 or options.warm_up < 0:
        parser.error("--rounds, --windows and --seconds have to be above 0, --warm-up not below it")
    return Plan(
        options.rounds,
        options.seconds,
        options.warm_up,
        options.server_cpu,
        options.load_cpu,
        str(ROOT),
        options.windows,
    )


def wanted(servers: list[Server], named: Optional[list[str]], pypy: Optional[str]) -> list[str]:
    """The names of the servers to measure: those that were named, or else all that are not optional."""
    if named is not None:
        return named
    return [server.name for server in servers if (pypy is not None if server.pypy else not server.optional)]


def minutes(comparison: Comparison, rows: list[Any], servers: Chosen, plan: Plan) -> float:
    """How long it will take."""
    total = 0.0
    for row in rows:
        for server, _ in servers.values():
            if server.handles(row):
                warmed = replace(plan, warm_up=max(plan.warm_up, server.warm_up))
                total += comparison.rounds(row, plan) * comparison.duration(row, warmed)
    return total / 60


def say(line: str) -> None:
    """Print a line with the time."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


def raise_file_limit() -> int:
    """Allow this process and its children all the files they may have.

    :return: how many connections that is enough for.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1 << 30 if hard == resource.RLIM_INFINITY else hard - OTHER_FILES


def _stop(number: int, frame: object) -> None:
    # As an exception it unwinds through the context managers that end the children.
    sys.exit(128 + number)


def unwind_on_termination() -> None:
    """Let SIGTERM end the children too."""
    signal.signal(signal.SIGTERM, _stop)


def run(comparison: Comparison, arguments: Optional[list[str]] = None) -> int:
    """Measure, and write the report after every row.

    :return: the exit status: 1 if a server failed in a row, 2 if nothing can be measured.
    """
    made = parser(comparison)
    options = made.parse_args(arguments)
    planned = _plan(made, options)
    unwind_on_termination()
    servers, versions, skipped = choose(
        comparison.servers, wanted(comparison.servers, options.servers, options.pypy), options.pypy, str(ROOT)
    )
    for name, reason in skipped.items():
        say(f"not measured: {name}: {reason}")
    if not servers:
        return 2
    if comparison.baseline not in servers:
        say(f"without {comparison.baseline} there are no ratios")
    most = raise_file_limit()
    chosen = [row for row in comparison.workloads if row.name in options.only]
    rows = [replace(row, connections=min(row.connections, most)) for row in chosen]
    say(f"{len(rows)} rows, {len(servers)} servers, about {minutes(comparison, rows, servers, planned):.0f} minutes")
    about = environment(planned, comparison.load, comparison.servers, comparison.workloads[0], versions, skipped)
    results: Results = {}
    options.output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for group in groups(comparison, rows):
        results.update(measure_group(comparison, group, servers, planned))
        about.update(minutes=(time.monotonic() - began) / 60, stolen=steal(results))
        for name, text in comparison.report(about, results, options.report).items():
            (options.output / name).write_text(text)
    say(f"written: {options.output / options.report}.md, after {about['minutes']:.1f} minutes")
    return 0 if not any(cell.failure for cells in results.values() for cell in cells.values()) else 1


def groups(comparison: Comparison, rows: list[Any]) -> list[list[Any]]:
    """The rows, those that have their rounds together in one list."""
    found: list[list[Any]] = []
    for row in rows:
        if found and comparison.joins(row) and comparison.stays_up(found[-1][-1]):
            found[-1].append(row)
        else:
            found.append([row])
    return found


def measure_group(comparison: Comparison, rows: list[Any], servers: Chosen, plan: Plan) -> Results:
    """All rounds of rows that have them together."""
    known = {row.name: row for row in rows}

    def session(key: Key) -> AbstractContextManager[Callable[[], Any]]:
        server, python = servers[key[1]]
        warmed = replace(plan, warm_up=max(plan.warm_up, server.warm_up))
        return comparison.session(server, python, known[key[0]], warmed)

    cells = {(row.name, name): Cell() for row in rows for name, (server, _) in servers.items() if server.handles(row)}
    stay_up = comparison.stays_up(rows[0])
    windows = plan.windows if stay_up else 1
    measure_rounds(cells, comparison.rounds(rows[0], plan), windows, stay_up, session, say)
    return {row.name: {name: cell for (of, name), cell in cells.items() if of == row.name} for row in rows}


def main(comparison: Comparison) -> None:
    """Run the command line and end the program."""
    try:
        sys.exit(run(comparison))
    except NotCompiled as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
