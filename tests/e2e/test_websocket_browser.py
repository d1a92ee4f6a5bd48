"""A page in a real browser that exchanges text and binary messages, and reports what it saw."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from .launcher import missing, wait_for
from .websocket_client import ask, wait_ended

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing but the page: no sandbox (tests may run as root), no graphics, no talk of its own to the network.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--no-proxy-server",
    "--remote-debugging-port=0",  # a headless browser with nothing to wait for would leave at once
]


@pytest.fixture
def browse(workdirs):
    """browse(url): a browser on that page until the test ends."""
    import shutil

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing("no Chromium is installed")
    running = []

    def visit(url):
        directory = workdirs()
        with (directory / "log").open("wb") as log:
            argv = [path, *FLAGS, f"--user-data-dir={directory}", url]
            # In a session of its own, so that all its processes can be ended at once.
            running.append(
                subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            )
        return directory / "log"

    yield visit
    for popen in running:
        os.killpg(popen.pid, signal.SIGKILL)
        popen.wait(20)


def test_page(serve, browse, key, ours):
    server = serve("websocket_app:app", tracebacks=True)
    log = browse(f"{server.url}/page?key={key}")

    def report():
        return ask(server, f"/report?key={key}")

    try:
        seen = wait_for(report, timeout=60, what="the page reports")
    except pytest.fail.Exception:
        raise AssertionError(f"no report: {log.read_text('utf-8', 'replace')[-4000:]}") from None
    assert "permessage-deflate" in seen.pop("extensions")
    del seen["closedByUs"]["reason"]  # a server need not repeat it
    assert seen == {
        "text": "grüße, 🌍",
        "empty": "",
        "binary": True,
        "order": True,
        "closedByUs": {"code": 4321, "wasClean": True},
        "closedByServer": {"code": 4010, "reason": "server says býe", "wasClean": True},
        "protocol": "two",
        "closedPlainly": {"code": 1005, "reason": "", "wasClean": True},
        "failed": {"code": 1011, "reason": "", "wasClean": True},
        "rejected": "closed with 1006",
    }
    assert wait_ended(server, key) == [4321, "browser says bye"]
