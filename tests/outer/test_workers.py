"""The worker classes for gunicorn: what its settings mean, and the signs of life. Real programs: tests/e2e."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import ssl
import sys

import pytest

from .serving import Client, hello, run, until

pytest.importorskip("gunicorn")
if sys.platform == "win32":
    pytest.skip("gunicorn does not run on Windows", allow_module_level=True)

from gunicorn import config as gunicorn_config
from gunicorn.glogging import Logger

from asgiserve import ConfigError, workers
from asgiserve.workers import AsgiserveH11Worker, AsgiserveWorker


def settings(**changed):
    cfg = gunicorn_config.Config()
    for name, value in changed.items():
        if name not in cfg.settings:
            pytest.skip(f"this gunicorn has no {name}")
        cfg.set(name, value)
    return cfg


class App:
    """What gunicorn hands to its workers."""

    def __init__(self, target=hello):
        self.target = target

    def wsgi(self):
        return self.target


@pytest.fixture
def make():
    """make(class, target, **settings): a worker as gunicorn's main process makes it."""
    made = []

    def worker(kind=AsgiserveWorker, target=hello, **changed):
        cfg = settings(**changed)
        made.append(kind(1, os.getppid(), [], App(target), cfg.timeout / 2, cfg, Logger(cfg)))
        return made[-1]

    yield worker
    for each in made:
        each.tmp.close()


@pytest.fixture(autouse=True)
def loggers():
    """The loggers that gunicorn and the workers set up are left as they were."""
    found = [logging.getLogger(name) for name in ("asgiserve", "asgiserve.access", "uvicorn")]
    found += [logging.getLogger(name) for name in ("gunicorn.error", "gunicorn.access")]
    before = [(list(each.handlers), each.level, each.propagate) for each in found]
    for each in found:
        each.handlers, each.propagate = [], True  # pytest would put handlers of its own on one that does not propagate
    yield
    for each, (handlers, level, propagate) in zip(found, before):
        for handler in each.handlers:
            handler.close()
        each.handlers, each.level, each.propagate = handlers, level, propagate


# -- settings


@pytest.mark.parametrize(
    ("changed", "options"),
    [
        ({}, {"timeout_keep_alive": 2, "timeout_graceful_shutdown": 27, "backlog": 2048, "limit_request_line": 16384}),
        ({}, {"limit_max_requests": None, "proxy_protocol": False, "log_config": None, "is_ssl": False}),
        ({"keepalive": 0}, {"timeout_keep_alive": 0}),
        ({"keepalive": 75}, {"timeout_keep_alive": 75}),
        ({"graceful_timeout": 5}, {"timeout_graceful_shutdown": 4}),
        ({"graceful_timeout": 0}, {"timeout_graceful_shutdown": 0}),
        ({"reload": True}, {"timeout_graceful_shutdown": 2}),
        ({"reload": True, "graceful_timeout": 1}, {"timeout_graceful_shutdown": 0.8}),
        ({"backlog": 7}, {"backlog": 7}),
        ({"max_requests": 9}, {"limit_max_requests": 9, "limit_max_requests_jitter": 0}),
        ({"forwarded_allow_ips": "10.0.0.1,10.0.0.2"}, {"forwarded_allow_ips": ["10.0.0.1", "10.0.0.2", "unix"]}),
        ({"forwarded_allow_ips": "*"}, {"forwarded_allow_ips": ["*", "unix"]}),
        ({"access_log_format": "%(h)s %(s)s"}, {"access_log_format": "%(h)s %(s)s"}),
        ({"limit_request_line": 100, "limit_request_fields": 7}, {"limit_request_line": 100, "limit_header_fields": 7}),
        ({"limit_request_line": 0}, {"limit_request_line": 16384}),
        ({"proxy_protocol": True}, {"proxy_protocol": True}),
        ({"proxy_protocol": False}, {"proxy_protocol": False}),
        ({"root_path": "/api"}, {"root_path": "/api"}),
        ({"asgi_lifespan": "off"}, {"lifespan": "off"}),
        ({"asgi_loop": "asyncio"}, {"loop": "asyncio"}),
        (
            {"certfile": "c", "keyfile": "k", "ca_certs": "a", "cert_reqs": 2, "ciphers": "AES"},
            {
                "is_ssl": True,
                "ssl_certfile": "c",
                "ssl_keyfile": "k",
                "ssl_ca_certs": "a",
                "ssl_cert_reqs": ssl.CERT_REQUIRED,
                "ssl_ciphers": "AES",
            },
        ),
    ],
)
def test_settings(make, changed, options):
    config = make(**changed).config
    assert {name: getattr(config, name) for name in options} == options


