"""``asgiserve top``: what it reads, what it makes of it, and the program itself."""

from __future__ import annotations

import asyncio
import io
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import asgiserve
from asgiserve import addresses, cli
from asgiserve.metrics import top
from asgiserve.metrics.endpoint import Endpoint
from asgiserve.metrics.reader import (
    NO_CHANGE,
    Reader,
    Status,
    Unreachable,
    WorkerStatus,
    change,
    quantile,
    response_rates,
    worker_change,
)
from asgiserve.metrics.snapshot import BUCKETS, Worker

from .figures import FakeSource, latency, ready, snapshot
from .serving import TIMEOUT, config

posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")


@pytest.fixture
def rich():
    """What draws the picture."""
    return pytest.importorskip("rich", reason="the library is an extra")


class Serving:
    """An Endpoint in a loop of its own thread; to be used in a with statement. ``address`` is where it is."""

    def __init__(self, source, address="127.0.0.1:0"):
        self.source = source
        self.address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self):
        self._thread.start()
        self._endpoint = Endpoint(self.address, self.source, config())
        asyncio.run_coroutine_threadsafe(self._endpoint.start(self._loop), self._loop).result(TIMEOUT)
        (url,) = self._endpoint.urls
        self.address = url.replace("http://", "")
        return self

    def stop(self):
        """Stops serving."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(TIMEOUT)

    async def _stop(self):
        self._endpoint.stop()

    def __exit__(self, *_):
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def read(address):
    return Reader(addresses.parse(address)).read()


# -- reading


def test_all_is_read():
    worker = Worker(1, 10, "ready", time.time() - 100, snapshot(requests=7, active=2, connections=5, lag=0.5, memory=4))
    source = FakeSource(worker, Worker(2, 11, "booting", time.time(), None), restarts={"crash": 2})
    with Serving(source) as serving:
        found = read(serving.address)
    assert found.what.startswith(f"asgiserve {asgiserve.__version__}, ")
    assert found.pid == os.getpid()
    assert found.is_ready
    assert found.buckets == list(BUCKETS)
    assert found.requests == 7
    assert found.restarts["crash"] == 2
    one, two = found.workers
    assert (one.slot, one.pid, one.phase, one.has_figures) == (1, 10, "ready", True)
    assert (one.requests, one.active, one.connections, one.lag, one.worst_lag, one.memory) == (7, 2, 5, 0.5, 0.5, 4)
    assert 100 <= one.age < 160
    assert (two.slot, two.phase, two.has_figures, two.requests) == (2, "booting", False, 0)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="UNIX sockets")
def test_over_a_unix_socket(tmp_path):
    with Serving(ready(requests=7), f"unix:{tmp_path}/m") as serving:
        assert read(serving.address).requests == 7


@pytest.mark.parametrize("host", ["", "0.0.0.0"])
def test_an_address_of_the_server_is_one_to_connect_to(host):
    with Serving(ready(requests=7), "127.0.0.1:0") as serving:
        port = serving.address.rpartition(":")[2]
        assert read(f"{host}:{port}").requests == 7


def test_nobody_there():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unreachable, match=f"^127.0.0.1:{port} cannot be reached: connection refused$"):
            read(f"127.0.0.1:{port}")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="UNIX sockets")
def test_no_such_socket(tmp_path):
    with pytest.raises(Unreachable, match=r"^unix:.*/m cannot be reached: no such file or directory$"):
        read(f"unix:{tmp_path}/m")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\n<html>",
        b"HTTP/1.0 404 Not Found\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n[]",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100000,
        b"HTTP/1.0 200 OK\r\n\r\n\xff",
        b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b'HTTP/1.0 200 OK\r\n\r\n{"totals": null}',
    ],
)
def test_somebody_else_is_there(answer):
    with pytest.raises(Unreachable, match=r"^127.0.0.1:\d+ is not where an asgiserve serves its metrics$"):
        read_answer(answer)


@pytest.mark.parametrize("answer", [b"", b"220 mail\r\n"])
def test_somebody_who_speaks_no_http(answer):
    with pytest.raises(Unreachable, match=r"^127.0.0.1:\d+ does not speak HTTP$"):
        read_answer(answer)


def read_answer(answer):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            sock, _ = server.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return read(f"127.0.0.1:{server.getsockname()[1]}")
        finally:
            thread.join()


def test_nothing_that_is_read_controls_the_terminal():
    source = FakeSource(restarts={"\x1b[2Jcrash\x07": 1})
    with Serving(source) as serving:
        assert "[2Jcrash" in read(serving.address).restarts


# -- what changed


def worker_status(**values):
    nothing = WorkerStatus(0, 10, "ready", 60.0, 0.0, True, 0.0, 0, 0, 0, 0, [*latency()])
    return nothing._replace(**values)


def status(**values):
    nothing = Status("asgiserve", 1, 0.0, 100.0, True, [*BUCKETS], 0, {}, [*latency()], {}, [])
    return nothing._replace(**values)


@pytest.mark.parametrize(
    ("counts", "part", "expected"),
    [
        ({}, 0.5, None),
        ({"b0": 10}, 0.5, 0.0005),
        ({"b0": 10}, 1.0, 0.001),
        ({"b3": 4}, 0.5, 0.0075),
        ({"b0": 50, "b8": 50}, 0.5, 0.001),
        ({"b0": 98, "b8": 2}, 0.99, 0.375),
        ({"b12": 1}, 1.0, 10.0),
        ({"b13": 1}, 0.5, math.inf),
        ({"b0": 99, "b13": 1}, 0.99, 0.001),
    ],
)
def test_quantiles(counts, part, expected):
    found = quantile([*BUCKETS], [*latency(**counts)], part)
    assert found == (None if expected is None else pytest.approx(expected))


def test_what_happened_between_two_looks():
    before = status(requests=100, latency=[*latency(b0=100)], responses={"2xx": 90, "5xx": 10})
    now = status(time=102.0, requests=150, latency=[*latency(b0=100, b3=50)], responses={"2xx": 130, "5xx": 20})
    found = change(before, now)
    assert found.requests == 25.0
    assert found.median == pytest.approx(0.0075)
    assert found.p99 == pytest.approx(0.00995)
    assert response_rates(before, now) == {"2xx": 20.0, "5xx": 5.0}


def test_the_first_look_knows_no_rate():
    assert change(None, status()) == NO_CHANGE
    assert response_rates(None, status()) == {}
    assert worker_change(None, status(), worker_status()) == NO_CHANGE


@pytest.mark.parametrize("other", [{"started": 50.0}, {"pid": 2}, {"time": 100.0}])
def test_another_server_cannot_be_compared(other):
    before, now = status(requests=100), status(**{"time": 101.0, **other})
    assert change(before, now) == NO_CHANGE
    assert response_rates(before, now) == {}


def test_a_worker_is_compared_with_itself():
    before = status(workers=[worker_status(requests=10), worker_status(slot=1, pid=11, requests=50)])
    now = status(time=102.0, workers=[])
    assert worker_change(before, now, worker_status(requests=14)).requests == 2.0
    assert worker_change(before, now, worker_status(pid=12, requests=14)) == NO_CHANGE
    assert worker_change(before, now, worker_status(has_figures=False)) == NO_CHANGE


# -- the picture


def drawn(before, now, width=110):
    from rich.console import Console

    from asgiserve.metrics.view import frame

    file = io.StringIO()
    Console(file=file, width=width).print(frame(before, now))
    return file.getvalue()


def test_the_picture(rich):
    workers = [
        worker_status(requests=1000, active=3, connections=4, memory=50 << 20, lag=0.002, worst_lag=1.5),
        worker_status(slot=1, pid=11, phase="booting", age=3700.0, has_figures=False),
    ]
    before = status(workers=[worker_status()], responses={"2xx": 0, "4xx": 0, "5xx": 0})
    now = status(
        time=101.0,
        requests=1000,
        latency=[*latency(b0=1000)],
        responses={"2xx": 995, "4xx": 0, "5xx": 5},
        restarts={"crash": 2, "hang": 0, "age": 1},
        workers=workers,
    )
    text = drawn(before, now)
    assert "asgiserve, pid 1, up 1m 41s, ready\n" in text
    assert "1,000 requests/s, 3 in flight, 4 connections, p50 0.5 ms, p99 1.0 ms, 2xx 995/s, 5xx 5.0/s\n" in text
    lines = [line.split() for line in text.splitlines()]
    names = ["worker", "pid", "phase", "age", "req/s", "active", "conns", "p50", "p99", "lag", "worst", "MiB"]
    assert names in lines
    assert ["0", "10", "ready", "1m", "00s", "1,000", "3", "4", "-", "-", "2.0", "ms", "1.5", "s", "50"] in lines
    assert ["1", "11", "booting", "1h", "01m"] in lines
    assert lines[-1] == ["workers", "replaced:", "crash", "2,", "age", "1"]


def test_a_server_that_is_not_ready(rich):
    text = drawn(None, status(is_ready=False))
    assert "up 1m 40s, not ready" in text
    assert "- requests/s, 0 in flight, 0 connections, p50 -, p99 -\n" in text
    assert "no worker was replaced" in text


def test_numbers_for_people(rich):
    from asgiserve.metrics.view import age, duration, rate

    assert [rate(value) for value in (None, 0, 0.42, 9.96, 37.4, 1204.0)] == ["-", "0", "0.4", "10.0", "37", "1,204"]
    durations = [duration(value) for value in (None, 0.0, 0.0008, 0.0123, 0.999, 1.34, math.inf)]
    assert durations == ["-", "0.0 ms", "0.8 ms", "12 ms", "999 ms", "1.3 s", "> 10 s"]
    ages = [age(value) for value in (-1, 5.9, 192, 7380, 352800)]
    assert ages == ["0s", "5s", "3m 12s", "2h 03m", "4d 02h"]


# -- the program


def call(*arguments, **environ):
    """``asgiserve top`` in this process."""
    environ = {"ASGISERVE_METRICS_BIND": None, "COLUMNS": None, **environ}
    return CliRunner().invoke(top.build(cli.Program, "asgiserve top"), [*map(str, arguments)], env=environ)


def test_once(rich):
    with Serving(ready(requests=3)) as serving:
        result = call(serving.address, "--once", "--interval", "0.1")
    assert result.exit_code == 0, result.output
    assert f"asgiserve {asgiserve.__version__}, " in result.output
    assert "0 requests/s" in result.output
    assert re.search(r"^ *0 +10 +ready ", result.output, re.M)


def test_the_address_of_the_settings(rich, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Serving(ready()) as serving:
        given = call("--once", "--interval", "0.1", ASGISERVE_METRICS_BIND=serving.address)
        tmp_path.joinpath("pyproject.toml").write_text(f'[tool.asgiserve]\nmetrics-bind = "{serving.address}"\n')
        found = call("--once", "--interval", "0.1")
    assert [given.exit_code, found.exit_code] == [0, 0]


def test_the_default_address(rich, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []

    def refuse(reader):
        asked.append(reader.name)
        raise Unreachable("nobody")

    monkeypatch.setattr(Reader, "read", refuse)
    assert call("--once").exit_code == 1
    assert asked == ["127.0.0.1:8001"]


def test_nobody_to_show(rich):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % unused.getsockname()[1]
        result = call(address, "--once")
    assert result.exit_code == 1
    assert result.output == f"asgiserve: error: {address} cannot be reached: connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "'nowhere' is not of the form"),
        (["fd://3"], "'fd://3' is not an address that can be connected to"),
        (["127.0.0.1:0"], "'127.0.0.1:0' stands for any free port"),
        (["--interval", "0"], "Invalid value for '--interval'"),
        (["a:1", "b:2"], "Got unexpected extra argument"),
    ],
)
def test_mistakes_are_one_line(arguments, text):
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith(f"asgiserve: error: {text}")
    assert result.output.count("\n") == 1


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    result = call("127.0.0.1:1", "--once")
    assert result.exit_code == 2
    assert result.output == "asgiserve: error: asgiserve top needs rich: pip install 'asgiserve[top]'\n"


def start(*arguments, **more):
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ASGISERVE_")}
    environ.update(PYTHONPATH=str(Path(asgiserve.__file__).parent.parent), PYTHONUNBUFFERED="1", TERM="xterm")
    return subprocess.Popen([sys.executable, "-m", "asgiserve", "top", *arguments], env=environ, **more)


def test_the_program_has_it():
    with start("--help", stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate(timeout=TIMEOUT)[0].startswith("Usage: asgiserve top [OPTIONS] [ADDRESS]\n")
    assert process.returncode == 0
    assert "asgiserve top" in CliRunner().invoke(cli.command, ["--help"]).output


@posix
def test_without_a_terminal_until_interrupted(rich):
    """One picture after the other; a server that goes away is waited for."""
    with Serving(ready()) as serving:
        process = start(serving.address, "--interval", "0.1", stdout=subprocess.PIPE, text=True)
        with process:
            await_line(process.stdout, "0 in flight")
            serving.stop()
            await_line(process.stdout, f"{serving.address} cannot be reached: connection refused; trying again")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0


def await_line(lines, text):
    for line in lines:
        if text in line:
            return
    pytest.fail(f"ended without {text!r}")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_on_a_terminal(rich, number):
    """The picture is on a screen of its own, and the terminal is as before in the end."""
    import pty

    ours, theirs = pty.openpty()
    try:
        with Serving(ready()) as serving:
            process = start(serving.address, "--interval", "0.1", stdin=theirs, stdout=theirs, stderr=theirs)
            os.close(theirs)
            seen = read_until(ours, b"\x1b[?1049h", b"worker", b"ready")
            process.send_signal(number)
            seen = read_until(ours, b"\x1b[?1049l", seen=seen)
            assert process.wait(TIMEOUT) == 0
        assert b"Traceback" not in seen
    finally:
        os.close(ours)


def read_until(terminal, *texts, seen=b""):
    """What the program wrote, once all of `texts` are in it."""
    while not all(text in seen for text in texts):
        data = os.read(terminal, 10000)
        assert data, seen
        seen += data
    return seen
