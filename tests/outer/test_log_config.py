"""log_config in all its forms, set-ups made for uvicorn, and what is said of one that is wrong."""

from __future__ import annotations

import configparser
import io
import json
import logging
import logging.config
import logging.handlers
import sys
import textwrap
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from asgiserve import logging as logs
from asgiserve.config import Config
from asgiserve.errors import ConfigError
from asgiserve.logging import AccessLog

NAMES = ["asgiserve", "uvicorn"]
NAMES += [f"{name}.{part}" for name in NAMES for part in ("error", "access", "asgi")]
REQUEST = ("127.0.0.1:54321", "GET", "/x?y=1", "1.1", 404, 5, 0.001)

# As tutorials show it, for uvicorn; the file works unchanged, and with the name changed.
YAML = """
version: 1
disable_existing_loggers: False
formatters:
  default:
    "()": uvicorn.logging.DefaultFormatter
    format: "%(levelprefix)s %(asctime)s | %(message)s"
    datefmt: "%H"
    use_colors: False
  access:
    "()": uvicorn.logging.AccessFormatter
    format: '%(levelprefix)s | %(client_addr)s | "%(request_line)s" %(status_code)s'
    use_colors: False
handlers:
  default:
    class: logging.StreamHandler
    formatter: default
    stream: ext://sys.stderr
  access:
    class: logging.StreamHandler
    formatter: access
    stream: ext://sys.stdout
loggers:
  uvicorn:
    level: INFO
    handlers: [default]
    propagate: no
  uvicorn.error:
    level: INFO
  uvicorn.access:
    level: INFO
    handlers: [access]
    propagate: no
"""

INI = """
[loggers]
keys = root, uvicorn, access

[handlers]
keys = default, access

[formatters]
keys = default, access

[logger_root]
level = WARNING
handlers =

[logger_uvicorn]
level = INFO
handlers = default
propagate = 0
qualname = uvicorn

[logger_access]
level = INFO
handlers = access
propagate = 0
qualname = uvicorn.access

[handler_default]
class = StreamHandler
formatter = default
args = (sys.stderr,)

[handler_access]
class = StreamHandler
formatter = access
args = (sys.stdout,)

[formatter_default]
class = uvicorn.logging.DefaultFormatter
format = %(levelprefix)s [%(message)s]

[formatter_access]
class = uvicorn.logging.AccessFormatter
format = %(client_addr)s "%(request_line)s" %(status_code)s
"""

TOML = """
version = 1
[formatters.plain]
format = "%(name)s: %(message)s"
[handlers.err]
class = "logging.StreamHandler"
formatter = "plain"
[loggers.asgiserve]
handlers = ["err"]
level = "INFO"
propagate = false
"""


@pytest.fixture(autouse=True)
def as_before():
    """Puts the loggers back as they were; a set-up may also disable those of others."""
    others = [it for it in logging.root.manager.loggerDict.values() if isinstance(it, logging.Logger)]
    enabled = [it for it in others if not it.disabled]
    loggers = [logging.getLogger(), *map(logging.getLogger, NAMES)]
    before = [(it, it.level, it.propagate, it.disabled, it.handlers[:], it.filters[:]) for it in loggers]
    yield
    for it, level, propagate, disabled, handlers, filters in before:
        for handler in it.handlers:
            if handler not in handlers:
                handler.close()
        it.setLevel(level)
        it.propagate, it.disabled = propagate, disabled
        it.handlers[:] = handlers
        it.filters[:] = filters
    for it in enabled:
        it.disabled = False


