"""The table of servers: how each one is started, and what it needs.

A new server is one entry here. Everybody gets one worker, the fastest event loop it offers and no access log;
everything else stays at its default, pings and compression included.
"""

from __future__ import annotations

from ..servers import Arguments, Server, asgiserve_probe, package_probe
from .workloads import Workload

BASELINE = "uvicorn"


def _asgiserve(http: str) -> Arguments:
    def arguments(workload: Workload, port: int) -> list[str]:
        options = ["--http", http, "--loop", "uvloop", "--no-access-log"]
        return ["-m", "asgiserve", workload.app, "--port", str(port), *options]

    return arguments


def _uvicorn(websocket: str, http: str = "httptools") -> Arguments:
    def arguments(workload: Workload, port: int) -> list[str]:
        options = ["--ws", websocket, "--http", http, "--loop", "uvloop", "--no-access-log"]
        return ["-m", "uvicorn", workload.app, "--port", str(port), *options]

    return arguments


def _granian(workload: Workload, port: int) -> list[str]:
    options = ["--workers", "1", "--runtime-threads", "1", "--http", "1", "--loop", "uvloop", "--no-access-log"]
    return ["-m", "granian", workload.app, "--port", str(port), "--interface", "asgi", *options]


def _hypercorn(workload: Workload, port: int) -> list[str]:
    return ["-m", "hypercorn", workload.app, "--bind", f"127.0.0.1:{port}", "--worker-class", "uvloop"]


def _socketify(workload: Workload, port: int) -> list[str]:
    # It compresses only when told to.
    options = ["--interface", "asgi", "--lifespan", "off", "--ws-per-message-deflate", str(workload.deflate)]
    return ["-m", "socketify", workload.app, "--port", str(port), *options]


def _picows(workload: Workload, port: int) -> list[str]:
    return ["-m", "bench.websocket.bare", "--app", workload.app.split(":")[1], "--port", str(port)]


SERVERS = [
    Server("asgiserve", "asgiserve", _asgiserve("llhttp"), asgiserve_probe("compiled", "uvloop")),
    Server(
        "asgiserve-pure",
        "asgiserve pure",
        _asgiserve("h11"),
        asgiserve_probe("pure", "uvloop", "wsproto"),
        rival="uvicorn-wsproto",
    ),
    Server(
        BASELINE,
        "uvicorn websockets-sansio",
        _uvicorn("websockets-sansio"),
        package_probe("uvicorn", "websockets", "httptools", "uvloop"),
    ),
    Server(
        "uvicorn-legacy",
        "uvicorn websockets",
        _uvicorn("websockets"),
        package_probe("uvicorn", "websockets", "httptools", "uvloop"),
    ),
    Server(
        "uvicorn-wsproto",
        "uvicorn wsproto",
        _uvicorn("wsproto", "h11"),
        package_probe("uvicorn", "wsproto", "h11", "uvloop"),
    ),
    Server("granian", "granian", _granian, package_probe("granian", "uvloop")),
    Server("hypercorn", "hypercorn", _hypercorn, package_probe("hypercorn", "wsproto", "h11", "uvloop")),
    Server("socketify", "socketify", _socketify, package_probe("socketify")),
    Server("picows", "picows, no ASGI", _picows, package_probe("picows", "uvloop"), canned=True),
]
