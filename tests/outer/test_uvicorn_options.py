"""The options of uvicorn 0.54, row by row: the same name is taken on the command line, in the environment and in
Config, and means the same value."""

from __future__ import annotations

import importlib
import inspect
import os

import pytest

from asgiserve import cli
from asgiserve.config import Config
from asgiserve.options import OPTIONS

# name: (arguments, keyword, what it becomes). One of the values that uvicorn's users write.
ROWS = {
    "host": (["--host", "0.0.0.0"], "0.0.0.0", "0.0.0.0"),
    "port": (["--port", "0"], 0, 0),
    "uds": (["--uds", "/tmp/uvicorn.sock"], "/tmp/uvicorn.sock", "/tmp/uvicorn.sock"),
    "fd": (["--fd", "0"], 0, 0),
    "reload": (["--reload"], True, True),
    "reload_dirs": (["--reload-dir", "src", "--reload-dir", "lib"], ["src", "lib"], ["src", "lib"]),
    "reload_includes": (["--reload-include", "*.html"], ["*.html"], ["*.html"]),
    "reload_excludes": (["--reload-exclude", "test_*.py"], "test_*.py", ["test_*.py"]),
    "reload_delay": (["--reload-delay", "0.5"], 0.5, 0.5),
    "workers": (["--workers", "4"], 4, 4),
    "loop": (["--loop", "uvloop"], "uvloop", "uvloop"),
    "http": (["--http", "httptools"], "httptools", "httptools"),
    "http2": (["--http2"], True, True),
    "ws": (["--ws", "websockets-sansio"], "websockets-sansio", "websockets-sansio"),
    "ws_max_size": (["--ws-max-size", "16777216"], 16777216, 16777216),
    "ws_max_queue": (["--ws-max-queue", "64"], 64, 64),
    "ws_ping_interval": (["--ws-ping-interval", "20.0"], 20.0, 20.0),
    "ws_ping_timeout": (["--ws-ping-timeout", "5"], 5, 5),
    "ws_per_message_deflate": (["--ws-per-message-deflate", "false"], False, False),
    "lifespan": (["--lifespan", "off"], "off", "off"),
    "interface": (["--interface", "wsgi"], "wsgi", "wsgi"),
    "env_file": (["--env-file", ".env"], ".env", ".env"),
    "log_config": (["--log-config", "logging.yaml"], "logging.yaml", "logging.yaml"),
    "log_level": (["--log-level", "trace"], "trace", "trace"),
    "access_log": (["--no-access-log"], False, False),
    "use_colors": (["--use-colors"], True, True),
    "proxy_headers": (["--no-proxy-headers"], False, False),
    "server_header": (["--no-server-header"], False, False),
    "date_header": (["--no-date-header"], False, False),
    "forwarded_allow_ips": (["--forwarded-allow-ips", "*"], "*", ["*"]),
    "root_path": (["--root-path", "/api"], "/api", "/api"),
    "limit_concurrency": (["--limit-concurrency", "500"], 500, 500),
    "backlog": (["--backlog", "2048"], 2048, 2048),
    "limit_max_requests": (["--limit-max-requests", "1000"], 1000, 1000),
    "limit_max_requests_jitter": (["--limit-max-requests-jitter", "100"], 100, 100),
    "timeout_keep_alive": (["--timeout-keep-alive", "75"], 75, 75),
    "timeout_graceful_shutdown": (["--timeout-graceful-shutdown", "10"], 10, 10),
    "timeout_worker_healthcheck": (["--timeout-worker-healthcheck", "5"], 5, 5),
    "ssl_keyfile": (["--ssl-keyfile", "key.pem"], "key.pem", "key.pem"),
    "ssl_certfile": (["--ssl-certfile", "cert.pem"], "cert.pem", "cert.pem"),
    "ssl_keyfile_password": (["--ssl-keyfile-password", "secret"], "secret", "secret"),
    "ssl_version": (["--ssl-version", "17"], 17, 17),
    "ssl_cert_reqs": (["--ssl-cert-reqs", "2"], 2, 2),
    "ssl_ca_certs": (["--ssl-ca-certs", "ca.pem"], "ca.pem", "ca.pem"),
    "ssl_ciphers": (["--ssl-ciphers", "TLSv1"], "TLSv1", "TLSv1"),
    "headers": (["--header", "X-One:1", "--header", "X-Two: 2"], [("X-One", "1"), ("X-Two", "2")], ...),
    "app_dir": (["--app-dir", "src"], "src", "src"),
    "h11_max_incomplete_event_size": (["--h11-max-incomplete-event-size", "65536"], 65536, 65536),
    "reset_contextvars": (["--reset-contextvars"], True, True),
    "factory": (["--factory"], True, True),
}

