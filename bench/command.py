"""What the command lines of the comparisons have in common."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Callable

from . import ROOT
from .rounds import Plan


def names(known: list[str]) -> Callable[[str], list[str]]:
    """A parser for a comma-separated choice of names."""

    def parse(value: str) -> list[str]:
        found = [name.strip() for name in value.split(",")]
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"unknown name {name!r}, known: {', '.join(known)}")
        return found

    return parse


def arguments(program: str, description: str, rows: list[str], servers: list[str]) -> argparse.ArgumentParser:
    """The options that every comparison has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=description,
        epilog=f"Rows: {', '.join(rows)}. Servers: {', '.join(servers)}.",
    )
    parser.add_argument("--only", type=names(rows), default=rows, metavar="ROW,...", help="measure these rows only")
    parser.add_argument(
        "--servers", type=names(servers), default=servers, metavar="SERVER,...", help="these servers only"
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds per row (default 5)")
    parser.add_argument("--seconds", type=int, default=4, help="length of the measured window (default 4)")
    parser.add_argument("--warm-up", type=int, default=1, help="seconds of load before it (default 1)")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results", metavar="DIR", help="where to write")
    parser.add_argument("--server-cpu", type=int, default=0, help="core of the server (default 0)")
    parser.add_argument("--load-cpu", type=int, default=1, help="core of the load generator (default 1)")
    return parser


def plan(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Plan:
    """The plan that the options ask for; ends the program where the machine has not the cores for it."""
    if not {options.server_cpu, options.load_cpu} <= os.sched_getaffinity(0) or options.server_cpu == options.load_cpu:
        parser.error("two different cores are needed: see --server-cpu and --load-cpu")
    return Plan(options.rounds, options.seconds, options.warm_up, options.server_cpu, options.load_cpu, root=str(ROOT))


def say(line: str) -> None:
    """Print a line with the time."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


def _stop(number: int, frame: object) -> None:
    # As an exception it unwinds through the context managers that end the children.
    sys.exit(128 + number)


def unwind_on_termination() -> None:
    """Let SIGTERM end the children too."""
    signal.signal(signal.SIGTERM, _stop)
