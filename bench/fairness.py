"""How evenly workers share their clients: ``python -m bench.fairness``. Linux only; wrk has to be installed.

A server with some workers is started, loaded and stopped, and each worker says what it has had. No process is pinned
to a core: which worker is awake is a part of the question. *Busiest* is how many times its fair share the busiest
worker has had, of the connections where they are kept open, else of the requests, which have one each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from . import ROOT
from .command import names, say, unwind_on_termination
from .process import ServerFailed, ServerProcess, free_port

LOOPS = ["uvloop", "asyncio"]
SOCKETS = ["shared", "own"]
LOADS = ["short", "keep-alive-64", "keep-alive-256", "streams-at-once", "streams-in-turn", "blocking"]
STREAMS = 1000
BLOCKED = 0.05
"""Seconds for which each 20th request of the load "blocking" holds its worker up."""
ARRIVALS = 300
"""Connections per second of that load."""
PATIENCE = 30.0
REQUEST = b"GET /%b HTTP/1.1\r\nHost: test\r\n\r\n"


class Counting:
    """The application: it counts, and writes down what it has counted when it is shut down."""

    def __init__(self) -> None:
        self.requests = 0
        self.clients: set[Any] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers with a byte; at ``/stream`` more seems to come, for ever, and ``/block`` takes its time."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.write_down()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.requests += 1
        self.clients.add(scope["client"])
        if scope["path"] == "/block":
            time.sleep(BLOCKED)  # noqa: ASYNC251, that is what it is for
        is_stream = scope["path"] == "/stream"
        length = b"100" if is_stream else b"1"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": b"x", "more_body": is_stream})
        if is_stream:
            await asyncio.Event().wait()

    def write_down(self) -> None:
        """Leaves the counts in a file of this process."""
        counted = {"requests": self.requests, "connections": len(self.clients)}
        Path(os.environ["FAIRNESS"], str(os.getpid())).write_text(json.dumps(counted))


app = Counting()


class Shares(NamedTuple):
    """What came of one run: counts by worker; requests per second and CPU microseconds per request of all; seconds that
    the slowest of 20 quick requests takes, if they were timed."""

    requests: list[int]
    connections: list[int]
    rate: float
    cost: float
    p95: float


def load_with_wrk(port: int, connections: int, seconds: int, *more: str) -> None:
    """Requests as fast as they are answered. Raises ServerFailed for any that is not."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *more, f"http://127.0.0.1:{port}/"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    except FileNotFoundError as error:
        raise ServerFailed("wrk was not found on PATH: install it (Debian, Ubuntu: apt install wrk)") from error
    wrong = [line.strip() for line in done.stdout.splitlines() if "Socket errors" in line or "Non-2xx" in line]
    if done.returncode or wrong:
        raise ServerFailed(f"wrk: {wrong or done.stderr}")


def open_streams(port: int, count: int, at_once: bool) -> list[socket.socket]:
    """Long connections, begun together or one when the last one has been answered."""
    opened: list[socket.socket] = []
    for _ in range(count):
        sock = socket.socket()
        opened.append(sock)
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        if not at_once:
            _ask([sock])
    if at_once:
        _ask(opened)
    return opened


def _ask(socks: list[socket.socket]) -> None:
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_WRITE)
        left = len(socks)
        while left:
            ready = selector.select(PATIENCE)
            if not ready:
                raise ServerFailed(f"{left} streams are not answered")
            for key, events in ready:
                sock: Any = key.fileobj
                if events & selectors.EVENT_WRITE:
                    sock.sendall(REQUEST % b"stream")
                    selector.modify(sock, selectors.EVENT_READ)
                elif not sock.recv(65536):
                    raise ServerFailed("a stream was closed")
                else:
                    selector.unregister(sock)
                    left -= 1