def apply(log_config, **options):
    """Sets logging up and logs one thing of each kind; returns what was written to stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        Config("main:app", log_config=log_config, **options).configure_logging()
    access = logging.getLogger("asgiserve.access")
    access.handlers[:] = [it for it in access.handlers if not type(it).__module__.startswith("_pytest.")]
    logging.getLogger("asgiserve.error").info("hello")
    log = AccessLog(None, options.get("access_log_format"))
    if log.wanted:
        log.log(*REQUEST)
    log.close()
    return out.getvalue(), err.getvalue()


def described(logger):
    """All that a set-up says of a logger."""
    handlers = [
        (type(handler), handler.name, handler.level, handler.stream, type(handler.formatter), handler.formatter._fmt)
        + (getattr(handler.formatter, "use_colors", None),)
        for handler in logger.handlers
    ]
    return logger.name, logger.level, logger.propagate, logger.disabled, logger.filters, handlers


@pytest.mark.parametrize(
    "options",
    [{}, {"log_format": "json"}, {"access_log_format": "%(h)s"}, {"use_colors": True}, {"log_level": "error"}],
    ids=repr,
)
def test_the_default_set_up_is_what_dictconfig_makes_of_it(monkeypatch, options):
    out, err = io.StringIO(), io.StringIO()
    loggers = [*map(logging.getLogger, NAMES), logging.getLogger("asgiserve.more"), logging.getLogger("somebody")]

    def set_up():
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
            # Python 3.9's dictConfig() leaves loggers disabled that it names.
            logger.propagate, logger.disabled = False, sys.version_info >= (3, 10) or logger.name == "somebody"
            logger.handlers[:] = [logging.NullHandler()]
        with redirect_stdout(out), redirect_stderr(err):
            Config("main:app", **options).configure_logging()
        # Of what it does not name, a set-up changes nothing that shows.
        found = [described(logger) for logger in loggers if logger.name != "somebody"]
        return found, logging.getLogger("somebody").disabled

    ours = set_up()
    monkeypatch.setattr("asgiserve.logging.default_setup.UNCHANGED", None)
    assert ours == set_up()
    for logger in loggers[-2:]:
        logger.handlers.clear()
        logger.propagate, logger.disabled = True, False
        logger.setLevel(logging.NOTSET)


def test_a_default_set_up_that_was_changed_in_place_counts(monkeypatch):
    monkeypatch.setitem(logs.LOGGING_CONFIG["formatters"]["default"], "fmt", "changed: %(message)s")
    assert apply(logs.LOGGING_CONFIG)[1] == "changed: hello\n"


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(textwrap.dedent(text))
    return path


@pytest.mark.parametrize("own_name", [False, True])
@pytest.mark.parametrize("suffix", ["yaml", "yml", "YML"])
def test_yaml(tmp_path, own_name, suffix):
    pytest.importorskip("yaml")
    path = written(tmp_path, f"logging.{suffix}", YAML.replace("uvicorn", "asgiserve") if own_name else YAML)
    out, err = apply(str(path))
    assert out == 'INFO:     | 127.0.0.1:54321 | "GET /x?y=1 HTTP/1.1" 404 Not Found\n'
    assert err.startswith("INFO:     ")
    assert err.endswith(" | hello\n")


@pytest.mark.parametrize("own_name", [False, True])
def test_ini(tmp_path, own_name):
    text = INI.replace("uvicorn", "asgiserve") if own_name else INI
    expected = ('127.0.0.1:54321 "GET /x?y=1 HTTP/1.1" 404 Not Found\n', "INFO:     [hello]\n")
    assert apply(written(tmp_path, "logging.ini", text)) == expected
    assert apply(written(tmp_path, "logging.conf", text)) == expected
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert apply(parser) == expected
    with open(tmp_path / "logging.ini") as file:
        assert apply(file) == expected
    assert apply(io.StringIO(text)) == expected


def test_json(tmp_path):
    config = json.loads(json.dumps(logs.LOGGING_CONFIG).replace("asgiserve.logging.Stream", "logging.Stream"))
    config["formatters"]["default"]["fmt"] = "%(message)s!"
    path = written(tmp_path, "logging.json", json.dumps(config))
    assert apply(path) == ('INFO:     127.0.0.1:54321 - "GET /x?y=1 HTTP/1.1" 404 Not Found\n', "hello!\n")


def test_toml(tmp_path):
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    assert apply(written(tmp_path, "logging.toml", TOML)) == (
        "",
        'asgiserve.error: hello\nasgiserve.access: 127.0.0.1:54321 - "GET /x?y=1 HTTP/1.1" 404\n',
    )


def test_uvicorns_own_default():
    config = pytest.importorskip("uvicorn.config").LOGGING_CONFIG
    before = json.dumps(config)
    expected = ('INFO:     127.0.0.1:54321 - "GET /x?y=1 HTTP/1.1" 404 Not Found\n', "INFO:     hello\n")
    assert apply(config) == expected
    assert json.dumps(config) == before
    coloured = apply(config, use_colors=True)
    assert coloured[1] == "\x1b[32mINFO\x1b[0m:     hello\n"


def test_uvicorns_loggers_work_as_well(tmp_path):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        Config("main:app", log_config=written(tmp_path, "logging.ini", INI)).configure_logging()
    logging.getLogger("uvicorn.error").info("the application's")
    assert err.getvalue() == "INFO:     [the application's]\n"


def test_our_loggers_win_over_uvicorns():
    config = {
        "version": 1,
        "formatters": {"a": {"format": "ours %(message)s"}, "b": {"format": "theirs %(message)s"}},
        "handlers": {
            "a": {"class": "logging.StreamHandler", "formatter": "a"},
            "b": {"class": "logging.StreamHandler", "formatter": "b"},
        },
        "loggers": {
            "asgiserve": {"handlers": ["a"], "level": "INFO", "propagate": False},
            "uvicorn": {"handlers": ["b"], "level": "INFO", "propagate": False},
        },
    }
    assert apply(config)[1].splitlines()[0] == "ours hello"


def test_level_and_access_log_hold_for_a_file_too(tmp_path):
    path = written(tmp_path, "logging.ini", INI)
    assert apply(path, log_level="warning") == ("", "")
    assert apply(path, access_log=False) == ("", "INFO:     [hello]\n")
    assert apply(path, log_level=15)[1] == "INFO:     [hello]\n"
    assert logging.getLogger("asgiserve.error").level == 15


def test_files_that_rotate(tmp_path):
    config = {
        "version": 1,
        "formatters": {"plain": {"format": "%(message)s"}},
        "handlers": {
            "rotating": {
                "class": "logging.handlers.RotatingFileHandler",
                "filename": str(tmp_path / "access.log"),
                "maxBytes": 200,
                "backupCount": 2,
                "formatter": "plain",
            },
            "watched": {
                "class": "logging.handlers.WatchedFileHandler",
                "filename": str(tmp_path / "error.log"),
                "formatter": "plain",
            },
        },
        "loggers": {
            "asgiserve.error": {"handlers": ["watched"], "level": "INFO", "propagate": False},
            "asgiserve.access": {"handlers": ["rotating"], "level": "INFO", "propagate": False},
        },
    }
    for _ in range(4):
        apply(config)
    (tmp_path / "error.log").rename(tmp_path / "error.log.1")
    log = AccessLog(None)
    for _ in range(6):
        log.log(*REQUEST)
    logging.getLogger("asgiserve.error").info("after the rename")
    line = '127.0.0.1:54321 - "GET /x?y=1 HTTP/1.1" 404\n'
    kept = [(tmp_path / f"access.log{suffix}").read_text() for suffix in (".2", ".1", "")]
    assert "".join(kept) == line * 10
    assert (tmp_path / "error.log").read_text() == "after the rename\n"
    assert (tmp_path / "error.log.1").read_text() == "hello\n" * 4


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "{", "a.json: .*line 1 column 2"),
        ("a.json", "[]", "a.json holds no table but a list"),
        ("a.json", '{"version": 2}', "a.json: Unsupported version: 2"),
        ("a.json", '{"version": 1, "handlers": {"x": {"class": "nowhere.Handler"}}}', "handler 'x': .*nowhere"),
        ("a.json", '{"version": 1, "formatters": {"x": {"()": "uvicorn.logging.Nothing"}}}', "formatter 'x'.*Nothing"),
        ("a.yaml", "a: [", "a.yaml: while parsing"),
        ("a.toml", "a =", "a.toml: "),
        ("a.ini", "no section", "no section headers"),
        ("a.ini", "[a]\nb = c", r"no section \[loggers\]"),
        ("a", "[loggers]\nkeys=x\n[handlers]\nkeys=\n[formatters]\nkeys=\n", "a: .loggers. has no root"),
        ("a", "[loggers]\nkeys=root,x\n[handlers]\nkeys=\n[formatters]\nkeys=\n", "a: KeyError: .logger_"),
    ],
)
def test_one_line_for_a_file_that_is_wrong(tmp_path, name, text, says):
    if name == "a.toml":
        pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    if name == "a.yaml":
        pytest.importorskip("yaml")
    with pytest.raises(ConfigError, match=rf"\Alog_config: [^\n]*{says}[^\n]*\Z"):
        apply(written(tmp_path, name, text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"\Alog_config: cannot read /nowhere/a.json: [^\n]+\Z"):
        apply("/nowhere/a.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"a.json is not UTF-8 text\Z"):
        apply(tmp_path / "a.json")


def test_yaml_without_pyyaml(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"\Alog_config: PyYAML is needed \(pip install 'asgiserve\[yaml\]'\)"):
        apply(written(tmp_path, "a.yaml", YAML))


def test_json_lines_are_a_matter_of_the_default_set_up():
    with pytest.raises(ConfigError, match=r"\Alog_format: json changes the default log_config"):
        Config("main:app", log_format="json", log_config={"version": 1})
    Config("main:app", log_format="json", log_config=json.loads(json.dumps(logs.LOGGING_CONFIG)))


class Unwritable(logging.StreamHandler):
    def __init__(self):
        super().__init__(Path("/dev/null").open("w"))  # noqa: SIM115, closed with the handler
        self.error = OSError(28, "No space left on device")

    def flush(self):
        if self.error:
            raise self.error

    def close(self):
        self.error = None
        self.stream.close()
        super().close()


def test_a_handler_of_the_users_own_that_cannot_write_complains_once(capsys):
    config = {
        "version": 1,
        "handlers": {"full": {"()": Unwritable}},
        "loggers": {"asgiserve": {"handlers": ["full"], "level": "INFO", "propagate": False}},
    }
    apply(config)
    for _ in range(10):
        logging.getLogger("asgiserve.error").info("lost")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("asgiserve: ")
    assert "No space left on device" in line
    logging.getLogger("asgiserve.error").info("%d", "a mistake in the call")
    assert "Traceback" in capsys.readouterr().err
