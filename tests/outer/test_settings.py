"""Where settings come from: the command line, the environment, files; and what --print-config and --check-config
say."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from asgiserve import cli, show_config
from asgiserve.config import Config
from asgiserve.options import BY_NAME, OPTIONS
from asgiserve.settings import _parse, gather

APP = """
async def app(scope, receive, send):
    pass
"""


@pytest.fixture(autouse=True)
def a_place_of_its_own(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("ASGISERVE_", "UVICORN_")) or name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command; returns its exit status, standard output and standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.command.main(list(arguments))
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


@pytest.fixture
def served(monkeypatch):
    """Runs the command up to the Config that would be served, and returns that."""
    configs = []
    monkeypatch.setattr(cli, "_serve", configs.append)

    def served(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.command.main(list(arguments))
        assert caught.value.code == 0
        return configs.pop()

    return served


@pytest.fixture
def refused(run):
    """Runs the command with settings that are wrong; returns the one line that it says, without its beginning."""

    def refused(*arguments):
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        match = re.fullmatch(r"asgiserve: error: ([^\n]+)\n", err)
        assert match, err
        return match.group(1)

    return refused


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# -- files


def test_every_option_in_a_file(served):
    from .test_options import SAMPLES

    samples = {name: value for name, (_, value, _) in SAMPLES.items()}
    samples["headers"] = ["X-One: 1"]
    write("all.toml", "".join(f"{name} = {show_config.toml(value)}\n" for name, value in samples.items()))
    config = served("--config", "all.toml")
    assert {name: getattr(config, name) for name in SAMPLES} == {
        **{name: value for name, (_, value, _) in SAMPLES.items()},
        "limit_header_size": SAMPLES["limit_header_size"][1],
    }


def test_spellings_in_a_file(served):
    write("c.toml", 'app = "main:app"\nlog-level = "debug"\ntimeout-headers = "none"\nheaders = {X-One = "1"}\n')
    config = served("--config", "c.toml")
    assert (config.app, config.log_level, config.timeout_headers) == ("main:app", "debug", None)
    assert config.headers == [("X-One", "1")]


def test_pyproject_is_read_where_it_has_a_table(served):
    assert served("main:app").port == 8000
    write("pyproject.toml", '[project]\nname = "asgiserve-user"\n')
    assert served("main:app").port == 8000
    write("pyproject.toml", "[tool.asgiserve]\nport = 9001\n")
    assert served("main:app").port == 9001


def test_the_pyproject_of_others_may_be_wrong(served):
    write("pyproject.toml", "this is no TOML")
    assert served("main:app").port == 8000


def test_a_file_replaces_pyproject(served):
    write("pyproject.toml", "[tool.asgiserve]\nport = 9001\nbacklog = 5\n")
    write("c.toml", "port = 9002\n")
    config = served("main:app", "--config", "c.toml")
    assert (config.port, config.backlog) == (9002, 2048)


def test_a_pyproject_that_is_named(served):
    os.mkdir("below")
    write("below/pyproject.toml", "[tool.asgiserve]\nport = 9003\n")
    assert served("main:app", "--config", "below/pyproject.toml").port == 9003


def test_the_file_named_in_the_environment(served, monkeypatch):
    write("c.toml", "port = 9002\n")
    write("d.toml", "port = 9004\n")
    monkeypatch.setenv("ASGISERVE_CONFIG", "c.toml")
    assert served("main:app").port == 9002
    assert served("main:app", "--config", "d.toml").port == 9004


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", r"c\.toml: prot: there is no such option, did you mean port\?"),
        ("xyzzy = 1", r"c\.toml: xyzzy: there is no such option"),
        ("[server]\nport = 1", r"c\.toml: server: there is no such option.*"),
        ("config = 'd.toml'", r"c\.toml: config: there is no such option.*"),
        ("port = 'x'", r"'x' is not a whole number \(c\.toml: port\)"),
        ("port = 80.5", r"80\.5 is not a whole number \(c\.toml: port\)"),
        ("host = 2020-01-01", r"datetime\.date\(2020, 1, 1\) is not a string \(c\.toml: host\)"),
        ("log-level = 'loud'", r"'loud' is not one of .* \(c\.toml: log-level\)"),
        ("log-level = 'info'\nlog_level = 'info'", r"c\.toml: log_level is there twice, .*"),
        ("port: 1", r"c\.toml is not TOML: .*"),
        ("a = " + "[" * 100000, r"c\.toml is not TOML: .*"),
        ("a\0 = 1", r"c\.toml is not TOML: .*"),
    ],
)
def test_what_is_wrong_in_a_file(refused, text, says):
    write("c.toml", text)
    assert re.fullmatch(says, refused("main:app", "--config", "c.toml"))


def test_files_that_cannot_be_read(refused, tmp_path):
    assert refused("main:app", "--config", "c.toml") == "c.toml cannot be read: No such file or directory"
    assert refused("main:app", "--config", str(tmp_path)) == f"{tmp_path} cannot be read: Is a directory"
    assert re.fullmatch("a\0b cannot be read: .*null.*", refused("main:app", "--config", "a\0b"))
    (tmp_path / "c.toml").write_bytes(b"host = '\xff'")
    assert refused("main:app", "--config", "c.toml") == "c.toml cannot be read: it is not UTF-8 text"


@pytest.mark.parametrize("text", ["tool.asgiserve = 1", "tool = 'asgiserve'"])
def test_pyproject_without_a_table(refused, text):
    write("pyproject.toml", text)
    assert "is not a table" in refused("main:app")


# -- the environment


def test_unknown_variables(refused, monkeypatch):
    monkeypatch.setenv("ASGISERVE_PROT", "1")
    assert refused("main:app") == "ASGISERVE_PROT: there is no such variable, did you mean ASGISERVE_PORT?"
    monkeypatch.delenv("ASGISERVE_PROT")
    monkeypatch.setenv("ASGISERVE_HEADER", "X-One: 1")
    assert refused("main:app") == "ASGISERVE_HEADER: there is no such variable, did you mean ASGISERVE_HEADERS?"


@pytest.mark.parametrize("name", ["ASGISERVE_EXTENSIONS", "ASGISERVE_LLHTTP_DIR", "ASGISERVE_E2E", "UVICORN_XYZZY"])
def test_variables_that_are_no_options(served, monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert repr(served("main:app")) == "Config('main:app')"


def test_uvicorns_variables(served, refused, monkeypatch):
    monkeypatch.setenv("UVICORN_APP", "main:app")
    monkeypatch.setenv("UVICORN_PORT", "9005")
    monkeypatch.setenv("UVICORN_ACCESS_LOG", "False")
    monkeypatch.setenv("UVICORN_WS_PER_MESSAGE_DEFLATE", "n")
    monkeypatch.setenv("UVICORN_HEADERS", "X-One:1 X-Two:2")
    monkeypatch.setenv("UVICORN_FORWARDED_ALLOW_IPS", "10.0.0.1,10.0.0.2")
    monkeypatch.setenv("UVICORN_WORKERS", "1")
    monkeypatch.setenv("UVICORN_UDS", "")
    config = served()
    assert (config.app, config.port, config.access_log, config.ws_per_message_deflate) == (
        "main:app",
        9005,
        False,
        False,
    )
    assert config.headers == [("X-One", "1"), ("X-Two", "2")]
    assert config.forwarded_allow_ips == ["10.0.0.1", "10.0.0.2"]
    assert config.uds is None
    monkeypatch.setenv("UVICORN_PORT", "x")
    assert refused() == "'x' is not a whole number (UVICORN_PORT)"
    assert served("--port", "1").port == 1


def test_precedence(served, monkeypatch):
    write("pyproject.toml", "[tool.asgiserve]\nport = 1\n")
    assert served("main:app").port == 1
    monkeypatch.setenv("UVICORN_PORT", "2")
    assert served("main:app").port == 2
    monkeypatch.setenv("ASGISERVE_PORT", "3")
    assert served("main:app").port == 3
    assert served("main:app", "--port", "4").port == 4


def test_where_to_listen_is_said_by_the_strongest_source(served, monkeypatch):
    write("pyproject.toml", "[tool.asgiserve]\nhost = '::1'\nuds = '/run/a.sock'\nbind = ['[::1]:1']\nfd = 3\n")

    def places(*arguments):
        config = served("main:app", *arguments)
        return config.host, config.port, config.uds, config.fd, config.bind

    assert places() == ("::1", 8000, "/run/a.sock", 3, ["[::1]:1"])
    assert places("--port", "1") == ("::1", 1, None, None, [])
    assert places("--fd", "0") == ("::1", 8000, "/run/a.sock", 0, [])
    assert places("--bind", ":2") == ("::1", 8000, "/run/a.sock", 3, [":2"])
    monkeypatch.setenv("UVICORN_UDS", "/run/b.sock")
    assert places() == ("::1", 8000, "/run/b.sock", None, [])
    assert places("--port", "1", "--fd", "4") == ("::1", 1, None, 4, [])
    monkeypatch.setenv("ASGISERVE_HOST", "")
    assert places() == ("::1", 8000, "/run/b.sock", None, [])
    monkeypatch.setenv("ASGISERVE_HOST", "localhost")
    assert places() == ("localhost", 8000, None, None, [])


def test_a_second_name_wins_from_a_stronger_source(served, monkeypatch):
    monkeypatch.setenv("ASGISERVE_LIMIT_HEADER_SIZE", "1000")
    monkeypatch.setenv("UVICORN_H11_MAX_INCOMPLETE_EVENT_SIZE", "2000")
    assert served("main:app").limit_header_size == 1000
    assert served("main:app", "--h11-max-incomplete-event-size", "3000").limit_header_size == 3000


def test_flags_off_win_over_on(served, monkeypatch):
    monkeypatch.setenv("ASGISERVE_ACCESS_LOG", "on")
    assert served("main:app", "--no-access-log").access_log is False
    monkeypatch.setenv("ASGISERVE_FACTORY", "yes")
    assert served("main:app").factory is True


def test_an_empty_variable_says_nothing(served, monkeypatch):
    monkeypatch.setenv("ASGISERVE_PORT", "")
    monkeypatch.setenv("UVICORN_PORT", "7")
    assert served("main:app").port == 7


def test_gather_names_the_origins():
    found = gather({"port": "1", "config": None}, {"ASGISERVE_HOST": "::1", "UVICORN_BACKLOG": "3", "PATH": "/bin"})
    assert {name: setting.origin for name, setting in found.items()} == {
        "port": "command line",
        "host": "ASGISERVE_HOST",
        "backlog": "UVICORN_BACKLOG",
    }


# -- $WEB_CONCURRENCY


@pytest.mark.parametrize(
    ("text", "options", "count"),
    [
        ("4", {}, 4),
        ("4", {"workers": 2}, 2),
        ("4", {"workers": 1}, 1),
        ("1", {}, None),
        ("", {}, None),
        ("4", {"reload": True}, None),
    ],
)
def test_workers_that_the_platform_asks_for(monkeypatch, text, options, count):
    monkeypatch.setenv("WEB_CONCURRENCY", text)
    assert Config("one_app:app", **options).worker_count == count


def test_a_platform_that_asks_for_what_is_no_number(monkeypatch, refused):
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    assert refused("one_app:app") == "$WEB_CONCURRENCY: 'many' is not a whole number"


# -- --print-config


def test_print_config(run, monkeypatch):
    write("c.toml", "backlog = 100\n")
    monkeypatch.setenv("ASGISERVE_HOST", "::1")
    monkeypatch.setenv("UVICORN_SSL_KEYFILE_PASSWORD", "hunter2")
    status, out, err = run(
        "--config", "c.toml", "--print-config", "main:app", "--h11-max-incomplete-event-size", "4096"
    )
    assert (status, err) == (0, "")
    lines = out.splitlines()

    def origin(line):
        found = [other.split("  # ")[1] for other in lines if re.split(" {2,}#", other)[0] == line]
        return found[0] if found else None

    assert origin('app = "main:app"') == "command line"
    assert origin('host = "::1"') == "ASGISERVE_HOST"
    assert origin("backlog = 100") == "c.toml: backlog"
    assert origin("port = 8000") == "default"
    assert origin("# uds = (none)") == "default"
    assert origin("# log_level = (info)") == "default"
    assert origin("limit_header_size = 4096") == "command line (h11_max_incomplete_event_size)"
    assert origin("# ssl_keyfile_password = (hidden)") == "UVICORN_SSL_KEYFILE_PASSWORD"
    assert "hunter2" not in out
    for option in OPTIONS:
        assert re.search(rf"^(# )?{option.name} = ", out, re.M)
        assert f"# {option.group}\n" in out


def test_what_print_config_shows_is_a_config_file(run, served):
    given = (
        *("main:app", "--port", "1", "--no-access-log", "--header", 'X-One: "a\\b"\t\xe9'),
        *("--header", "X-Two: 2", "--timeout-body", "none", "--timeout-headers", "1.5", "--root-path", "/a/\x7f"),
        *("--forwarded-allow-ips", "10.0.0.1,unix", "--loop", "asyncio"),
    )
    _, out, _ = run(*given, "--print-config")
    write("shown.toml", out)
    again, config = served("--config", "shown.toml"), served(*given)
    assert repr(again) == repr(config)
    assert [getattr(again, option.name) for option in OPTIONS] == [getattr(config, option.name) for option in OPTIONS]


def test_print_config_without_an_application(run):
    status, out, _ = run("--print-config")
    assert status == 0
    assert re.search(r"^# app = \(none\) +# default$", out, re.M)


def test_print_config_of_what_is_wrong(refused):
    assert refused("--print-config", "--port", "x") == "'x' is not a whole number (--port)"


def test_print_config_of_what_cannot_be_printed(run):
    status, out, _ = run("main:app", "--print-config", "--uds", "/run/\udcff.sock")
    assert status == 0
    assert r"/run/\udcff.sock" in out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, '"none"'),
        (True, "true"),
        (1.5, "1.5"),
        ('a"b\\c\n\x7f\xe9', '"a\\"b\\\\c\\n\\u007f\xe9"'),
        (("a", "b"), '["a", "b"]'),
        ([("X", "1")], '["X: 1"]'),
        ({"a": {"b c": [1, 2]}}, '{"a" = {"b c" = [1, 2]}}'),
    ],
)
def test_toml(value, text):
    assert show_config.toml(value) == text
    if value is not None and value != [("X", "1")]:
        assert _parse(f"x = {text}") == {"x": list(value) if isinstance(value, tuple) else value}


# -- --check-config


def check(*arguments):
    """Runs ``--check-config`` for real, as it changes the logging and imports; returns (status, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", "asgiserve", "--check-config", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_check_config_that_is_good():
    write("good.py", "import asyncio\nasyncio.get_running_loop()\n" + APP)
    assert check("good:app") == (0, "asgiserve: the configuration is good, and good:app can be loaded\n", "")


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("missing:app", r'there is no module "missing" .*'),
        ("broken:app", r'module "broken" could not be imported: ZeroDivisionError: .* \(.*broken\.py:3\)'),
        ("broken:xyzzy", r'module "broken" could not be imported: .*'),
        ("leaves:app", r"importing 'leaves:app' ends the program \(SystemExit: 7\)"),
        ("broken_text:app", r'module "broken_text" could not be imported: SyntaxError: .*'),
    ],
)
def test_check_config_of_an_application_that_fails(module, says):
    write("broken.py", "def deeper():\n\n    1 / 0\ndeeper()")
    write("broken_text.py", "def")
    write("leaves.py", "import sys\nsys.exit(7)")
    status, out, err = check(module)
    assert (status, out) == (3, "")
    assert re.fullmatch(rf"asgiserve: error: cannot load the application: {says}\n", err), err


