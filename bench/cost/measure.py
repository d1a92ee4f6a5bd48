"""The measurements behind the page: real servers on a socket, under full load."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from .. import ROOT
from ..http.load import check, command
from ..http.measure import session
from ..http.servers import SERVERS
from ..http.workloads import WORKLOADS, Workload
from ..instructions.callgrind import CountFailed, valgrind_path
from ..instructions.exercise import MARK
from ..load import finish, run, running
from ..process import ServerFailed, ServerProcess, free_port, start_pinned
from ..rounds import Cell, Key, Plan, measure_rounds
from .graph import charge, read
from .parts import part_of

PLAINTEXT = next(row for row in WORKLOADS if row.name == "plaintext")
PROFILED = replace(PLAINTEXT, app="bench.cost.app:app")
#: Rounds of starts, and windows of each server in one.
ROUNDS, WINDOWS = 3, 7
#: Seconds of load on a server that valgrind or strace slows down.
SLOW_LOAD = 3.0
LIMIT = 120.0
TOOLS = {"strace": "strace", "perf": "linux-perf"}
NO_TOOL = "{} was not found on PATH: install it (Debian: apt install {})"
#: Samples per second of perf; odd, so that it does not keep step with anything.
SAMPLES = 1999
#: What the kernel calls its own parts, on this and older versions of it.
SYSTEM_CALLS = {
    "write": ("ksys_write", "__x64_sys_write", "__sys_sendto", "__x64_sys_sendto"),
    "read": ("ksys_read", "__x64_sys_read", "__sys_recvfrom", "__x64_sys_recvfrom"),
    "epoll_pwait": ("do_epoll_wait", "__x64_sys_epoll_pwait", "__x64_sys_epoll_wait"),
}
KERNEL = "kernel"


def _server(name: str, port: int, row: Workload) -> list[str]:
    server = next(server for server in SERVERS if server.name == name)
    return server.command(sys.executable, row, port)


def cpu(names: tuple[str, ...], plan: Plan) -> dict[str, float]:
    """CPU per plaintext request of servers from the comparison, in microseconds, measured in turns.

    :raises ServerFailed: one did not answer.
    """
    row = {name: Cell() for name in names}

    def start(key: Key) -> AbstractContextManager[Callable[[], Any]]:
        server = next(server for server in SERVERS if server.name == key[1])
        return session(server, sys.executable, PLAINTEXT, plan)

    keys = {(PLAINTEXT.name, name): cell for name, cell in row.items()}
    measure_rounds(keys, ROUNDS, WINDOWS, True, start, lambda line: None)
    costs: dict[str, float] = {}
    for name, cell in row.items():
        median = cell.median("cost")
        if median is None:
            raise ServerFailed(cell.failure or "no sample")
        costs[name] = median
    return costs


def kernel_shares(name: str, plan: Plan) -> dict[str, float]:
    """Which shares of a plaintext request's CPU time pass in the kernel: in the system calls, and in all.

    :raises ServerFailed: it did not answer, or there is no perf.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "perf.data")
        with ServerProcess(_server(name, port, PLAINTEXT), port, plan.server_cpu, str(ROOT)) as process:
            check(PLAINTEXT, port)
            load = command(PLAINTEXT, process, 0, plan.warm_up + plan.seconds)
            with running(load, plan.load_cpu) as popen:
                pids = ",".join(map(str, process.pids()))
                options = ["-e", "cpu-clock", "-F", str(SAMPLES), "-g", "-p", pids, "-o", data]
                _run_tool("perf", "record", *options, "--", "sleep", str(plan.seconds))
                finish(popen, LIMIT)
        report = _run_tool("perf", "report", "-i", data, "--stdio", "--no-call-graph", "--children", "--sort", "sym")
    return parse_report(report)


