"""The table of servers: how each one is started, and what it needs.

A new server is one entry here. Everybody gets one worker, the fastest event loop it offers, and the access log only in
the rows that ask for it; where connections are to stay open without traffic, they may. Everything else stays at its
default.
"""

from __future__ import annotations

from ..servers import Arguments, Server, asgiserve_probe, package_probe
from . import canned
from .certificate import certificate
from .workloads import Workload

BASELINE = "uvicorn"
#: The baseline of the rows over HTTP/2, which uvicorn speaks with zttp only.
HTTP2_BASELINE = "uvicorn-zttp"
NO_HTTP2 = frozenset({"http2"})

# Longer than any row keeps silent connections.
KEEP = "60"
CONNECTIONS = "10000"


def _log(workload: Workload) -> str:
    return "--access-log" if workload.access_log else "--no-access-log"


def _ssl_options(workload: Workload) -> list[str]:
    if not workload.tls:
        return []
    return ["--ssl-certfile", certificate().certificate, "--ssl-keyfile", certificate().key]


def _uvicorn(http: str, loop: str, module: str = "uvicorn") -> Arguments:
    def arguments(workload: Workload, port: int) -> list[str]:
        options = ["--http", http, "--loop", loop, _log(workload), *_ssl_options(workload)]
        if workload.http2:
            options.append("--http2")
        if workload.is_silent:
            options += ["--timeout-keep-alive", KEEP]
        return ["-m", module, workload.app, "--port", str(port), *options]

    return arguments


def _asgiserve(http: str, loop: str) -> Arguments:
    return _uvicorn(http, loop, "asgiserve")


def _granian(workload: Workload, port: int) -> list[str]:
    version = "2" if workload.http2 else "1"
    options = ["--workers", "1", "--runtime-threads", "1", "--http", version, "--loop", "uvloop", _log(workload)]
    if workload.tls:
        options += ["--ssl-certificate", certificate().certificate, "--ssl-keyfile", certificate().key]
    if workload.is_silent:
        options += ["--backpressure", CONNECTIONS]
    return ["-m", "granian", workload.app, "--port", str(port), "--interface", "asgi", *options]


def _hypercorn(workload: Workload, port: int) -> list[str]:
    options = ["--bind", f"127.0.0.1:{port}", "--worker-class", "uvloop"]
    if workload.access_log:
        options += ["--access-logfile", "-"]
    if workload.tls:
        options += ["--certfile", certificate().certificate, "--keyfile", certificate().key]
    if workload.is_silent:
        options += ["--keep-alive", KEEP]
    return ["-m", "hypercorn", workload.app, *options]


def _gunicorn(workload: Workload, port: int) -> list[str]:
    # The control socket has one place per user, where another one may be.
    options = ["--bind", f"127.0.0.1:{port}", "--worker-class", "asgi", "--asgi-loop", "uvloop", "--no-control-socket"]
    if workload.access_log:
        options += ["--access-logfile", "-"]
    if workload.tls:
        options += ["--certfile", certificate().certificate, "--keyfile", certificate().key]
    if workload.http2:
        options += ["--http-protocols", "h2,h1"]
        options += [] if workload.tls else ["--http2-cleartext", "prior-knowledge"]
    if workload.is_silent:
        options += ["--keep-alive", KEEP, "--worker-connections", CONNECTIONS]
    return ["-m", "gunicorn", workload.app, *options]


def _fastpysgi(workload: Workload, port: int) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port)]
    if workload.tls:
        options += ["--certfile", certificate().certificate, "--keyfile", certificate().key]
    return ["-c", "import fastpysgi; fastpysgi.run_from_cli()", workload.app, *options]


def _socketify(workload: Workload, port: int) -> list[str]:
    options = ["--interface", "asgi", "--lifespan", "off", *_ssl_options(workload)]
    return ["-m", "socketify", workload.app, "--port", str(port), *options]


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
        asgiserve_probe("pure", "uvloop", "hpack"),
        rival="uvicorn-h11",
    ),
    Server(
        "asgiserve-pure-asyncio",
        "asgiserve pure, asyncio",
        _asgiserve("h11", "asyncio"),
        asgiserve_probe("pure"),
        rival="uvicorn-h11-asyncio",
        optional=True,
    ),
    Server(
        BASELINE,
        "uvicorn httptools",
        _uvicorn("httptools", "uvloop"),
        package_probe("uvicorn", "httptools", "uvloop"),
        lacks=NO_HTTP2,
    ),
    Server(HTTP2_BASELINE, "uvicorn zttp", _uvicorn("zttp", "uvloop"), package_probe("uvicorn", "zttp", "uvloop")),
    Server(
        "uvicorn-h11",
        "uvicorn h11",
        _uvicorn("h11", "uvloop"),
        package_probe("uvicorn", "h11", "uvloop"),
        lacks=NO_HTTP2,
    ),
    Server(
        "uvicorn-h11-asyncio",
        "uvicorn h11, asyncio",
        _uvicorn("h11", "asyncio"),
        package_probe("uvicorn", "h11"),
        lacks=NO_HTTP2,
        optional=True,
    ),
    Server("granian", "granian", _granian, package_probe("granian", "uvloop")),
    Server("hypercorn", "hypercorn", _hypercorn, package_probe("hypercorn", "h2", "h11", "uvloop")),
    Server("gunicorn", "gunicorn asgi", _gunicorn, package_probe("gunicorn", "gunicorn_h1c", "h2", "uvloop")),
    Server("fastpysgi", "fastpysgi", _fastpysgi, package_probe("fastpysgi"), lacks=frozenset({"access_log", "http2"})),
    Server("socketify", "socketify", _socketify, package_probe("socketify"), lacks=frozenset({"access_log", "http2"})),
    Server("bare", "bare uvloop, no parsing", _bare("uvloop"), package_probe("uvloop"), canned=True),
    Server(
        "bare-asyncio",
        "bare asyncio, no parsing",
        _bare("asyncio"),
        "print('asyncio')",
        canned=True,
        optional=True,
    ),
    Server(
        "epoll",
        "epoll in C, no parsing",
        canned.arguments,
        "import subprocess; print(subprocess.check_output(['cc', '--version'], text=True).splitlines()[0])",
        canned=True,
        lacks=frozenset({"tls"}),
        program=canned.program,
    ),
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
        lacks=NO_HTTP2,
        warm_up=6.0,
    ),
]