def test_check_config_of_what_is_wrong(refused):
    write("one_app.py", APP)
    assert refused("--check-config", "one_app:app", "--port", "x") == "'x' is not a whole number (--port)"
    assert refused("--check-config", "one_app:app", "--ssl-certfile", "none.pem").endswith("(--ssl-certfile)")
    assert refused("--check-config", "one_app:app", "--loop", "missing:loop").endswith("(--loop)")
    assert refused("--check-config").startswith("no application given")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is full")
@pytest.mark.parametrize("flag", ["--help", "--version", "--print-config"])
def test_output_that_cannot_be_written(flag):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "asgiserve", flag],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr == "asgiserve: error: standard output cannot be written: No space left on device\n"


# -- completion


def complete(words, current):
    """What bash is offered for `current` after `words`, as ``type,value`` lines."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "_ASGISERVE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["asgiserve", *words, current]),
        "COMP_CWORD": str(len(words) + 1),
    }
    code = "from asgiserve.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


def test_completion():
    assert "plain,--port" in complete([], "--p")
    assert "plain,--no-access-log" in complete([], "--no-")
    assert complete(["--lifespan"], "o") == ["plain,on", "plain,off"]
    assert complete(["--ws-per-message-deflate"], "") == ["plain,true", "plain,false"]
    assert complete(["--ssl-keyfile"], "ke") == ["file,ke"]
    assert complete(["--app-dir"], "") == ["dir,"]
    assert complete(["--config"], "c") == ["file,c"]


def test_every_choice_is_completed():
    for option in OPTIONS:
        if option.choices:
            found = [item.value for item in cli.Value(option).shell_complete(None, None, "")]
            assert found == list(option.choices)
    assert BY_NAME["uds"].kind == "path"
