"""The table of servers: how each one is started, and what it needs.

A new server is one entry here. Everybody gets one worker, the fastest event loop it offers, and the access log only in
the rows that ask for it; everything else stays at its default.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Callable, Optional

from .workloads import Workload

Arguments = Callable[[Workload, int], list[str]]

BASELINE = "uvicorn"


@dataclass(frozen=True)
class Server:
    """One column.

    ``arguments`` follow the interpreter on the command line. ``probe`` is Python code that prints the versions, and
    fails where the server cannot run. ``rival`` names the server that the pure stack is compared with on the same
    interpreter and loop. ``warm_up`` is the least warm-up in seconds.
    """

    name: str
    label: str
    arguments: Arguments
    probe: str
    rival: Optional[str] = None
    pypy: bool = False
    canned: bool = False
    warm_up: float = 1.0

    def handles(self, workload: Workload) -> bool:
        """Whether this server can do such work at all."""
        return workload.canned or not self.canned


def _probe(*distributions: str) -> str:
    """Code that imports packages and prints their versions as installed."""
    lines = [
        *(f"import {name}" for name in distributions),
        "from importlib.metadata import version",
        f"print(', '.join(name + ' ' + version(name) for name in {distributions}))",
    ]
    return "\n".join(lines)


def _asgiserve_probe(stack: str, *loops: str) -> str:
    """Code that loads one stack of asgiserve and prints what it is made of."""
    lines = [
        "import asgiserve, asgiserve.__main__",
        "from asgiserve._stack import load",
        f"s = load({stack!r})",
        "v = [f'asgiserve {asgiserve.__version__} ({s.name}, {s.parser})']",
        *(f"import {loop}; v.append('{loop} ' + {loop}.__version__)" for loop in loops),
        "print(', '.join(v))",
    ]
    return "\n".join(lines)


def _asgiserve(http: str, loop: str) -> Arguments:
    def arguments(workload: Workload, port: int) -> list[str]:
        log = "--access-log" if workload.access_log else "--no-access-log"
        return ["-m", "asgiserve", workload.app, "--port", str(port), "--http", http, "--loop", loop, log]

    return arguments


def _uvicorn(http: str, loop: str) -> Arguments:
    def arguments(workload: Workload, port: int) -> list[str]:
        log = "--access-log" if workload.access_log else "--no-access-log"
        return ["-m", "uvicorn", workload.app, "--port", str(port), "--http", http, "--loop", loop, log]

    return arguments


def _granian(workload: Workload, port: int) -> list[str]:
    log = "--access-log" if workload.access_log else "--no-access-log"
    options = ["--workers", "1", "--runtime-threads", "1", "--http", "1", "--loop", "uvloop", log]
    return ["-m", "granian", workload.app, "--port", str(port), "--interface", "asgi", *options]


def _hypercorn(workload: Workload, port: int) -> list[str]:
    log = ["--access-logfile", "-"] if workload.access_log else []
    return ["-m", "hypercorn", workload.app, "--bind", f"127.0.0.1:{port}", "--worker-class", "uvloop", *log]


def _bare(loop: str) -> Arguments:
    def arguments(workload: Workload, port: int) -> list[str]:
        return ["-m", "bench.http.bare", "--row", workload.name, "--port", str(port), "--loop", loop]

    return arguments


SERVERS = [
    Server("asgiserve", "asgiserve", _asgiserve("llhttp", "uvloop"), _asgiserve_probe("compiled", "uvloop")),
    Server(
        "asgiserve-pure",
        "asgiserve pure",
        _asgiserve("h11", "uvloop"),
        _asgiserve_probe("pure", "uvloop"),
        rival="uvicorn-h11",
    ),
    Server(
        "asgiserve-pure-asyncio",
        "asgiserve pure, asyncio",
        _asgiserve("h11", "asyncio"),
        _asgiserve_probe("pure"),
        rival="uvicorn-h11-asyncio",
    ),
    Server(BASELINE, "uvicorn httptools", _uvicorn("httptools", "uvloop"), _probe("uvicorn", "httptools", "uvloop")),
    Server("uvicorn-h11", "uvicorn h11", _uvicorn("h11", "uvloop"), _probe("uvicorn", "h11", "uvloop")),
    Server("uvicorn-h11-asyncio", "uvicorn h11, asyncio", _uvicorn("h11", "asyncio"), _probe("uvicorn", "h11")),
    Server("granian", "granian", _granian, _probe("granian", "uvloop")),
    Server("hypercorn", "hypercorn", _hypercorn, _probe("hypercorn", "h11", "uvloop")),
    Server("bare", "bare uvloop, no parsing", _bare("uvloop"), _probe("uvloop"), canned=True),
    Server("bare-asyncio", "bare asyncio, no parsing", _bare("asyncio"), "print('asyncio')", canned=True),
    Server(
        "asgiserve-pypy",
        "asgiserve pure, PyPy",
        _asgiserve("h11", "asyncio"),
        _asgiserve_probe("pure"),
        rival="uvicorn-pypy",
        pypy=True,
        warm_up=6.0,
    ),
    Server(
        "uvicorn-pypy",
        "uvicorn h11, PyPy",
        _uvicorn("h11", "asyncio"),
        _probe("uvicorn", "h11"),
        pypy=True,
        warm_up=6.0,
    ),
]


def probe(server: Server, python: str, root: str) -> tuple[Optional[str], str]:
    """Ask an interpreter whether it can run a server.

    :return: the versions and an empty string, or None and a one-line reason.
    """
    try:
        done = subprocess.run([python, "-c", server.probe], cwd=root, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["failed"])[-1]
    return done.stdout.strip(), ""
