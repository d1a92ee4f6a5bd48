"""Command line: measure where the cost of a request goes, and put the figures into the page about it."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import ROOT
from ..command import add_cores, check_cores, raise_file_limit, say, unwind_on_termination
from ..http.measure import session as http_session
from ..http.servers import SERVERS
from ..http.workloads import WORKLOADS
from ..instructions.callgrind import CountFailed, count
from ..process import ServerFailed
from ..rounds import Plan
from ..scratch import NotCompiled
from ..websocket.measure import session as websocket_session
from ..websocket.servers import SERVERS as WEBSOCKET_SERVERS
from ..websocket.workloads import WORKLOADS as WEBSOCKET_WORKLOADS
from .measure import cpu, instructions, kernel_shares, system_calls
from .page import CASES, MEMORY, OWN, Figures, put, render

PAGE = ROOT / "docs" / "cost-of-a-request.md"
LADDER = ("epoll", "bare", OWN)
IN_MEMORY = (OWN, "asgiserve-pure", "bare")


def _memory(plan: Plan, most: int) -> dict[str, dict[str, float]]:
    """KiB by kind and server, where the server does such a thing.

    :param most: how many connections there can be.
    """
    workloads: dict[str, tuple[Any, Any, Any]] = {row.name: (row, SERVERS, http_session) for row in WORKLOADS}
    idle = next(row for row in WEBSOCKET_WORKLOADS if row.name == "idle")
    workloads["websocket"] = (idle, WEBSOCKET_SERVERS, websocket_session)
    found: dict[str, dict[str, float]] = {}
    for kind in MEMORY:
        row, servers, session = workloads[kind]
        row = replace(row, connections=min(5000, most))
        found[kind] = {}
        for name in IN_MEMORY:
            server = next((server for server in servers if server.name == name and server.handles(row)), None)
            if server is not None:
                say(f"memory: {row.title}, {server.label}")
                with session(server, sys.executable, row, plan) as take:
                    found[kind][name] = take().each
    return found


def _where() -> str:
    """What the figures were made with."""
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout.splitlines()[:1]
    parts = [f"{platform.python_implementation()} {platform.python_version()}", f"uvloop {version('uvloop')}"]
    return ", ".join([*parts, *compiler, f"{platform.system()} {platform.release()}", platform.machine()])


def measure(plan: Plan, most: int) -> Figures:
    """Everything that the page shows, in about two minutes.

    :raises ServerFailed: a server did not do what it was to do.
    :raises CountFailed: instructions could not be counted.
    """
    say(f"time: {', '.join(LADDER)}")
    took = cpu(LADDER, replace(plan, seconds=plan.seconds / 10, warm_up=plan.warm_up / 2))
    calls: dict[str, dict[str, float]] = {}
    for name in LADDER:
        say(f"system calls: {name}")
        calls[name] = system_calls(name, plan)
    say("the kernel's share")
    kernel = kernel_shares(OWN, plan)
    say("the parts of a request, under valgrind")
    _, parts = instructions(plan)
    say("other requests, under valgrind")
    cases = count("compiled", list(CASES), ROOT)
    memory = _memory(plan, most)
    labels = {server.name: server.label for server in SERVERS}
    return Figures(labels, took, calls, kernel, parts, cases, memory, _where())


def main() -> int:
    """Measure and write; 2 if that is not possible here."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.cost",
        description="Measure where the cost of a request goes. Needs Linux, a C compiler, valgrind, strace and perf.",
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="the page that gets the figures")
    parser.add_argument("--print", action="store_true", help="print them only")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load (default 3)")
    add_cores(parser)
    options = parser.parse_args()
    check_cores(parser, options)
    unwind_on_termination()
    plan = Plan(1, options.seconds, 0.5, options.server_cpu, options.load_cpu, str(ROOT))
    try:
        text = render(measure(plan, raise_file_limit()))
    except (ServerFailed, CountFailed, NotCompiled) as error:
        print(error, file=sys.stderr)
        return 2
    if options.print:
        print(text)
    else:
        options.page.write_text(put(options.page.read_text(), text))
        say(f"written: {options.page}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
