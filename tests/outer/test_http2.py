"""The option http2: what it needs, and what a server without it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from asgiserve import _stack, cli
from asgiserve.config import Config
from asgiserve.options import OptionError

LOADED = """
import sys
from asgiserve.config import Config

async def app(scope, receive, send):
    pass

config = Config(app, http2=HTTP2, http=HTTP)
config.load()
print("hpack" in sys.modules, any(".http2" in name for name in sys.modules))
"""
SAYS = "HTTP/2 on the pure stack needs the package hpack: pip install 'asgiserve[http2]'"
CHOICES = {"compiled": "llhttp", "pure": "h11"}


@pytest.fixture
def without_hpack(monkeypatch):
    """hpack is missing, and nothing that needs it is loaded."""
    for name in list(sys.modules):
        if name.startswith(("hpack", "asgiserve._core.http2", "asgiserve._core.headerblock")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hpack", None)


@pytest.mark.parametrize("wanted", [False, True])
def test_what_is_loaded(stack, wanted):
    """Nothing of it without the option, and the library by the stack that needs it."""
    program = LOADED.replace("HTTP2", str(wanted)).replace("HTTP", repr(CHOICES[stack.name]))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(wanted and stack.name == "pure"), str(wanted)], done.stderr


def test_config(stack):
    config = Config("main:app", http2=True, http=CHOICES[stack.name])
    assert config.http2_connection is None
    config.load_stack()
    assert config.http2_connection is _stack.http2(stack)
    assert config.http2_connection.__module__.rpartition(".")[0] == stack.HTTPConnection.__module__.rpartition(".")[0]
    config = Config("main:app")
    config.load_stack()
    assert config.http2_connection is None


def test_without_the_library(without_hpack, capsys, monkeypatch, tmp_path):
    with pytest.raises(OptionError) as caught:
        Config("main:app", http2=True, http="h11").load_stack()
    assert (caught.value.name, caught.value.reason) == ("http2", SAYS)
    Config("main:app", http="h11").load_stack()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.command.main(["main:app", "--http2", "--http", "h11"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"asgiserve: error: {SAYS} (--http2)\n"