def parse_report(text: str) -> dict[str, float]:
    """The shares of the kernel and of the system calls in a report of perf with the columns children, self, symbol."""
    lines = [line.split() for line in text.splitlines() if line[:1] == " " and "%" in line]
    rows = [(float(line[0][:-1]) / 100, float(line[1][:-1]) / 100, line[2], line[3]) for line in lines if len(line) > 3]
    shares = {KERNEL: sum(own for _, own, where, _ in rows if where == "[k]")}
    for call, names in SYSTEM_CALLS.items():
        shares[call] = max((whole for whole, _, where, name in rows if where == "[k]" and name in names), default=0.0)
    return shares


def _run_tool(*arguments: str) -> str:
    """Run a program and return its output.

    :raises ServerFailed: it is not there or failed.
    """
    if shutil.which(arguments[0]) is None:
        raise ServerFailed(NO_TOOL.format(arguments[0], TOOLS[arguments[0]]))
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        raise ServerFailed(f"{arguments[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout


def system_calls(name: str, plan: Plan) -> dict[str, float]:
    """System calls per plaintext request, by name, as strace counts them.

    :raises ServerFailed: it did not answer, or there is no strace.
    """
    if shutil.which("strace") is None:
        raise ServerFailed(NO_TOOL.format("strace", TOOLS["strace"]))
    port = free_port()
    with tempfile.NamedTemporaryFile("r") as summary:
        with ServerProcess(_server(name, port, PLAINTEXT), port, plan.server_cpu, str(ROOT)) as process:
            check(PLAINTEXT, port)
            pids = [option for pid in process.pids() for option in ("-p", str(pid))]
            tracer = ["strace", "-q", "-c", "-f", "-U", "name,calls", "-o", summary.name, *pids]
            with start_pinned(tracer, None, stderr=subprocess.PIPE, text=True) as strace:
                try:
                    seen = run(command(PLAINTEXT, process, 0, SLOW_LOAD), plan.load_cpu, LIMIT)
                finally:
                    strace.send_signal(signal.SIGINT)  # it lets go of the server, and sums up
                    error = strace.communicate(timeout=LIMIT)[1]
        counts = parse_summary(summary.read())
    if not counts:
        raise ServerFailed(f"strace: {(error.strip().splitlines() or ['nothing was counted'])[-1]}")
    return {call: count / seen["requests"] for call, count in counts.items()}


def parse_summary(text: str) -> dict[str, int]:
    """The counts in a summary of strace with the columns name and calls."""
    fields = [line.split() for line in text.splitlines()]
    return {line[0]: int(line[1]) for line in fields if len(line) == 2 and line[1].isdigit() and line[0] != "total"}


def _mark(port: int) -> int:
    """Begin or end a segment of callgrind.

    :return: how many requests there were since the last one.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request("GET", "/mark")
        return int(connection.getresponse().read())
    except (OSError, ValueError) as error:
        raise ServerFailed(f"no mark: {error!r}") from error
    finally:
        connection.close()


def instructions(plan: Plan) -> tuple[float, dict[str, float]]:
    """Instructions of a plaintext request in the compiled stack outside of the kernel, and those of every part.

    :raises ServerFailed: the server did not answer.
    :raises CountFailed: there is no valgrind.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "callgrind"
        arguments = [valgrind_path(), "--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={output}"]
        arguments += _server("asgiserve", port, PROFILED)
        os.environ["PYTHONHASHSEED"] = "0"
        with ServerProcess(arguments, port, plan.server_cpu, str(ROOT)) as process:
            for _ in range(2):  # once to warm up
                _mark(port)
                run(command(PROFILED, process, 0, SLOW_LOAD), plan.load_cpu, LIMIT)
            requests = _mark(port)
            process.stop()
        segment = output.with_suffix(".3")
        if not segment.exists():
            raise CountFailed("callgrind has not written the segment")
        with segment.open(errors="replace") as file:
            graph = read(file)
    charged = charge(graph, part_of)
    return sum(graph.own.values()) / requests, {part: cost / requests for part, cost in charged.items()}
