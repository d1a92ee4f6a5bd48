"""The server in this process, on real loops and real sockets: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
import signal
import socket
import threading
import time

import pytest

import asgiserve
from asgiserve import drain
from asgiserve import server as module
from asgiserve.server import Server, StartupError
from asgiserve.urgency import DRAIN, RETIRE

from .serving import HTTP, TIMEOUT, Client, config, get, hello, loop_names, port_of, run, serving, until

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets on this platform")
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(params=loop_names())
def loop(request):
    return request.param


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.INFO, "asgiserve.error")
    return caplog


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(drain, "CANCEL_GRACE", 0.1)


def messages(log, level=logging.INFO):
    return [record.getMessage() for record in log.records if record.levelno >= level]


class App:
    """An application with a lifespan that notes what happens, and a few paths that take long in different ways."""

    def __init__(self):
        self.events = []

    @functools.cached_property
    def release(self):
        return asyncio.Event()  # on Python 3.9 not before there is a loop

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
            return
        self.events.append(scope["path"])
        await getattr(self, scope["path"][1:] or "plain")(scope, receive, send)

    async def lifespan(self, scope, receive, send):
        scope["state"]["from"] = "lifespan"
        for stage in ("startup", "shutdown"):
            await receive()
            self.events.append(stage)
            await send({"type": f"lifespan.{stage}.complete"})

    async def answer(self, send, body=b"ok"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def plain(self, scope, receive, send):
        await self.answer(send)

    async def state(self, scope, receive, send):
        before = repr(scope["state"])
        scope["state"]["from"] = "request"
        await self.answer(send, before.encode())

    async def wait(self, scope, receive, send):
        await self.release.wait()
        await self.answer(send)

    async def stream(self, scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        message = await receive()
        self.events.append(message["type"])

    async def deaf(self, scope, receive, send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise

    async def stubborn(self, scope, receive, send):
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.events.append("cancelled")


# -- starting and serving


def test_it_serves_and_stops(stack, loop, log):
    async def main():
        async with serving(http=HTTP[stack.name]) as server:
            assert await get(server, "/hello") == b"/hello"
            assert server.state.total_requests == 1
            port = port_of(server)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        return port

    port = run(main(), loop)
    said = messages(log)
    assert said[0] == f"Started server process [{os.getpid()}]"
    assert said[1] == f"stack: {stack.name}, {stack.parser}"
    assert said[2].startswith(f"loop: {loop}")
    assert f"asgiserve running on http://127.0.0.1:{port} (Press CTRL+C to quit)" in said
    assert said[-2:] == ["Shutting down", f"Finished server process [{os.getpid()}]"]


def test_keep_alive_and_the_date(stack, loop):
    async def main():
        async with serving(http=HTTP[stack.name], headers=[("X-Served-By", "us")]) as server:
            client = await Client.open(server)
            for _ in range(3):
                head, body = await client.get("/x")
                assert body == b"/x"
                assert re.search(rb"(?i)\ndate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", head)
                assert b"x-served-by: us\r\n" in head.lower()
            await client.close()

    run(main(), loop)


def test_run_returns_after_a_graceful_stop(loop):
    server = Server(config(loop=loop))

    class Stopping(App):
        async def lifespan(self, scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.complete"})
            server.should_exit = True
            await receive()
            await send({"type": "lifespan.shutdown.complete"})

    server.config.app = Stopping()
    server.run()
    assert server.stuck == 0


def test_run_is_refused_inside_a_loop():
    async def main():
        with pytest.raises(RuntimeError, match="serve"):
            Server(config()).run()

    run(main())


def test_the_public_run():
    app = App()

    async def quitting(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "never mind"})

    with pytest.raises(SystemExit) as caught:
        asgiserve.run(quitting, port=0, log_config=None)
    assert caught.value.code == 3
    with pytest.raises(asgiserve.ConfigError):
        asgiserve.run(app, prot=1)


@unix
def test_unix_socket(loop, tmp_path, log):
    path = str(tmp_path / "s")

    async def main():
        async with serving(uds=path):
            assert await get(path, "/unix") == b"/unix"
        assert not os.path.exists(path)

    run(main(), loop)
    assert f"asgiserve running on unix:{path} (Press CTRL+C to quit)" in messages(log)


def test_inherited_socket(loop):
    async def main():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            async with serving(fd=sock.fileno()) as server:
                assert await get(server, "/fd") == b"/fd"
            sock.getsockname()

    run(main(), loop)


def test_given_sockets(loop):
    async def main():
        socks = [socket.socket(), socket.socket()]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        ports = [sock.getsockname()[1] for sock in socks]
        async with serving(sockets=socks) as server:
            assert len(server.servers) == 2
            for port in ports:
                client = Client(*await asyncio.open_connection("127.0.0.1", port))
                assert (await client.get("/given"))[1] == b"/given"
                await client.close()
        assert [sock.fileno() for sock in socks] == [-1, -1]

    run(main(), loop)


class Recorder(asyncio.Protocol):
    """A connection that only lets us look at its transport."""

    transports = []

    def __init__(self, state):
        self.state = state

    def connection_made(self, transport):
        self.state.connections.add(self)
        self.transports.append(transport)
        self.transport = transport

    def connection_lost(self, error):
        self.state.connections.discard(self)

    def shutdown(self):
        self.transport.close()


@pytest.mark.parametrize("options", [{}, {"limit_connections": 5}])
def test_nodelay(loop, options):
    async def main():
        settings = config(**options)
        settings.load_stack()
        settings.stack = settings.stack._replace(HTTPConnection=Recorder)
        server = Server(settings)
        task = asyncio.ensure_future(server.serve())
        await until(lambda: server.started)
        client = await Client.open(server)
        await until(lambda: Recorder.transports)
        sock = Recorder.transports.pop().get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        server.should_exit = True
        await task
        await client.close()

    run(main(), loop)


def test_in_another_thread():
    server = Server(config())
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:

        async def main():
            await until(lambda: server.started or not thread.is_alive())
            assert signal.getsignal(signal.SIGTERM) is before
            assert await get(server, "/thread") == b"/thread"

        run(main())
    finally:
        server.should_exit = True
        thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_two_servers_on_one_loop(loop):
    async def main():
        async with serving() as one, serving() as two:
            assert await get(one, "/one") == b"/one"
            assert await get(two, "/two") == b"/two"

    run(main(), loop)


# -- the lifespan


def test_lifespan_around_everything(stack, loop):
    async def main():
        app = App()
        async with serving(app, http=HTTP[stack.name]) as server:
            assert app.events == ["startup"]
            await get(server)
        assert app.events == ["startup", "/", "shutdown"]

    run(main(), loop)


def test_state_is_copied_for_each_request(stack):
    async def main():
        app = App()
        async with serving(app, http=HTTP[stack.name]) as server:
            for _ in range(2):
                assert await get(server, "/state") == b"{'from': 'lifespan'}"

    run(main())


def fails(app=hello, **options):
    async def main():
        server = Server(config(app, **options))
        with pytest.raises(StartupError) as caught:
            await server.serve()
        assert not server.started
        return str(caught.value)

    return run(main())


def test_startup_failed():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    assert fails(app) == "The application's start-up failed."


def test_nobody_is_let_in_before_startup_is_complete(loop):
    async def main():
        app = App()
        gate = asyncio.Event()

        async def slow(scope, receive, send):
            if scope["type"] == "lifespan":
                await gate.wait()
            await app(scope, receive, send)

        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        server = Server(config(slow))
        task = asyncio.ensure_future(server.serve([sock]))
        for _ in range(5):
            await asyncio.sleep(0)
            with pytest.raises(OSError):
                await asyncio.open_connection(*address)
        gate.set()
        await until(lambda: server.started)
        assert await get(server) == b"ok"
        server.should_exit = True
        await task

    run(main(), loop)


def test_a_stuck_startup_can_be_stopped(loop, log):
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    async def main():
        server = Server(config(app))
        task = asyncio.ensure_future(server.serve())
        await until(lambda: "Waiting for application startup." in messages(log))
        server.should_exit = True
        await task
        assert not server.started

    run(main(), loop)


def test_startup_timeout():
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    assert "more than 0.01 seconds" in fails(app, timeout_lifespan_startup=0.01)


def test_an_application_that_cannot_be_had(log):
    assert '"no_such_module"' in fails("no_such_module:app")
    (record,) = (record for record in log.records if record.levelno == logging.ERROR)
    assert record.getMessage().startswith("Cannot load the application: ")
    assert not record.exc_info


def test_the_applications_own_traceback_is_shown(log):
    def create():
        raise TypeError("mine")

    fails(create, factory=True)
    (record,) = (record for record in log.records if record.levelno == logging.ERROR)
    assert str(record.exc_info[1]) == "mine"


def test_an_address_in_use_is_found_before_the_application_starts(log):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        app = []

        async def note(scope, receive, send):
            app.append(scope["type"])

        port = sock.getsockname()[1]
        text = f"Cannot listen on 127.0.0.1:{port}: the address is already in use"
        assert fails(note, port=port) == text
        assert app == []
        assert messages(log, logging.ERROR) == [text]


def test_an_address_that_is_taken_during_startup(log):
    async def main():
        app = App()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))

        def listen(backlog):
            raise module.BindError("Cannot listen on it: the address is already in use")

        server = Server(config(app))
        original = module.Listeners.listen
        module.Listeners.listen = lambda self, backlog: listen(backlog)
        try:
            with pytest.raises(StartupError):
                await server.serve([sock])
        finally:
            module.Listeners.listen = original
        assert app.events == ["startup", "shutdown"]

    run(main())


def test_no_time_runs_out_while_the_loop_stands_still(stack, loop):
    async def main():
        async def app(scope, receive, send):
            if scope["type"] == "http" and scope["path"] == "/block":
                idle.ask("/meanwhile")
                time.sleep(1.2)
            await hello(scope, receive, send)

        async with serving(app, http=HTTP[stack.name], timeout_keep_alive=0.6) as server:
            idle, other = await Client.open(server), await Client.open(server)
            await idle.get()
            await other.get("/block")
            assert (await idle.answer())[1] == b"/meanwhile"
            assert (await idle.get("/again"))[1] == b"/again"
            await idle.close()
            await other.close()

    run(main(), loop)


# -- the drain


async def stop(server):
    server.should_exit = True
    await until(lambda: server.state.stopping)


def test_a_running_request_is_finished_and_its_connection_closed(stack, loop):
    async def main():
        app = App()
        async with serving(app, http=HTTP[stack.name]) as server:
            port = port_of(server)
            busy, idle = await Client.open(server), await Client.open(server)
            await idle.get()
            busy.ask("/wait")
            await until(lambda: "/wait" in app.events)
            await stop(server)
            assert await idle.reader.read() == b""
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", port)
            app.release.set()
            head, body = await busy.answer()
            assert body == b"ok"
            assert b"connection: close" in head.lower()
            assert await busy.reader.read() == b""
            await busy.close()
            await idle.close()
        assert app.events[-1] == "shutdown"

    run(main(), loop)


def test_a_streaming_application_is_told_after_half_of_the_time(stack, loop, log):
    async def main():
        app = App()
        async with serving(app, http=HTTP[stack.name], timeout_graceful_shutdown=0.4) as server:
            client = await Client.open(server)
            client.ask("/stream")
            await client.reader.readuntil(b"first")
            started = asyncio.get_running_loop().time()
            await stop(server)
            await until(lambda: "http.disconnect" in app.events)
            assert asyncio.get_running_loop().time() - started >= 0.2
            await client.reader.read()
            await client.close()
        assert app.events[-1] == "shutdown"

    run(main(), loop)
    assert not any("Cancelling" in text for text in messages(log))


def test_a_deaf_application_is_cancelled(stack, loop, log):
    async def main():
        app = App()
        async with serving(app, http=HTTP[stack.name], timeout_graceful_shutdown=0.1) as server:
            client = await Client.open(server)
            client.ask("/deaf")
            await until(lambda: "/deaf" in app.events)
        assert app.events[-2:] == ["cancelled", "shutdown"]
        await client.reader.read()
        await client.close()
        assert server.state.connections == set()
        assert server.state.tasks == set()

    run(main(), loop)
    assert "Cancelling 1 task(s) that did not finish in time." in messages(log, logging.ERROR)


def test_an_application_that_swallows_its_cancellation_is_abandoned(stack, loop, log):
    async def main():
        app = App()
        async with serving(app, http=HTTP[stack.name], timeout_graceful_shutdown=0.1) as server:
            client = await Client.open(server)
            client.ask("/stubborn")
            await until(lambda: "/stubborn" in app.events)
        assert app.events[-2:] == ["cancelled", "shutdown"]
        await client.close()
        (task,) = server.state.tasks
        app.release.set()
        await asyncio.wait([task])

    run(main(), loop)
    assert "1 task(s) ignore the cancellation and are abandoned." in messages(log, logging.ERROR)


def test_a_client_that_sends_half_a_request_does_not_hold_the_drain(stack, loop):
    async def main():
        async with serving(http=HTTP[stack.name], timeout_graceful_shutdown=0.3) as server:
            client = await Client.open(server)
            client.writer.write(b"GET / HTTP/1.1\r\nHo")
            await until(lambda: server.state.connections)
        assert server.state.connections == set()
        await client.close()

    run(main(), loop)


def test_a_server_that_retires_lets_its_clients_take_their_time(stack, loop):
    async def main():
        async with serving(http=HTTP[stack.name]) as server:
            port = port_of(server)
            idle, fresh = await Client.open(server), await Client.open(server)
            await idle.get()
            await until(lambda: len(server.state.connections) == 2)
            server.order(RETIRE)
            await until(lambda: server.state.stopping)
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", port)
            for client in idle, fresh:
                head, body = await client.get("/late")
                assert body == b"/late"
                assert b"connection: close" in head.lower()
                assert await client.reader.read() == b""
                await client.close()

    run(main(), loop)


def test_a_server_that_retires_does_not_wait_for_ever(stack, loop, monkeypatch):
    monkeypatch.setattr(drain, "LINGER", 0.05)

    async def main():
        async with serving(http=HTTP[stack.name]) as server:
            idle = await Client.open(server)
            await idle.get()
            server.order(RETIRE)
            assert await idle.reader.read() == b""
            await idle.close()

    run(main(), loop)


def test_a_server_that_retires_can_be_told_to_stop(stack, loop, monkeypatch):
    monkeypatch.setattr(drain, "LINGER", 1000)

    async def main():
        app = App()
        async with serving(
            app, http=HTTP[stack.name], timeout_keep_alive=None, timeout_graceful_shutdown=None
        ) as server:
            idle, busy = await Client.open(server), await Client.open(server)
            await idle.get()
            busy.ask("/wait")
            await until(lambda: "/wait" in app.events)
            server.order(RETIRE)
            await until(lambda: server.state.stopping)
            server.order(DRAIN)
            assert await idle.reader.read() == b""
            server.order(DRAIN)  # once more is no more
            app.release.set()
            assert (await busy.answer())[1] == b"ok"
            await idle.close()
            await busy.close()

    run(main(), loop)


def test_force_exit_does_not_wait(loop):
    async def main():
        app = App()
        async with serving(app, timeout_graceful_shutdown=None) as server:
            client = await Client.open(server)
            client.ask("/deaf")
            await until(lambda: "/deaf" in app.events)
            await stop(server)
            assert not server.force_exit
            server.force_exit = True
            assert server.force_exit
        assert app.events[-2:] == ["cancelled", "shutdown"]
        await client.close()

    run(main(), loop)


def test_cancelling_serve_stops_without_waiting(loop):
    async def main():
        app = App()
        server = Server(config(app, timeout_graceful_shutdown=None))
        task = asyncio.ensure_future(server.serve())
        await until(lambda: server.started)
        client = await Client.open(server)
        client.ask("/deaf")
        await until(lambda: "/deaf" in app.events)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert app.events[-2:] == ["cancelled", "shutdown"]
        await client.close()

    run(main(), loop)


def test_a_stuck_shutdown_is_bounded(loop, log):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.Event().wait()

    async def main():
        async with serving(app, timeout_lifespan_shutdown=0.05):
            pass

    run(main(), loop)
    assert any("more than 0.05 seconds" in text for text in messages(log, logging.ERROR))


# -- limits


def test_limit_connections(stack, loop, log):
    async def main():
        async with serving(http=HTTP[stack.name], limit_connections=2) as server:
            assert server.servers[0].is_serving()
            first, second = await Client.open(server), await Client.open(server)
            await first.get()
            await second.get()
            third = await Client.open(server)  # waits in the backlog
            third.ask("/third")
            await until(lambda: any("limit of 2 connections" in text for text in messages(log)))
            assert len(server.state.connections) == 2
            assert (await first.get("/still"))[1] == b"/still"
            assert len(server.state.connections) == 2
            await first.close()
            assert (await third.answer())[1] == b"/third"
            assert len(server.state.connections) == 2
            await second.close()
            await third.close()
        assert not server.servers[0].is_serving()
        await server.servers[0].wait_closed()

    run(main(), loop)
    assert len([text for text in messages(log) if "limit of 2 connections" in text]) == 1


@unix
def test_limit_connections_on_a_unix_socket(loop, tmp_path):
    path = str(tmp_path / "s")

    async def main():
        async with serving(uds=path, limit_connections=1):
            for _ in range(3):
                assert await get(path, "/unix") == b"/unix"

    run(main(), loop)


def test_limit_connections_at_the_limit_while_it_stops(loop):
    async def main():
        async with serving(limit_connections=1) as server:
            client = await Client.open(server)
            await client.get()
            port = port_of(server)
            await stop(server)
            assert await client.reader.read() == b""
            await client.close()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)

    run(main(), loop)


def test_limit_max_requests(stack, loop, log):
    async def main():
        server = Server(config(http=HTTP[stack.name], limit_max_requests=3))
        task = asyncio.ensure_future(server.serve())
        await until(lambda: server.started)
        for _ in range(3):
            assert await get(server, "/x") == b"/x"
        await task

    run(main(), loop)
    assert "The limit of 3 requests is reached." in messages(log)


def test_limit_max_requests_jitter(monkeypatch, log):
    monkeypatch.setattr("random.randint", lambda low, high: high)

    async def main():
        async with serving(limit_max_requests=3, limit_max_requests_jitter=2) as server:
            assert server._max_requests == 5

    run(main())


def test_callback_notify(loop, log):
    called = []

    async def notify():
        called.append(asyncio.get_running_loop().time())

    async def main():
        async with serving(callback_notify=notify, timeout_notify=0.1):
            await until(lambda: len(called) == 3)

    run(main(), loop)
    assert called[2] - called[0] >= 0.19


def test_a_callback_that_fails_is_called_again(loop, log):
    called = []

    def notify():
        called.append(True)
        raise ValueError("on purpose")

    async def main():
        async with serving(callback_notify=notify, timeout_notify=0.1) as server:
            await until(lambda: len(called) == 2)
            assert await get(server, "/x") == b"/x"

    run(main(), loop)
    assert log.text.count("callback_notify failed") == 2
    assert "on purpose" in log.text


def test_a_callback_that_hangs_does_not_hold_the_end(loop):
    ended = []

    async def notify():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main():
        async with serving(callback_notify=notify):
            await asyncio.sleep(0)

    run(main(), loop)
    assert ended == [True]


def test_a_failing_tick_does_not_end_the_ticking(log, monkeypatch):
    monkeypatch.setattr(module, "TICK", 0.001)

    async def main():
        async with serving() as server:
            original = server.state

            class Failing:
                total_requests = 0
                ticks = 0

                def tick(self, now, wall):
                    self.ticks += 1
                    raise RuntimeError("boom")

            server.state = failing = Failing()
            await until(lambda: failing.ticks > 2)
            server.state = original

    run(main())
    assert "The tick failed" in messages(log, logging.ERROR)


# -- signals


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_and_handlers_come_back(loop, number):
    def mine(number, frame):
        raise AssertionError("not while the server runs")

    before = signal.signal(number, mine)
    try:

        async def main():
            app = App()
            async with serving(app) as server:
                assert signal.getsignal(number) is not mine
                client = await Client.open(server)
                client.ask("/wait")
                await until(lambda: "/wait" in app.events)
                os.kill(os.getpid(), number)
                await until(lambda: server.state.stopping)
                app.release.set()
                assert (await client.answer())[1] == b"ok"
                await client.close()
            assert app.events[-1] == "shutdown"

        run(main(), loop)
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_behind_the_end_of_a_process_is_too_late(loop, number):
    """An exception in the middle of the loop's clean-up would make another exit status of it."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:

        async def main():
            async with serving(App()) as server:
                server.ends_process = True
            os.kill(os.getpid(), number)

        run(main(), loop)
        assert {signal.getsignal(each) for each in before} == {signal.SIG_IGN}
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@posix
def test_a_second_signal_hurries_and_a_third_even_more(loop, log):
    async def main():
        app = App()
        hold = asyncio.Event()

        async def stuck(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await hold.wait()
            else:
                await app(scope, receive, send)

        async with serving(stuck, timeout_graceful_shutdown=None, timeout_lifespan_shutdown=None) as server:
            client = await Client.open(server)
            client.ask("/deaf")
            await until(lambda: "/deaf" in app.events)
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: server.state.stopping)
            assert "cancelled" not in app.events
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: "cancelled" in app.events)
            await until(lambda: "Waiting for application shutdown." in messages(log))
            os.kill(os.getpid(), signal.SIGTERM)
        await client.close()

    run(main(), loop)
    assert "The application's shutdown was interrupted." in messages(log, logging.ERROR)
