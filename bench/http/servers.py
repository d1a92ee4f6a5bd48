"""The table of servers: how each one is started, and what it needs.

A new server is one entry here. Everybody gets one worker, the fastest event loop it offers, and the access log only in
the rows that ask for it; everything else stays at its default.
"""

from __future__ import annotations

from ..servers import Arguments, Server, asgiserve_probe, package_probe
from .certificate import certificate
from .workloads import Workload

BASELINE = "uvicorn"


def _ssl_options(workload: Workload) -> list[str]:
    if not workload.tls:
        return []
    return ["--ssl-certfile", certificate().certificate, "--ssl-keyfile", certificate().key]


def _asgiserve(http: str, loop: str) -> Arguments:
    def arguments(workload: Workload, port: int) -> list[str]:
        log = "--access-log" if workload.access_log else "--no-access-log"
        options = ["--http", http, "--loop", loop, log, *_ssl_options(workload)]
        return ["-m", "asgiserve", workload.app, "--port", str(port), *options]

    return arguments


def _uvicorn(http: str, loop: str) -> Arguments:
    def arguments(workload: Workload, port: int) -> list[str]:
        log = "--access-log" if workload.access_log else "--no-access-log"
        options = ["--http", http, "--loop", loop, log, *_ssl_options(workload)]
        return ["-m", "uvicorn", workload.app, "--port", str(port), *options]

    return arguments


def _granian(workload: Workload, port: int) -> list[str]:
    log = "--access-log" if workload.access_log else "--no-access-log"
    options = ["--workers", "1", "--runtime-threads", "1", "--http", "1", "--loop", "uvloop", log]
    if workload.tls:
        options += ["--ssl-certificate", certificate().certificate, "--ssl-keyfile", certificate().key]
    return ["-m", "granian", workload.app, "--port", str(port), "--interface", "asgi", *options]


def _hypercorn(workload: Workload, port: int) -> list[str]:
    options = ["--bind", f"127.0.0.1:{port}", "--worker-class", "uvloop"]
    if workload.access_log:
        options += ["--access-logfile", "-"]
    if workload.tls:
        options += ["--certfile", certificate().certificate, "--keyfile", certificate().key]
    return ["-m", "hypercorn", workload.app, *options]


def _bare(loop: str) -> Arguments:
    def arguments(workload: Workload, port: int) -> list[str]:
        options = ["--port", str(port), "--loop", loop, *_ssl_options(workload)]
        return ["-m", "bench.http.bare", "--row", workload.name, *options]

    return arguments


SERVERS = [
    Server("asgiserve", "asgiserve", _asgiserve("llhttp", "uvloop"), asgiserve_probe("compiled", "uvloop")),
    Server(
        "asgiserve-pure",
        "asgiserve pure",
        _asgiserve("h11", "uvloop"),
        asgiserve_probe("pure", "uvloop"),
        rival="uvicorn-h11",
    ),
    Server(
        "asgiserve-pure-asyncio",
        "asgiserve pure, asyncio",
        _asgiserve("h11", "asyncio"),
        asgiserve_probe("pure"),
        rival="uvicorn-h11-asyncio",
    ),
    Server(
        BASELINE, "uvicorn httptools", _uvicorn("httptools", "uvloop"), package_probe("uvicorn", "httptools", "uvloop")
    ),
    Server("uvicorn-h11", "uvicorn h11", _uvicorn("h11", "uvloop"), package_probe("uvicorn", "h11", "uvloop")),
    Server("uvicorn-h11-asyncio", "uvicorn h11, asyncio", _uvicorn("h11", "asyncio"), package_probe("uvicorn", "h11")),
    Server("granian", "granian", _granian, package_probe("granian", "uvloop")),
    Server("hypercorn", "hypercorn", _hypercorn, package_probe("hypercorn", "h11", "uvloop")),
    Server("bare", "bare uvloop, no parsing", _bare("uvloop"), package_probe("uvloop"), canned=True),
    Server("bare-asyncio", "bare asyncio, no parsing", _bare("asyncio"), "print('asyncio')", canned=True),
    Server(
        "asgiserve-pypy",
        "asgiserve pure, PyPy",
        _asgiserve("h11", "asyncio"),
        asgiserve_probe("pure"),
        rival="uvicorn-pypy",
        pypy=True,
        warm_up=6.0,
    ),
    Server(
        "uvicorn-pypy",
        "uvicorn h11, PyPy",
        _uvicorn("h11", "asyncio"),
        package_probe("uvicorn", "h11"),
        pypy=True,
        warm_up=6.0,
    ),
]