# Options whose default is another one here, and why.
OTHER_DEFAULTS = {
    "timeout_graceful_shutdown": (None, 30),  # a shutdown that waits for ever is no shutdown
    "timeout_worker_healthcheck": (5, 30),  # it is the event loop that is watched, and applications do block it
}

KNOWN = {option.name: option for option in OPTIONS}


@pytest.fixture
def served(monkeypatch, tmp_path):
    """Runs the command up to the Config that would be served, and returns that."""
    configs = []
    monkeypatch.setattr(cli, "_serve", configs.append)
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("ASGISERVE_", "UVICORN_")):
            monkeypatch.delenv(name)

    def served(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.command.main(list(arguments))
        assert caught.value.code == 0
        return configs.pop()

    return served


def same(config, name):
    _, keyword, value = ROWS[name]
    return getattr(config, name) == (keyword if value is ... else value)


@pytest.mark.parametrize("name", ROWS)
def test_command_line(served, name):
    assert same(served("main:app", *ROWS[name][0]), name)


@pytest.mark.parametrize("name", ROWS)
def test_config(name):
    assert same(Config("main:app", **{name: ROWS[name][1]}), name)


@pytest.mark.parametrize("name", ROWS)
def test_environment(served, monkeypatch, name):
    keyword = ROWS[name][1]
    if isinstance(keyword, list):
        keyword = " ".join(item if isinstance(item, str) else ":".join(item) for item in keyword)
    for prefix in ("UVICORN_", "ASGISERVE_"):
        text = "" if keyword is None else str(keyword)
        monkeypatch.setenv(prefix + name.upper(), text.replace(" ", "\n") if prefix == "ASGISERVE_" else text)
        assert same(served("main:app"), name)


def test_flags_that_switch_off(served):
    flags = ["access-log", "use-colors", "proxy-headers", "server-header", "date-header"]
    on = served("main:app", *(f"--{flag}" for flag in flags))
    off = served("main:app", *(f"--no-{flag}" for flag in flags))
    for flag in flags:
        name = flag.replace("-", "_")
        assert (getattr(on, name), getattr(off, name)) == (True, False)


@pytest.fixture
def uvicorn():
    module = pytest.importorskip("uvicorn")
    if not module.__version__.startswith("0.54."):
        pytest.skip(f"uvicorn {module.__version__} is another one")
    return module


def test_the_rows_are_uvicorns(uvicorn):
    theirs = {
        param.name: param
        for param in importlib.import_module("uvicorn.main").main.params
        if param.name not in ("app", "version")
    }
    assert set(theirs) <= set(ROWS)
    for name, param in theirs.items():
        ours = next(ours for ours in cli.command.params if ours.name == name)
        assert set(param.opts) <= set(ours.opts)
        assert set(param.secondary_opts) <= set(ours.secondary_opts)


def test_defaults_are_uvicorns(uvicorn):
    theirs = inspect.signature(uvicorn.Config).parameters
    for name, (before, now) in OTHER_DEFAULTS.items():
        assert (theirs[name].default, KNOWN[name].default) == (before, now)
    config = Config("main:app")
    for option in OPTIONS:
        if option.name in theirs and option.name not in (*OTHER_DEFAULTS, "app", "log_config"):
            # Nothing is spelled None, "" or [] there; all mean the same.
            assert (getattr(config, option.name) or None) == (theirs[option.name].default or None), option.name


def test_keywords_that_uvicorns_config_takes(uvicorn):
    ours = {*KNOWN, *inspect.signature(Config).parameters}
    assert set(inspect.signature(uvicorn.Config).parameters) <= ours
    assert set(inspect.signature(uvicorn.run).parameters) <= ours
