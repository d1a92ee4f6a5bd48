"""Workers that accept from sockets of their own: none of these loses a connection when its worker goes."""

from __future__ import annotations

import re
import signal

import pytest

from .launcher import LINUX
from .load import Load, OneTarget

pytestmark = pytest.mark.skipif(not LINUX, reason="sockets of their own are for Linux")

OWN = ("--worker-sockets", "own", "--no-access-log")


def serving(server) -> int:
    """How many workers serve, by the log."""
    log = server.stderr()
    return len(re.findall(r"Worker \d+ \[\d+\] serves", log)) - len(re.findall(r"Worker \d+ \[\d+\] has ended", log))


def test_workers_come_and_go_under_load(start, ours):
    server = start("worker_app:app", "--workers", "2", *OWN)
    with Load(server.address, OneTarget()) as load:
        load.until(lambda: serving(server) == 2)
        load.wait(500)
        server.signal(signal.SIGTTIN)
        load.until(lambda: serving(server) == 3)
        load.wait(500)
        for count in (2, 1):
            server.signal(signal.SIGTTOU)
            load.until(lambda count=count: serving(server) == count)
            load.wait(500)
        old = server.stderr().count("has ended")
        server.signal(signal.SIGHUP)
        load.until(lambda: server.stderr().count("has ended") == old + 1)
        load.wait(500)
        server.signal(signal.SIGTTIN)
        load.until(lambda: serving(server) == 2)
        load.answers.clear()
        load.until(lambda: len(load.answers) == 2)
    assert not load.failures
    server.stop()
