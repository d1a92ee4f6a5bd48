"""Ask an installed asgiserve for one page: `smoke.py PYTHON compiled|pure`.

Run with any Python; PYTHON is the interpreter that has asgiserve installed. The server must name the expected stack
when it starts, answer, and end with status 0 on SIGTERM.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TIMEOUT = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, deadline: float) -> tuple[int, bytes]:
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        finally:
            connection.close()


def main(python: str, stack: str) -> int:
    # Started elsewhere, so that the sources here cannot stand in for what is installed.
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "log"), "w+b") as log:
        port = free_port()
        command = [os.path.abspath(python), "-m", "asgiserve", "--app-dir", str(EXAMPLES), "hello:app"]
        command += ["--port", str(port)]
        server = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            status, body = ask(port, time.monotonic() + TIMEOUT)
            server.send_signal(signal.SIGTERM)
            code = server.wait(TIMEOUT)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
            log.seek(0)
            text = log.read().decode("utf-8", "replace")
            print(text, end="")
    print(f"status {status}, body {body!r}, exit code {code}")
    return 0 if status == 200 and b"asgiserve" in body and code == 0 and f"stack: {stack}" in text else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
