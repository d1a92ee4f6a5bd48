"""The endpoint: metrics and probes on an address of their own, with a parent and without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import platform
import re
import signal
import socket
import stat
import sys
import time
import urllib.error
import urllib.request

import pytest

import asgiserve
from asgiserve.addresses import BindError
from asgiserve.metrics import endpoint as endpoint_module
from asgiserve.metrics.endpoint import MAX_CONNECTIONS, Endpoint
from asgiserve.metrics.snapshot import BUCKETS, REASONS, Worker
from asgiserve.server import Server, StartupError

from .figures import FakeSource, ready, snapshot
from .serving import HTTP, TIMEOUT, Process, config, get, hello, run, serving, until


@pytest.fixture
def library():
    """What writes the text."""
    return pytest.importorskip("prometheus_client", reason="the library is an extra")


# -- the endpoint


class Reply:
    """A response, as read from the wire."""

    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = dict(line.lower().split(": ", 1) for line in lines[1:])

    @property
    def text(self):
        return self.body.decode()


async def ask(address, path="/", method="GET", *fields):
    """The Reply to one request on a connection of its own; `address` is a URL or the path of a UNIX socket."""
    if address.startswith("http://"):
        host, port = address[7:].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    else:
        reader, writer = await asyncio.open_unix_connection(address)
    lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *fields, "", ""]
    writer.write("\r\n".join(lines).encode())
    try:
        return Reply(await reader.read())
    finally:
        writer.close()


def with_endpoint(source, main, stack=None, address="127.0.0.1:0", **options):
    """Runs `main(endpoint)` while an Endpoint serves."""

    async def body():
        http = "auto" if stack is None else HTTP[stack.name]
        endpoint = Endpoint(address, source, config(http=http, **options))
        await endpoint.start(asyncio.get_running_loop())
        try:
            return await main(endpoint)
        finally:
            endpoint.stop()

    return run(body())


def page(source, path="/metrics", method="GET", *fields, stack=None):
    """One Reply of an Endpoint."""
    return with_endpoint(source, lambda endpoint: ask(endpoint.urls[0], path, method, *fields), stack)


@pytest.fixture
def without_library(monkeypatch):
    """As if prometheus-client were not installed."""
    monkeypatch.setitem(sys.modules, "asgiserve.metrics.exposition", None)


def test_alive_is_whoever_answers(stack):
    reply = page(FakeSource(ready=False), "/livez", stack=stack)
    assert (reply.status, reply.body) == (200, b"ok\n")
    assert reply.fields["cache-control"] == "no-store"
    assert reply.fields["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("phases", "is_ready", "status", "text"),
    [
        (["ready"], True, 200, "ok"),
        (["ready", "booting"], True, 200, "ok"),
        (["booting", "booting"], False, 503, "not ready: 2 worker(s) starting, none ready"),
        (["booting", "stopping"], False, 503, "not ready: 1 worker(s) starting, none ready"),
        (["ready", "stopping"], False, 503, "not ready: the server is shutting down"),
        (["stopping"], False, 503, "not ready: the server is shutting down"),
        ([], False, 503, "not ready: there is no worker"),
    ],
)
def test_ready_or_the_reason_why_not(phases, is_ready, status, text):
    workers = [Worker(slot, slot, phase, 0.0, None) for slot, phase in enumerate(phases)]
    reply = page(FakeSource(*workers, ready=is_ready), "/readyz")
    assert (reply.status, reply.text) == (status, text + "\n")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/status", "/metrics"])
def test_head_is_get_without_the_body(stack, path):
    source = ready()
    get, head = page(source, path, stack=stack), page(source, path, "HEAD", stack=stack)
    assert head.status == get.status
    assert head.body == b""
    assert head.fields["content-type"] == get.fields["content-type"]
    assert abs(int(head.fields["content-length"]) - len(get.body)) < 20  # the time in it differs


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/status", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(path, method):
    reply = page(ready(), path, method)
    assert reply.status == 405
    assert reply.fields["allow"] == "get, head"


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/", "/livez%20", "//livez"])
def test_other_paths(path):
    reply = page(ready(), path)
    assert reply.status == 404
    assert "/metrics, /livez, /readyz, /status" in reply.text


def test_a_query_changes_nothing():
    assert page(ready(), "/livez?verbose=1").status == 200


def test_bad_requests_get_an_answer_and_no_traceback(stack, caplog):
    async def main(endpoint):
        url = endpoint.urls[0]
        assert (await ask(url, "no-slash")).status == 400
        assert (await ask(url, "/" + "x" * 3000)).status == 414
        assert (await ask(url, "/livez", "GET", *[f"x-{n}: y" for n in range(100)])).status == 431
        assert (await ask(url, "/livez", "GET", "Upgrade: websocket", "Connection: upgrade")).status == 200
        return await ask(url, "/livez")

    assert with_endpoint(ready(), main, stack).status == 200
    assert "Traceback" not in caplog.text


def test_status_is_all_there_is(monkeypatch):
    worker = Worker(0, 10, "ready", time.time() - 5.0, snapshot(requests=7, active=2, lag=0.5, memory=4096))
    source = FakeSource(worker, Worker(1, 11, "booting", time.time(), None), restarts={"crash": 2})
    source.past.add(snapshot(requests=3, responses=(0, 3, 0, 0, 0)))
    reply = page(source, "/status")
    assert reply.fields["content-type"] == "application/json"
    found = json.loads(reply.body)
    assert found["version"] == asgiserve.__version__
    assert found["python"] == f"{platform.python_implementation()} {platform.python_version()}"
    assert found["pid"] == os.getpid()
    assert found["ready"] is True
    assert abs(found["time"] - time.time()) < 60
    assert found["buckets"] == list(BUCKETS)
    assert found["totals"]["requests"] == 10
    assert found["totals"]["responses"] == {"1xx": 0, "2xx": 3, "3xx": 0, "4xx": 0, "5xx": 0}
    assert found["restarts"] == {**dict.fromkeys(REASONS, 0), "crash": 2}
    one, two = found["workers"]
    assert (one["slot"], one["pid"], one["phase"], one["worst_lag"]) == (0, 10, "ready", 0.5)
    assert 5.0 <= one["age"] < 60
    assert one["snapshot"]["active"] == 2
    assert one["snapshot"]["memory"] == 4096
    assert two["snapshot"] is None


def test_the_stack_is_that_of_the_server(stack):
    found = json.loads(page(ready(), "/status", stack=stack).body)
    assert (found["stack"], found["parser"]) == (stack.name, stack.parser)


def test_without_the_library_only_metrics_are_missing(without_library, caplog):
    async def main(endpoint):
        return [await ask(endpoint.urls[0], path) for path in ("/metrics", "/livez", "/readyz", "/status")]

    replies = with_endpoint(ready(), main)
    assert [reply.status for reply in replies] == [501, 200, 200, 200]
    assert replies[0].text == "/metrics needs prometheus-client: pip install 'asgiserve[metrics]'\n"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "/metrics needs prometheus-client: pip install 'asgiserve[metrics]'"
    ]


def test_the_address_is_said_and_given_back(caplog):
    caplog.set_level(logging.INFO, "asgiserve.error")
    urls = []

    async def main(endpoint):
        urls.extend(endpoint.urls)
        endpoint.stop()
        with pytest.raises(OSError):
            await ask(endpoint.urls[0], "/livez")

    with_endpoint(ready(), main)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", urls[0])
    assert f"Metrics and probes on {urls[0]}" in caplog.text


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="UNIX sockets")
def test_a_unix_socket(tmp_path):
    path = tmp_path / "m"

    async def main(endpoint):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        return await ask(str(path), "/livez")

    assert with_endpoint(ready(), main, address=f"unix:{path}", uds_permissions=0o600).status == 200
    assert not path.exists()


def test_an_address_in_use_is_one_line():
    async def main(endpoint):
        taken = Endpoint(endpoint.urls[0][7:], ready(), config())
        with pytest.raises(BindError, match=r"^Cannot listen on 127\.0\.0\.1:\d+: the address is already in use$"):
            await taken.start(asyncio.get_running_loop())
        return await ask(endpoint.urls[0], "/livez")

    assert with_endpoint(ready(), main).status == 200


def test_connections_are_limited_and_end_with_the_endpoint(stack):
    async def main(endpoint):
        host, port = endpoint.urls[0][7:].split(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(MAX_CONNECTIONS)]
        for _, writer in held:
            writer.write(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        for reader, _ in held:
            assert await reader.readuntil(b"ok\n")
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        endpoint.stop()
        for reader, writer in held:
            assert await reader.read() == b""
            writer.close()

    with_endpoint(ready(), main, stack)


def test_deadlines_are_looked_at(stack, monkeypatch):
    """A client that connects and says nothing does not stay."""
    monkeypatch.setitem(endpoint_module._SETTINGS, "timeout_headers", 0.01)

    async def main(endpoint):
        host, port = endpoint.urls[0][7:].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        writer.close()

    with_endpoint(ready(), main, stack)


def test_openmetrics_for_those_who_ask(library):
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    reply = page(ready(requests=3), "/metrics", "GET", "Accept: application/openmetrics-text; version=1.0.0")
    assert reply.fields["content-type"].startswith("application/openmetrics-text; version=")
    families = {family.name: family for family in text_string_to_metric_families(reply.text)}
    assert families["asgiserve_requests"].samples[0].value == 3
    assert reply.text.endswith("# EOF\n")


def test_a_scrape(library, stack):
    reply = page(ready(requests=3), stack=stack)
    assert reply.status == 200
    assert reply.fields["content-type"].startswith("text/plain; version=0.0.4")
    assert "\nasgiserve_requests_total 3.0\n" in reply.text


# -- a server without a parent


def test_a_server_tells_of_itself(stack, library):
    async def main():
        async with serving(http=HTTP[stack.name], metrics_bind="127.0.0.1:0") as server:
            url = server._supervisor._endpoint.urls[0]
            for _ in range(3):
                await get(server)
            await until(lambda: server._supervisor.workers()[0].snapshot is not None)
            await until(lambda: server._supervisor.workers()[0].snapshot.requests == 3)
            found = json.loads((await ask(url, "/status")).body)
            assert found["ready"] is True
            (worker,) = found["workers"]
            assert (worker["slot"], worker["pid"], worker["phase"]) == (1, os.getpid(), "ready")
            assert worker["snapshot"]["responses"]["2xx"] == 3
            assert sum(worker["snapshot"]["latency"]) == 3
            assert worker["snapshot"]["lag"] >= 0
            text = (await ask(url, "/metrics")).text
            assert 'asgiserve_responses_total{status="2xx"} 3.0' in text
            assert 'asgiserve_workers{phase="ready"} 1.0' in text
        with pytest.raises(OSError):
            await ask(url, "/livez")

    run(main())


def test_ready_between_startup_and_drain(stack):
    steps = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            steps.append(await probe())
            await send({"type": "lifespan.startup.complete"})
            await receive()
            steps.append(await probe())
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await hello(scope, receive, send)

    async def probe():
        url = server._supervisor._endpoint.urls[0]
        return [(await ask(url, path)).status for path in ("/livez", "/readyz")]

    async def main():
        nonlocal server
        server = Server(config(app, http=HTTP[stack.name], metrics_bind="127.0.0.1:0"))
        task = asyncio.ensure_future(server.serve())
        await until(lambda: server.started)
        steps.append(await probe())
        server.should_exit = True
        await task

    server = None
    run(main())
    assert steps == [[200, 503], [200, 200], [200, 503]]


def test_no_figures_without_an_address(stack):
    async def main():
        async with serving(http=HTTP[stack.name], access_log=False) as server:
            assert server.state.figures is None
            assert server.state.times_requests is False

    run(main())


def test_a_server_whose_address_is_taken_does_not_start(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"Cannot listen on 127.0.0.1:{port}: the address is already in use"):
            run(Server(config(metrics_bind=str(port))).serve())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_program_with_probes(tmp_path, workers):
    """Started, asked, and told to stop while a request runs; with workers, one of them is killed."""
    tmp_path.joinpath("apps.py").write_text(APP)
    more = ["--workers", workers] if workers else []
    with Process(
        "apps:app", "--port", 0, "--metrics-bind", "127.0.0.1:0", "--no-access-log", *more, cwd=tmp_path
    ) as process:
        url = process.wait_for(r"Metrics and probes on (http://\S+)").group(1)
        assert fetch(url + "/livez") == (200, "ok\n")
        port = process.wait_ready()
        assert fetch(url + "/readyz") == (200, "ok\n")
        for _ in range(3):
            assert fetch(f"http://127.0.0.1:{port}/") == (200, "ok")
        found = wait_for_status(url, lambda found: found["totals"]["responses"]["2xx"] == 3)
        pids = [worker["pid"] for worker in found["workers"]]
        assert (process.popen.pid in pids) == (not workers)
        if workers:
            os.kill(pids[0], signal.SIGKILL)
            found = wait_for_status(url, lambda found: found["restarts"]["crash"] == 1)
            assert found["totals"]["responses"]["2xx"] == 3
            wait_for_status(url, lambda found: [worker["phase"] for worker in found["workers"]] == ["ready", "ready"])
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: test\r\n\r\n")
            assert process.popen.stdout.readline() == "asked\n"
            process.popen.terminate()
            process.wait_for("Shutting down")
            assert fetch(url + "/readyz") == (503, "not ready: the server is shutting down\n")
            assert fetch(url + "/livez") == (200, "ok\n")
            assert "stopping" in [worker["phase"] for worker in json.loads(fetch(url + "/status")[1])["workers"]]
            tmp_path.joinpath("go").touch()
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        assert process.wait() == 0
        assert "Traceback" not in process.log


def wait_for_status(url, condition):
    """The /status of which `condition` is true."""
    end = time.monotonic() + TIMEOUT
    while True:
        found = json.loads(fetch(url + "/status")[1])
        if condition(found):
            return found
        assert time.monotonic() < end, found


APP = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/wait":
        print("asked", flush=True)
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def fetch(url):
    """Status and text of one page, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
