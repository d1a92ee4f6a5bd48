"""The option http2: what it needs, and what a server without it does not load."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from asgiserve import _stack, cli
from asgiserve.config import Config
from asgiserve.options import OptionError

LOADED = """
import sys
from asgiserve.config import Config

async def app(scope, receive, send):
    pass

config = Config(app, http2=HTTP2)
config.load()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"h2", "hpack", "hyperframe"}))
"""


@pytest.fixture
def without(monkeypatch):
    """without(version): h2 is missing, or of that version."""

    def make(version=None):
        module = None if version is None else types.SimpleNamespace(__version__=version)
        monkeypatch.setitem(sys.modules, "h2", module)

    return make


@pytest.mark.parametrize(("wanted", "loaded"), [(False, "[]"), (True, "['h2', 'hpack', 'hyperframe']")])
def test_h2_is_loaded_with_the_option_only(wanted, loaded):
    done = subprocess.run(
        [sys.executable, "-c", LOADED.replace("HTTP2", str(wanted))], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == loaded, done.stderr


def test_config(stack):
    config = Config("main:app", http2=True, http={"compiled": "llhttp", "pure": "h11"}[stack.name])
    assert config.http2_connection is None
    config.load_stack()
    assert config.http2_connection is _stack.http2(stack)
    assert config.http2_connection.__module__.rpartition(".")[0] == stack.HTTPConnection.__module__.rpartition(".")[0]
    config = Config("main:app")
    config.load_stack()
    assert config.http2_connection is None


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (None, "HTTP/2 needs the package h2: pip install 'asgiserve[http2]'"),
        ("3.2.0", "HTTP/2 needs h2 4.1 or newer, and this is 3.2.0"),
        ("4.0", "HTTP/2 needs h2 4.1 or newer, and this is 4.0"),
    ],
)
def test_without_h2(without, capsys, monkeypatch, tmp_path, version, says):
    without(version)
    with pytest.raises(OptionError) as caught:
        Config("main:app", http2=True).load_stack()
    assert (caught.value.name, caught.value.reason) == ("http2", says)
    Config("main:app").load_stack()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.command.main(["main:app", "--http2"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"asgiserve: error: {says} (--http2)\n"


@pytest.mark.parametrize("version", ["4.1.0", "4.4.1", "5.0"])
def test_versions_that_will_do(without, stack, version):
    without(version)
    assert _stack.http2(stack).__name__ == "HTTP2Connection"