async def arrive(port: int, seconds: int) -> float:
    """New connections at a steady rate, whether the last ones are answered or not.

    :return: the time in which 95 of 100 requests are answered that do not block themselves.
    """
    times: list[float] = []

    async def ask(number: int) -> None:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = b"quick" if number % 20 else b"block"
        writer.write((REQUEST % path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await reader.read()
        writer.close()
        if number % 20:
            times.append(time.perf_counter() - began)

    asked: list[asyncio.Task[None]] = []
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        while len(asked) < passed * ARRIVALS:
            asked.append(asyncio.create_task(ask(len(asked))))
        await asyncio.sleep(0.001)
    await asyncio.wait_for(asyncio.gather(*asked), PATIENCE)
    return statistics.quantiles(times, n=20)[-1]


def load(name: str, port: int, seconds: int) -> tuple[list[socket.socket], float]:
    """Loads a server.

    :return: connections that are to stay open until it has been looked at, and a time if one was taken, else 0.
    """
    if name == "short":
        load_with_wrk(port, 64, seconds, "-H", "Connection: close")
    elif name.startswith("keep-alive-"):
        load_with_wrk(port, int(name.rpartition("-")[2]), seconds)
    elif name == "blocking":
        return [], asyncio.run(arrive(port, seconds))
    else:
        return open_streams(port, STREAMS, name == "streams-at-once"), 0.0
    return [], 0.0


def measure(workers: int, loop: str, sockets: str, name: str, seconds: int) -> Shares:
    """One run on a new server. Raises ServerFailed."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FAIRNESS"] = folder
        command = [sys.executable, "-m", "asgiserve", "bench.fairness:app", "--port", str(port), "--loop", loop]
        command += ["--workers", str(workers), "--worker-sockets", sockets, "--no-access-log"]
        command += ["--timeout-graceful-shutdown", "2", "--backlog", "4096"]
        with ServerProcess(command, port, None, str(ROOT)) as server:
            deadline = time.monotonic() + PATIENCE
            while not server.said("asgiserve running on"):
                if time.monotonic() > deadline:
                    raise ServerFailed(f"not all workers are ready: {server.last_line()}")
                time.sleep(0.02)
            time.sleep(0.5)
            before, began = server.cpu_seconds(), time.monotonic()
            opened, p95 = load(name, port, seconds)
            wall, cpu = time.monotonic() - began, server.cpu_seconds() - before
            for sock in opened:
                sock.close()
            server.stop()
        counted = [json.loads(path.read_text()) for path in Path(folder).iterdir()]
    if len(counted) != workers:
        raise ServerFailed(f"{len(counted)} of {workers} workers have counted")
    requests = [one["requests"] for one in counted]
    total = sum(requests)
    return Shares(requests, [one["connections"] for one in counted], total / wall, cpu / total * 1e6, p95)


def busiest(counts: list[int]) -> float:
    """How many times its fair share the busiest worker has."""
    return max(counts) * len(counts) / sum(counts)


def deviation(counts: list[int]) -> float:
    """The standard deviation, relative to the fair share."""
    return statistics.pstdev(counts) * len(counts) / sum(counts)


def rows(options: argparse.Namespace) -> Iterator[str]:
    """A Markdown table, line by line as it is measured. Each figure is the median of the rounds."""
    columns = ["workers", "load", "loop", "sockets", "busiest", "deviation", "requests/s", "µs each", "p95 ms"]
    yield f"| {' | '.join(columns)} |"
    yield "|--:|---|---|---|--:|--:|--:|--:|--:|"
    for workers in options.workers:
        for name in options.loads:
            for loop in options.loops:
                for sockets in options.sockets:
                    runs = [measure(workers, loop, sockets, name, options.seconds) for _ in range(options.rounds)]
                    counts = [run.connections if "-" in name else run.requests for run in runs]
                    figures = [
                        f"{statistics.median(map(busiest, counts)):.2f}",
                        f"{statistics.median(map(deviation, counts)):.2f}",
                        f"{statistics.median(run.rate for run in runs):.0f}",
                        f"{statistics.median(run.cost for run in runs):.0f}",
                        f"{statistics.median(run.p95 for run in runs) * 1e3:.1f}" if name == "blocking" else "",
                    ]
                    yield f"| {workers} | {name} | {loop} | {sockets} | {' | '.join(figures)} |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--workers", type=lambda text: [int(part) for part in text.split(",")], default=[2, 4, 8])
    parser.add_argument("--loads", type=names(LOADS), default=LOADS, metavar="LOAD,...", help=", ".join(LOADS))
    parser.add_argument("--loops", type=names(LOOPS), default=LOOPS, metavar="LOOP,...")
    parser.add_argument("--sockets", type=names(SOCKETS), default=SOCKETS, metavar="KIND,...")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="length of a run under load (default 3)")
    options = parser.parse_args()
    unwind_on_termination()
    say("measuring")
    for row in rows(options):
        print(row, flush=True)


if __name__ == "__main__":
    main()
