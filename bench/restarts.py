"""Whether requests fail while workers come and go: ``python -m bench.restarts``. Linux only.

64 clients ask all the time, half of them on connections that they keep; see tests/e2e/load.py for what counts as a
failure. Meanwhile workers are restarted, added, removed and recycled, one kind after the other, until each kind has
had its share of the requests.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, NamedTuple

from asgiserve import _stack
from tests.e2e.group import Group
from tests.e2e.load import CLIENTS, Load

from .command import names, say, unwind_on_termination

APP = "stress_app:app"
BETWEEN = 1000
"""Requests between two operations."""
PATIENCE = 120.0
CLOSING = 15.0
"""Seconds that workers may take to end."""


class Operation(NamedTuple):
    """What is done again and again: the options of the server, and one turn, which ends when workers have changed."""

    options: tuple[str, ...]
    turn: Callable[[Group, Load], None]


def replaced(server: Group, load: Load, count: int, times: int) -> None:
    """Waits, under load, until so many more workers are replaced than the `count` of them before."""
    load.until(lambda: server.count("in place of") >= count + times, PATIENCE, "workers are replaced")


def hang_up(server: Group, load: Load) -> None:
    """All workers are replaced."""
    count, workers = server.count("in place of"), len(server.serving())
    server.signal(signal.SIGHUP)
    replaced(server, load, count, workers)


def add_and_remove(server: Group, load: Load) -> None:
    """One worker more, and one fewer."""
    workers = len(server.serving())
    server.signal(signal.SIGTTIN)
    load.until(lambda: len(server.serving()) == workers + 1, PATIENCE, "one worker more")
    ended = server.count("has ended")
    server.signal(signal.SIGTTOU)
    load.until(lambda: server.count("has ended") > ended, PATIENCE, "one worker fewer")


def recycle(server: Group, load: Load) -> None:
    """A worker reaches its limit."""
    replaced(server, load, server.count("in place of"), 1)


def terminate(server: Group, load: Load) -> None:
    """A worker is stopped by hand."""
    worker = server.serving()[0]
    started = server.count("serves")
    os.kill(worker, signal.SIGTERM)
    load.until(lambda: server.count("serves") > started, PATIENCE, "another worker")


def upgrade(server: Group, load: Load) -> None:
    """A new program takes the place of the old one."""
    server.upgrade()


OPERATIONS = {
    "SIGHUP": Operation(("--workers", "2"), hang_up),
    "SIGHUP of one worker": Operation(("--workers", "1"), hang_up),
    "SIGTTIN and SIGTTOU": Operation(("--workers", "2"), add_and_remove),
    "SIGTTIN and SIGTTOU with own sockets": Operation(("--workers", "2", "--worker-sockets", "own"), add_and_remove),
    "limit of requests": Operation(
        ("--workers", "2", "--limit-max-requests", "2000", "--limit-max-requests-jitter", "1000"), recycle
    ),
    "limit of age": Operation(("--workers", "2", "--limit-worker-age", "2"), recycle),
    "limit of memory": Operation(("--workers", "2", "--limit-worker-memory", "10"), recycle),
    "SIGTERM to a worker": Operation(("--workers", "2"), terminate),
    "SIGUSR2": Operation(("--workers", "2"), upgrade),
    "SIGUSR2 with own sockets": Operation(("--workers", "2", "--worker-sockets", "own"), upgrade),
    "SIGUSR2 without workers": Operation((), upgrade),
}


class Result(NamedTuple):
    """What came of one kind of operation. ``files`` (int) is how many more the first process has open in the end."""

    name: str
    turns: int
    workers: int
    requests: int
    failures: list[str]
    files: int

    def __str__(self) -> str:
        return (
            f"{self.name:<20} {self.turns:>4} times, {self.workers:>4} workers, {self.requests:>8,} requests, "
            f"{len(self.failures)} failed, {self.files:+d} open files"
        )


def left_open(server: Group, files: int) -> int:
    """How many files more the first process has open, when those of workers that end are closed."""
    end = time.monotonic() + CLOSING
    more = server.open_files() - files
    while more > 0 and time.monotonic() < end:
        time.sleep(0.05)
        more = min(more, server.open_files() - files)
    return more


def run(name: str, stack: str, requests: int, options: list[str]) -> Result:
    """Repeats one operation until so many requests are answered or have failed."""
    operation = OPERATIONS[name]
    directory = Path(tempfile.mkdtemp(prefix="restarts"))
    server = Group(stack, APP, (*operation.options, "--no-access-log", *options), directory)
    turns = 0
    try:
        server.wait_up()
        files = server.open_files()
        with Load(server.address) as load:
            load.wait(BETWEEN)
            while load.total + len(load.failures) < requests:
                operation.turn(server, load)
                turns += 1
                load.wait(BETWEEN, PATIENCE)
        more = left_open(server, files)
        server.stop()
        failures = [str(failure) for failure in load.failures]
        return Result(
            name, turns, len(re.findall(r"Worker \d+ \[\d+\] serves", server.stderr())), load.total, failures, more
        )
    except BaseException:
        print(server.describe(), file=sys.stderr)
        raise
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def main() -> int:
    """Runs all kinds on one stack; 1 if a request failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.restarts", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=210_000, help="in all (default 210000)")
    parser.add_argument("--stack", choices=_stack.available(), default=_stack.available()[0])
    parser.add_argument("--only", type=names(list(OPERATIONS)), default=list(OPERATIONS), metavar="OPERATION,...")
    parser.add_argument("server", nargs="*", metavar="OPTION", help="of the server, behind --")
    options = parser.parse_args()
    unwind_on_termination()
    results = []
    for name in options.only:
        results.append(run(name, options.stack, options.requests // len(options.only), options.server))
        say(str(results[-1]))
        for failure in results[-1].failures[:10]:
            print(f"    {failure}")
    failed = sum(len(result.failures) for result in results)
    say(f"{CLIENTS} clients, {sum(result.requests for result in results):,} requests, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