def test_jitter_of_max_requests_is_gunicorns(make):
    worker = make(max_requests=100, max_requests_jitter=50)
    assert worker.config.limit_max_requests == worker.max_requests
    assert 100 <= worker.max_requests <= 150


def test_the_hook_for_the_tls_context(make):
    seen = []

    def ssl_context(config, default):
        seen.append((config, default))
        return default()

    worker = make(certfile="c", ssl_context=ssl_context)
    made = worker.config.ssl_context_factory(worker.config, lambda: "context")
    assert made == "context"
    assert seen[0][0] is worker.cfg


def test_config_kwargs_win(make):
    class Mine(AsgiserveWorker):
        CONFIG_KWARGS = {"timeout_keep_alive": 9, "timeout_request": 20}

    config = make(Mine, keepalive=3).config
    assert (config.timeout_keep_alive, config.timeout_request) == (9, 20)


def test_the_pure_one(make):
    config = make(AsgiserveH11Worker).config
    assert (config.http, config.loop) == ("h11", "asyncio")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"timeout_requets": 1}, "timeout_requets: unknown option, did you mean timeout_request?"),
        ({"timeout_request": "soon"}, "timeout_request: 'soon' is not a number of seconds"),
        ({"metrics_bind": ":9000"}, "metrics_bind: not with gunicorn"),
        ({"workers": 4}, "workers: not with gunicorn"),
        ({"reload": True}, "reload: not with gunicorn"),
    ],
)
def test_a_mistake_in_config_kwargs_is_one_line_before_anything_starts(kwargs, message):
    class Mine(AsgiserveWorker):
        CONFIG_KWARGS = kwargs

    cfg = settings()
    with pytest.raises(RuntimeError) as caught:
        Mine.check_config(cfg, Logger(cfg))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_mistake_that_comes_later_is_a_worker_that_does_not_boot(make, capsys):
    worker = make(access_log_format="%(nonsense)s", errorlog="-")
    with pytest.raises(SystemExit) as caught:
        worker.init_process()
    assert caught.value.code == 3
    assert "access_log_format: unknown atom %(nonsense)s" in capsys.readouterr().err


def test_without_gunicorn(monkeypatch):
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", None)
    monkeypatch.delitem(sys.modules, "asgiserve.workers")
    with pytest.raises(ImportError, match=r"^asgiserve.workers needs gunicorn \(pip install 'asgiserve\[gunicorn\]'\)"):
        importlib.import_module("asgiserve.workers")


# -- logs


def test_logs_go_where_gunicorns_go(make, tmp_path):
    errors, requests = tmp_path / "errors", tmp_path / "requests"
    workers.adopt_logs(make(errorlog=str(errors), accesslog=str(requests), loglevel="warning").log)
    for name in ("asgiserve.error", "uvicorn.error"):
        logging.getLogger(name).info("quiet")
        logging.getLogger(name).warning("loud")
    logging.getLogger("asgiserve.access").info("a request")
    assert errors.read_text().count(" [WARNING] loud\n") == 2
    assert "quiet" not in errors.read_text()
    assert requests.read_text() == "a request\n"


def test_no_access_log_unless_gunicorn_has_one(make):
    workers.adopt_logs(make().log)
    assert not logging.getLogger("asgiserve.access").hasHandlers()


def test_requests_on_standard_output_need_no_records(make, capsys, monkeypatch):
    from asgiserve.logging import AccessLog

    worker = make(accesslog="-", access_log_format="%(m)s %(s)s")
    workers.adopt_logs(worker.log)
    log = AccessLog(None, worker.config.access_log_format)
    monkeypatch.setattr(logging.Logger, "makeRecord", lambda *_: pytest.fail("a record was made"))
    log.log("1.2.3.4:5", "GET", "/", "1.1", 200, 2, 0.1)
    log.close()
    assert capsys.readouterr().out == "GET 200\n"


