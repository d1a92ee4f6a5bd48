"""The option table, the command line and Config: one set of settings, three ways in, one way of saying no."""

from __future__ import annotations

import itertools
import re

import pytest

import asgiserve
from asgiserve import cli
from asgiserve.config import Config
from asgiserve.errors import ConfigError
from asgiserve.options import BY_NAME, OPTIONS, OptionError

# name: (text, the value that it means, bad texts). None: the option has no text form that could be bad.
SAMPLES = {
    "app": ("pkg.my-app:api.app", "pkg.my-app:api.app", ["main", ":app", "main:", "main:a pp", "../main:app", "a:b:c"]),
    "factory": (True, True, []),
    "app_dir": ("/srv/app", "/srv/app", []),
    "interface": ("asgi2", "asgi2", ["asgi4"]),
    "env_file": ("/srv/.env", "/srv/.env", []),
    "reset_contextvars": (True, True, []),
    "lifespan": ("on", "on", ["yes"]),
    "root_path": ("//api//v1/", "/api/v1", ["api"]),
    "host": ("::1", "::1", []),
    "port": ("8080", 8080, ["x", "-1", "65536", "8.5"]),
    "uds": ("/run/app.sock", "/run/app.sock", []),
    "fd": ("3", 3, ["stdin", "-3"]),
    "bind": (
        "[::1]:0, :80,unix:/run/app.sock",
        ["[::1]:0", ":80", "unix:/run/app.sock"],
        ["localhost", "::1:80", ":http", ":65536", "unix:", "fd://x", "http://localhost:80", "80,80"],
    ),
    "uds_permissions": ("0660", "660", ["rw", "8", "1777", "-1"]),
    "backlog": ("64", 64, ["0", "many"]),
    "reuse_port": (True, True, []),
    "ssl_keyfile": ("/etc/tls/key.pem", "/etc/tls/key.pem", []),
    "ssl_certfile": ("/etc/tls/cert.pem", "/etc/tls/cert.pem", []),
    "ssl_keyfile_password": ("secret", "secret", []),
    "ssl_version": ("2", 2, ["3", "4", "16", "TLSv1_2"]),
    "ssl_minimum_version": ("TLS1.3", "tls1.3", ["tls1.1", "1.3"]),
    "ssl_cert_reqs": ("required", 2, ["3", "-1", "maybe"]),
    "ssl_ca_certs": ("/etc/tls/ca.pem", "/etc/tls/ca.pem", []),
    "ssl_ciphers": ("ECDHE+AESGCM", "ECDHE+AESGCM", []),
    "loop": ("asyncio", "asyncio", ["trio"]),
    "http": ("h11", "h11", ["quic"]),
    "http2": (True, True, []),
    "ws": ("none", "none", ["tungstenite"]),
    "ws_max_size": ("1000", 1000, ["-1", "big", "1.5"]),
    "ws_max_queue": ("8", 8, ["0", "x"]),
    "ws_ping_interval": ("7.5", 7.5, ["0", "-1", "soon"]),
    "ws_ping_timeout": ("7", 7, ["-1", "soon"]),
    "ws_per_message_deflate": ("off", False, ["perhaps"]),
    "log_config": ("/etc/app/logging.yaml", "/etc/app/logging.yaml", []),
    "log_level": ("Debug", "debug", ["loud"]),
    "log_format": ("text", "text", ["xml"]),
    "access_log": (False, False, []),
    "access_log_format": ("%(h)s", "%(h)s", ["%(z)s", "%h", "%(h)d", "%(h"]),
    "use_colors": (True, True, []),
    "proxy_headers": (False, False, []),
    "forwarded_allow_ips": ("10.0.0.0/8, unix", ["10.0.0.0/8", "unix"], ["10.0.0.1/8", "10.0.0.256", "::/129"]),
    "forwarded_headers": ("Forwarded,x-forwarded-for", ("x-forwarded-for", "forwarded"), ["x-real-ip"]),
    "proxy_protocol": (True, True, []),
    "workers": ("4", 4, ["0", "many"]),
    "worker_sockets": ("own", "own", ["private"]),
    "timeout_worker_boot": ("60", 60, ["-1", "long"]),
    "timeout_worker_healthcheck": ("5", 5, ["0", "long"]),
    "limit_worker_age": ("3600", 3600, ["0", "old"]),
    "limit_worker_memory": ("512", 512, ["0", "512M"]),
    "reload": (True, True, []),
    "reload_dirs": ("src", ["src"], []),
    "reload_includes": ("*.html", ["*.html"], []),
    "reload_excludes": ("test_*.py", ["test_*.py"], []),
    "reload_delay": ("0.5", 0.5, ["-1", "soon"]),
    "metrics_bind": ("127.0.0.1:9100", "127.0.0.1:9100", ["localhost", "80,81"]),
    "server_header": (False, False, []),
    "date_header": (False, False, []),
    "headers": ("X-One: 1", [("X-One", "1")], ["X-One", ": 1", "X One: 1", "X-One: a\rb", "Content-Length: 3"]),
    "limit_concurrency": ("100", 100, ["0", "all"]),
    "limit_connections": ("100", 100, ["0", "all"]),
    "limit_max_requests": ("100", 100, ["0", "all"]),
    "limit_max_requests_jitter": ("10", 10, ["-1", "some"]),
    "limit_request_line": ("8192", 8192, ["1", "long"]),
    "limit_header_size": ("8192", 8192, ["1", "big"]),
    "limit_header_fields": ("64", 64, ["0", "few"]),
    "limit_request_body": ("1048576", 1048576, ["-1", "1M"]),
    "limit_rate_per_second": ("65536", 65536, ["1", "64K"]),
    "h11_max_incomplete_event_size": ("8192", 8192, ["1", "big"]),
    "timeout_keep_alive": ("75", 75, ["-1", "long", "nan", "inf"]),
    "timeout_ssl_handshake": ("1.5", 1.5, ["-1", "long"]),
    "timeout_headers": ("1.5", 1.5, ["-1", "long"]),
    "timeout_body": ("10", 10, ["-1", "long"]),
    "timeout_write": ("10", 10, ["-1", "long"]),
    "timeout_request": ("10", 10, ["-1", "long"]),
    "timeout_graceful_shutdown": ("10", 10, ["-1", "long"]),
    "timeout_lifespan_startup": ("10", 10, ["-1", "long"]),
    "timeout_lifespan_shutdown": ("10", 10, ["-1", "long"]),
}
BAD = [(name, bad) for name, (_, _, bads) in SAMPLES.items() for bad in bads]
NAMES = [name for name in SAMPLES if name != "app"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for option in OPTIONS:
        monkeypatch.delenv(option.env, raising=False)


@pytest.fixture
def parse(monkeypatch):
    """Runs the command with these arguments, up to the Config that would be served."""
    configs = []
    monkeypatch.setattr(cli, "_serve", configs.append)

    def parse(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.command.main(list(arguments))
        assert caught.value.code == 0
        return configs.pop()

    return parse


@pytest.fixture
def refuse(monkeypatch, capsys):
    """Runs the command with arguments that are wrong; returns the one line that it says."""

    def refuse(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.command.main(list(arguments))
        assert caught.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(r"asgiserve: error: [^\n]+\n", err)
        return err.strip()

    return refuse


def as_arguments(name, value):
    flag = BY_NAME[name].flag
    if isinstance(value, bool):
        return [flag if value else "--no-" + flag[2:]]
    return [flag, value]


def test_the_samples_cover_the_table():
    assert list(SAMPLES) == [option.name for option in OPTIONS]


def test_config_declares_what_the_table_has():
    assert list(Config.__annotations__) == [option.name for option in OPTIONS]


def test_groups_are_together_and_every_option_says_what_it_does():
    groups = [group for group, _ in itertools.groupby(OPTIONS, key=lambda option: option.group)]
    assert len(groups) == len(set(groups))
    for option in OPTIONS:
        assert option.help.endswith(".")


def test_defaults_pass_their_own_checks():
    for option in OPTIONS:
        assert option.clean(option.default) == option.default


def test_defaults_are_uvicorns_where_it_has_them():
    config = Config("main:app")
    assert (config.host, config.port, config.uds, config.fd, config.backlog) == ("127.0.0.1", 8000, None, None, 2048)
    assert (config.loop, config.http, config.lifespan) == ("auto", "auto", "auto")
    assert (config.access_log, config.server_header, config.date_header, config.use_colors) == (True, True, True, None)
    assert (config.timeout_keep_alive, config.limit_concurrency, config.limit_max_requests) == (5, None, None)
    assert config.headers == []


@pytest.mark.parametrize("name", NAMES)
def test_command_line(parse, name):
    text, value, _ = SAMPLES[name]
    assert getattr(parse("main:app", *as_arguments(name, text)), name) == value


@pytest.mark.parametrize("name", NAMES)
def test_environment(parse, monkeypatch, name):
    text, value, _ = SAMPLES[name]
    monkeypatch.setenv(BY_NAME[name].env, {True: "1", False: "0"}.get(text, text))
    assert getattr(parse("main:app"), name) == value


@pytest.mark.parametrize("name", NAMES)
def test_config(name):
    text, value, _ = SAMPLES[name]
    assert getattr(Config("main:app", **{name: value}), name) == value
    assert getattr(Config("main:app", **{name: text}), name) == value


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_bad_on_the_command_line(refuse, name, bad):
    arguments = [bad] if name == "app" else ["main:app", BY_NAME[name].flag + "=" + bad]
    assert refuse(*arguments).endswith(f"({BY_NAME[name].flag})")


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_bad_in_the_environment(refuse, monkeypatch, name, bad):
    monkeypatch.setenv(BY_NAME[name].env, bad)
    assert refuse(*([] if name == "app" else ["main:app"])).endswith(f"({BY_NAME[name].env})")


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_bad_in_config(name, bad):
    options = {name: bad}
    with pytest.raises(ConfigError, match=rf"\A{name}: [^\n]+\Z"):
        Config(options.pop("app", "main:app"), **options)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("port", True),
        ("port", 80.5),
        ("port", None),
        ("port", []),
        ("access_log", "perhaps"),
        ("access_log", 7),
        ("host", 5),
        ("uds", "a\0b"),
        ("timeout_body", float("nan")),
        ("timeout_body", True),
        ("log_level", []),
        ("headers", 5),
        ("headers", [5]),
        ("headers", [("a", "b", "c")]),
        ("headers", [("a", 1)]),
        ("headers", [("X", "line\nbreak")]),
        ("headers", [("X", "nul\0")]),
        ("headers", [("X", "\u20ac")]),
        ("headers", [("Transfer-Encoding", "chunked")]),
        ("factory", None),
        ("log_config", 3),
        ("callback_notify", "callback"),
        ("timeout_notify", "soon"),
        ("timeout_notify", 0),
        ("loop", 5),
        ("http", type("Protocol", (), {})),
        ("http", "pkg.protocols:HTTP"),
        ("http", 5),
        ("ws", type("Protocol", (), {})),
        ("ws", "pkg.protocols:WS"),
    ],
)
def test_bad_objects_in_config(name, bad):
    with pytest.raises(ConfigError, match=rf"\A{name}: [^\n]+\Z"):
        Config("main:app", **{name: bad})


def test_boolean_in_the_environment(parse, refuse, monkeypatch):
    monkeypatch.setenv("ASGISERVE_ACCESS_LOG", "off")
    assert parse("main:app").access_log is False
    monkeypatch.setenv("ASGISERVE_ACCESS_LOG", "yes")
    assert parse("main:app").access_log is True
    monkeypatch.setenv("ASGISERVE_ACCESS_LOG", "perhaps")
    assert refuse("main:app") == "asgiserve: error: 'perhaps' is neither on nor off (ASGISERVE_ACCESS_LOG)"


def test_the_command_line_wins_over_the_environment(parse, monkeypatch):
    monkeypatch.setenv("ASGISERVE_PORT", "1111")
    monkeypatch.setenv("ASGISERVE_APP", "other:app")
    config = parse("main:app", "--port", "2222")
    assert (config.app, config.port) == ("main:app", 2222)
    assert parse().app == "other:app"


def test_config_reads_no_environment(monkeypatch):
    monkeypatch.setenv("ASGISERVE_PORT", "1111")
    assert Config("main:app").port == 8000


def test_none_switches_off(parse, monkeypatch):
    assert parse("main:app", "--timeout-headers", "none").timeout_headers is None
    monkeypatch.setenv("ASGISERVE_TIMEOUT_BODY", "none")
    assert parse("main:app").timeout_body is None
    assert Config("main:app", timeout_write=None, limit_request_body=None).timeout_write is None


def test_empty_words_are_values(parse):
    config = parse("main:app", "--host", "", "--app-dir", "")
    assert (config.host, config.app_dir) == ("", "")


def test_protocols_as_uvicorns_users_name_them():
    config = Config(
        "main:app",
        http="uvicorn.protocols.http.h11_impl:H11Protocol",
        ws="uvicorn.protocols.websockets.wsproto_impl:WSProtocol",
    )
    assert (config.http, config.ws) == ("h11", "wsproto")
    protocol = type("HttpToolsProtocol", (), {"__module__": "uvicorn.protocols.http.httptools_impl"})
    assert Config("main:app", http=protocol).http == "httptools"
    with pytest.raises(ConfigError, match="protocol classes of others cannot be used"):
        Config("main:app", http="pkg.protocols:HTTP")


def test_every_name_of_a_stack_means_one():
    from asgiserve import _stack

    assert set(BY_NAME["http"].choices) == set(_stack.HTTP_VALUES)


def test_headers_add_up(parse, monkeypatch):
    config = parse("main:app", "--header", "X-One:1", "--header", "X-Two: two: 2")
    assert config.headers == [("X-One", "1"), ("X-Two", "two: 2")]
    monkeypatch.setenv("ASGISERVE_HEADERS", "X-One: a b\nX-Two: c")
    assert parse("main:app").headers == [("X-One", "a b"), ("X-Two", "c")]


def test_headers_in_config():
    expected = [("X-One", "1"), ("X-Two", "2")]
    assert Config("main:app", headers=[("X-One", "1"), ("X-Two", "2")]).headers == expected
    assert Config("main:app", headers=[(b"X-One", b"1"), ["X-Two", "2"]]).headers == expected
    assert Config("main:app", headers=["X-One:1", "X-Two: 2"]).headers == expected
    assert Config("main:app", headers={"X-One": "1", "X-Two": "2"}).headers == expected


def test_the_alias_of_the_header_limit():
    assert Config("main:app", h11_max_incomplete_event_size=4096).limit_header_size == 4096
    config = Config("main:app", h11_max_incomplete_event_size=4096, limit_header_size=8192)
    assert config.limit_header_size == 8192


def test_level_numbers():
    assert Config("main:app", log_level=15).log_level == 15


def test_unknown_option_on_the_command_line(refuse):
    assert "--prot" in refuse("main:app", "--prot", "1")


def test_unknown_keyword():
    with pytest.raises(ConfigError, match=r"\Aprot: unknown option, did you mean port\?\Z"):
        Config("main:app", prot=1)
    with pytest.raises(TypeError, match=r"\Axyzzy: unknown option\Z"):
        asgiserve.run("main:app", xyzzy=1)


def test_missing_values(refuse):
    assert "--port" in refuse("main:app", "--port")
    assert "no application" in refuse()
    assert "unexpected" in refuse("main:app", "another:app")


@pytest.mark.parametrize("app", [None, ""])
def test_no_application(app):
    with pytest.raises(ConfigError):
        Config(app)


def test_option_error_has_its_parts():
    with pytest.raises(OptionError) as caught:
        Config("main:app", port="x")
    assert caught.value.name == "port"
    assert caught.value.reason == "'x' is not a whole number"


def test_the_compiled_stack_is_asked_for_and_missing(refuse, monkeypatch):
    def load(name):
        raise ConfigError("the compiled stack is not there")

    monkeypatch.setattr("asgiserve._stack.load", load)
    assert refuse("main:app", "--http", "llhttp") == "asgiserve: error: the compiled stack is not there"


def test_help_shows_everything(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.command.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for option in OPTIONS:
        assert cli.spelling(option) in out
        assert f"{option.group}:" in out
    assert max(map(len, out.splitlines())) <= 110


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.command.main(["--version"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert re.fullmatch(rf"asgiserve {re.escape(asgiserve.__version__)}, stack \w+ \(.*\), \w+ 3\.[\d.]+\S*, .+\n", out)


def test_repr_shows_what_was_changed():
    assert repr(Config("main:app", port=1, headers=[])) == "Config('main:app', port=1)"
