"""What a benchmark knows about a server, and which servers can run here."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .scratch import NotCompiled

Arguments = Callable[[Any, int], list[str]]
Chosen = dict[str, tuple["Server", str]]


@dataclass(frozen=True)
class Server:
    """One column.

    ``arguments`` make, from a workload and a port, what follows the interpreter on the command line. ``probe`` is
    Python code that prints the versions, and fails where the server cannot run. ``rival`` names the server that the
    pure stack is compared with on the same interpreter and loop. ``canned`` is a server that only takes the rows which
    can do without a real one. ``lacks`` are attributes of workloads that it has nothing for. ``optional`` ones are
    measured only where they are named. ``warm_up`` is the least warm-up in seconds. ``program`` makes what runs in
    place of an interpreter.
    """

    name: str
    label: str
    arguments: Arguments
    probe: str
    rival: Optional[str] = None
    pypy: bool = False
    canned: bool = False
    lacks: frozenset[str] = frozenset()
    optional: bool = False
    warm_up: float = 0.0
    program: Optional[Callable[[], str]] = None

    def handles(self, workload: Any) -> bool:
        """Whether this server can do such work at all."""
        return (workload.canned or not self.canned) and not any(getattr(workload, name) for name in self.lacks)

    def command(self, python: str, workload: Any, port: int) -> list[str]:
        """The command line that starts it."""
        return [python if self.program is None else self.program(), *self.arguments(workload, port)]


def package_probe(*distributions: str) -> str:
    """Code that imports packages and prints their versions as installed."""
    lines = [
        *(f"import {name}" for name in distributions),
        "from importlib.metadata import version",
        f"print(', '.join(name + ' ' + version(name) for name in {distributions}))",
    ]
    return "\n".join(lines)


def asgiserve_probe(stack: str, *loops: str) -> str:
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


def probe(server: Server, python: str, root: str) -> tuple[Optional[str], str]:
    """Ask an interpreter whether it can run a server; compile the server if need be.

    :return: the versions and an empty string, or None and a one-line reason.
    """
    try:
        if server.program is not None:
            server.program()
        done = subprocess.run([python, "-c", server.probe], cwd=root, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired, NotCompiled) as error:
        return None, str(error)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["failed"])[-1]
    return done.stdout.strip(), ""


def choose(
    servers: list[Server], names: list[str], pypy: Optional[str], root: str
) -> tuple[Chosen, dict[str, str], dict[str, str]]:
    """Probe every wanted server.

    :return: the servers that can run, each with its interpreter; their versions; why the others cannot.
    """
    chosen: Chosen = {}
    versions, skipped = {}, {}
    for server in servers:
        if server.name not in names:
            continue
        python = pypy if server.pypy else sys.executable
        if python is None:
            skipped[server.name] = "no PyPy was named"
            continue
        found, reason = probe(server, python, root)
        if found is None:
            skipped[server.name] = reason
        else:
            chosen[server.name] = (server, python)
            versions[server.name] = found
    return chosen, versions, skipped
