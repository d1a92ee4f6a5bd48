"""The client side: one checked exchange, and load by a C program that is compiled for the run."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

from .. import scratch
from ..process import ServerFailed, ServerProcess
from .workloads import Workload

CHECK_TIMEOUT = 15.0
SOURCE = Path(__file__).with_name("load.c")


def command(workload: Workload, process: ServerProcess, warm_up: float = 0, seconds: float = 0) -> list[str]:
    """The command line of the load generator."""
    made = [scratch.program(SOURCE, "websocket-load"), workload.kind, str(process.port), str(workload.connections)]
    made += [str(workload.depth), str(warm_up), str(seconds)]
    made += [scratch.write("sent", workload.sent), scratch.write("expected", workload.expected)]
    made += [scratch.write("compressed", workload.compressed) if workload.deflate else "-"]
    return [*made, ",".join(map(str, process.pids()))]


def check(workload: Workload, port: int) -> None:
    """Exchange messages with another client implementation, two connections at a time where both are to get them.

    :raises ServerFailed: an answer is missing or not the expected one.
    """
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    compression = "deflate" if workload.deflate else None
    try:
        with ExitStack() as stack:
            clients = []
            for _ in range(2):
                sock = socket.create_connection(("127.0.0.1", port), CHECK_TIMEOUT)
                uri = f"ws://127.0.0.1:{port}/"
                clients.append(stack.enter_context(connect(uri, sock=sock, compression=compression)))
            for _ in range(2):
                clients[0].send(workload.message)
                for client in clients if workload.kind == "broadcast" else clients[:1]:
                    answer = client.recv(CHECK_TIMEOUT)
                    if answer != workload.message:
                        raise ServerFailed(f"wrong answer: {type(answer).__name__} of length {len(answer)}")
    except (OSError, WebSocketException) as error:
        raise ServerFailed(f"no answer: {error!r}") from error
