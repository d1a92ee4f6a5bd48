"""Command line of the endurance run.

All kinds of work in turn, WebSockets and new connections among them, until so many requests are answered. Ten times on
the way the server says what it holds. What it holds after a tenth of the way is the measure: by then every cache is
full that is going to be.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

from asgiserve import _stack

from .. import ROOT
from ..command import add_cores, check_cores, say, unwind_on_termination
from ..http.load import command
from ..http.workloads import WORKLOADS, Workload
from ..load import run
from ..process import ServerFailed, ServerProcess, free_port
from ..scratch import NotCompiled
from ..websocket.load import command as websocket_command
from ..websocket.workloads import WORKLOADS as WEBSOCKET_WORKLOADS

HTTP = {"compiled": "llhttp", "pure": "h11"}
ROWS = ("plaintext", "pipelined", "browser", "post-1k", "post-64k", "stream", "connect")
#: Seconds of each kind of work before the next.
TURN = 0.1
LIMIT = 60.0
CHECKPOINTS = 10

#: What may be more at the end than after a tenth of the way: objects and blocks of memory in use vary a little with
#: what was freed last, the memory of the process with how it is spread.
ALLOWED = {"objects": 200, "blocks": 1000, "memory": 1 << 20}


def rows() -> list[Workload]:
    """The kinds of work, all for one application."""
    found = {row.name: row for row in WORKLOADS}
    return [replace(found[name], path="/stream" if name == "stream" else found[name].path) for name in ROWS]


def turn(process: ServerProcess, cpu: int) -> None:
    """Every kind of work once.

    :raises ServerFailed: an answer is wrong or missing.
    """
    for row in rows():
        run(command(row, process, 0, TURN), cpu, LIMIT)
    websocket = next(row for row in WEBSOCKET_WORKLOADS if row.name == "echo-64")
    run(websocket_command(websocket, process, 0, TURN), cpu, LIMIT)


def ask(port: int, path: str) -> Any:
    """What the server says of itself.

    :raises ServerFailed: it says nothing.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    except (OSError, ValueError) as error:
        raise ServerFailed(f"no figures: {error!r}") from error
    finally:
        connection.close()


def grown(taken: list[dict[str, int]]) -> dict[str, int]:
    """What is more at the end than at the first checkpoint, by more than is allowed."""
    differences = {name: taken[-1][name] - taken[0][name] for name in ALLOWED}
    return {name: more for name, more in differences.items() if more > ALLOWED[name]}


def _line(stack: str, taken: dict[str, int]) -> str:
    return (
        f"{stack}: {taken['requests']:>9,} requests, {taken['memory'] / (1 << 20):.2f} MiB, "
        f"{taken['blocks']:,} blocks, {taken['objects']:,} objects"
    )


def soak(stack: str, requests: int, server_cpu: int, load_cpu: int) -> list[dict[str, int]]:
    """Load one stack until so many requests are answered.

    :return: what it held at every checkpoint.
    :raises ServerFailed: it did not answer.
    """
    port = free_port()
    options: list[Any] = ["--http", HTTP[stack], "--port", port, "--no-access-log"]
    arguments = [sys.executable, "-m", "asgiserve", "bench.soak.app:app", *map(str, options)]
    taken: list[dict[str, int]] = []
    with ServerProcess(arguments, port, server_cpu, str(ROOT)) as process, process.explained():
        for checkpoint in range(1, CHECKPOINTS + 1):
            due = requests * checkpoint / CHECKPOINTS
            while ask(port, "/count") < due:
                turn(process, load_cpu)
            taken.append(ask(port, "/figures"))
            say(_line(stack, taken[-1]))
    return taken


def main() -> int:
    """Run the stacks one after the other; 1 if one of them grew."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description="Show that nothing grows over many requests, on each stack. Linux."
    )
    parser.add_argument("--requests", type=int, default=1_000_000, help="per stack (default 1000000)")
    parser.add_argument("--stacks", nargs="+", choices=_stack.available(), default=_stack.available())
    add_cores(parser)
    options = parser.parse_args()
    check_cores(parser, options)
    unwind_on_termination()
    failed = False
    for stack in options.stacks:
        try:
            more = grown(soak(stack, options.requests, options.server_cpu, options.load_cpu))
        except (ServerFailed, NotCompiled) as error:
            say(f"{stack}: FAILED: {error}")
            failed = True
            continue
        failed = failed or bool(more)
        texts = ", ".join(
            f"{count:,} {'bytes of memory' if name == 'memory' else name}" for name, count in more.items()
        )
        say(f"{stack}: GREW by {texts}" if more else f"{stack}: nothing has grown")
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
