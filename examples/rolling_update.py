"""Restarts the servers of a HAProxy backend one after the other, with no request that fails.

    python rolling_update.py /run/haproxy/admin.sock app -- systemctl restart asgiserve@{}

For each server: HAProxy sends it no more requests (`state drain`); those that run come to their end; the command, with
the server's name in place of {}, restarts it; HAProxy's own check finds it ready; it gets requests again. When the
command fails, or the server does not become ready, nothing else is touched: the others serve on.
"""

import argparse
import csv
import socket
import subprocess
import sys
import time


class HAProxy:
    """The servers of a backend, by the socket of ``stats socket ... level admin``."""

    def __init__(self, path, backend):
        self._path = path
        self._backend = backend

    def _say(self, command):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(self._path)
            sock.sendall(command.encode() + b"\n")
            return sock.makefile(encoding="utf-8").read()

    def _set(self, server, what):
        answer = self._say(f"set server {self._backend}/{server} {what}").strip()
        if answer:
            sys.exit(f"{server}: {what}: {answer}")

    def servers(self):
        """Name and figures of each server."""
        rows = csv.DictReader(self._say(f"show stat {self._backend} 4 -1").lstrip("# ").splitlines())
        found = {row["svname"]: row for row in rows if row["pxname"] == self._backend}
        return found or sys.exit(f"no backend {self._backend}, or no server in it")

    def drain(self, server):
        """Has HAProxy send the server nothing new."""
        self._set(server, "state drain")

    def doubt(self, server):
        """Has HAProxy take the server for down until a check says otherwise."""
        self._set(server, "health down")

    def ready(self, server):
        """Has HAProxy use the server again."""
        self._set(server, "state ready")


def wait(condition, seconds):
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drain", type=float, default=60, help="seconds that running requests get (%(default)s)")
    parser.add_argument("--boot", type=float, default=300, help="seconds until a server has to be ready (%(default)s)")
    parser.add_argument("socket")
    parser.add_argument("backend")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    haproxy = HAProxy(given.socket, given.backend)
    for server in haproxy.servers():
        haproxy.drain(server)
        if not wait(lambda server=server: haproxy.servers()[server]["scur"] == "0", given.drain):
            print(f"{server}: requests are still running, the server ends them")
        status = subprocess.run([part.replace("{}", server) for part in given.command]).returncode
        if status:
            sys.exit(f"{server}: the command failed with status {status}; the server stays without requests")
        haproxy.doubt(server)
        if not wait(lambda server=server: haproxy.servers()[server]["status"] == "DRAIN", given.boot):
            sys.exit(f"{server}: it did not become ready; it stays without requests")
        haproxy.ready(server)
        print(f"{server}: restarted")


if __name__ == "__main__":
    main()