def test_a_logger_that_propagates(make, tmp_path):
    """As with --log-config, where the root logger may have the handlers."""
    worker = make()
    handler = logging.FileHandler(tmp_path / "all")
    worker.log.access_log.handlers = []
    worker.log.access_log.propagate = True
    logging.getLogger("gunicorn").addHandler(handler)
    try:
        workers.adopt_logs(worker.log)
        logging.getLogger("asgiserve.access").info("a request")
    finally:
        logging.getLogger("gunicorn").removeHandler(handler)
        worker.log.access_log.propagate = False
        handler.close()
    assert (tmp_path / "all").read_text() == "a request\n"


def test_what_log_config_says_of_our_loggers_holds(make):
    mine = logging.NullHandler()
    logging.getLogger("asgiserve.access").addHandler(mine)
    workers.adopt_logs(make(accesslog="-").log)
    assert logging.getLogger("asgiserve.access").handlers == [mine]


# -- signs of life


class Startup:
    """An application whose start-up code and requests take until they may end."""

    def __init__(self):
        self.may_start = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.asked = False

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await self.may_start.wait()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.asked = True
        await self.may_answer.wait()
        await hello(scope, receive, send)


def beating(make, monkeypatch, bound_socket, **changed):
    """A worker's server about to serve, its application, and the list of its signs of life."""
    app = Startup()
    worker = make(target=app, timeout=2, **changed)
    worker.config.app = app
    signs = []
    monkeypatch.setattr(worker, "notify", lambda: signs.append(1))
    monkeypatch.setattr(workers, "BEAT", 0.001)
    server = workers._Server(worker.config, worker)
    return worker, server, app, signs, asyncio.ensure_future(server.serve([bound_socket]))


@pytest.fixture
def bound_socket():
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_signs_of_life_from_the_start_of_serving_to_the_very_end(make, monkeypatch, bound_socket):
    """Start-up code may take its time, and a drain is no hang."""
    looks = []
    parent = os.getppid()
    monkeypatch.setattr(os, "getppid", lambda: looks.append(1) or parent)

    async def main():
        worker, server, app, signs, serving = beating(make, monkeypatch, bound_socket)
        await until(lambda: len(looks) > 3)
        assert not signs
        app.may_start.set()
        await until(lambda: signs)

        client = await Client.open(server)
        client.ask("/slow")
        await until(lambda: app.asked)
        worker.alive = False  # as the reloader says
        await until(lambda: server.state.stopping)
        del signs[:]
        await until(lambda: len(signs) > 3)
        app.may_answer.set()
        assert (await client.answer())[1] == b"/slow"
        await serving
        await client.close()

    run(main())


def test_it_stops_when_gunicorn_is_gone(make, monkeypatch, bound_socket):
    async def main():
        worker, server, app, _, serving = beating(make, monkeypatch, bound_socket)
        app.may_start.set()
        await until(lambda: server.started)
        worker.ppid = os.getpid()  # which is not this process's parent
        await serving

    run(main())


@pytest.mark.parametrize("changed", [{}, {"reload": True}])
def test_idle_connections_wait_for_a_last_request_unless_reloading(make, monkeypatch, bound_socket, changed):
    async def main():
        worker, server, app, _, serving = beating(make, monkeypatch, bound_socket, **changed)
        app.may_start.set()
        app.may_answer.set()
        await until(lambda: server.started)
        client = await Client.open(server)
        assert (await client.get())[1] == b"/"
        worker.alive = False
        await until(lambda: server.state.stopping)
        if changed:
            assert await client.reader.read() == b""
        else:
            head, body = await client.get("/last")
            assert b"\r\nconnection: close\r\n" in head.lower()
            assert body == b"/last"
        await serving
        await client.close()

    run(main())


def test_config_errors_are_of_the_public_kind():
    with pytest.raises(ConfigError):
        AsgiserveWorker.make_config(settings(access_log_format="%(x)s"), sys.maxsize)
