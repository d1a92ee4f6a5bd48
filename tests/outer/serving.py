"""Servers for these tests, in this process and in others. Ready means ready: nothing here sleeps and hopes."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import asgiserve
from asgiserve.config import Config
from asgiserve.server import Server

TIMEOUT = 60.0 if sys.implementation.name == "pypy" else 30.0
HTTP = {"compiled": "llhttp", "pure": "h11"}


async def hello(scope, receive, send):
    """Answers each request with its path; knows no lifespan."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def loop_names():
    """The event loops that can be had here, as pytest parameters."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return ["asyncio"]
    return ["asyncio", "uvloop"]


def run(main, loop="asyncio"):
    """Runs a coroutine as the server would run: on a new loop of that kind, for a bounded time."""
    from asgiserve import loops

    return loops.Runner(loops.factory(loop)).run(asyncio.wait_for(main, TIMEOUT))


async def until(condition):
    """Lets the loop go round until `condition()` is true."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.001)


def config(app=hello, **options):
    """A Config on a free port that leaves the logging set-up to pytest."""
    if not {"uds", "fd", "port"} & set(options):
        options["port"] = 0
    return Config(app, **{"log_config": None, **options})


@asynccontextmanager
async def serving(app=hello, sockets=None, **options):
    """A Server that accepts connections; stopped, and waited for, at the end."""
    server = Server(config(app, **options))
    task = asyncio.ensure_future(server.serve(sockets))
    try:
        await until(lambda: server.started or task.done())
        if task.done():
            task.result()
        yield server
    finally:
        server.should_exit = True
        await task


def port_of(server):
    """The TCP port that a Server listens on."""
    return server.servers[0].sockets[0].getsockname()[1]


class Client:
    """One plain connection to a server."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, server_or_path):
        if isinstance(server_or_path, (str, os.PathLike)):
            return cls(*await asyncio.open_unix_connection(str(server_or_path)))
        return cls(*await asyncio.open_connection("127.0.0.1", port_of(server_or_path)))

    def ask(self, path="/"):
        self.writer.write(b"GET %b HTTP/1.1\r\nHost: test\r\n\r\n" % path.encode())

    async def answer(self):
        """The status line and headers, and the body, of one response with a Content-Length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: *(\d+)", head, re.I).group(1))
        return head, await self.reader.readexactly(length)

    async def get(self, path="/"):
        self.ask(path)
        return await self.answer()

    async def close(self):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass


async def get(server_or_path, path="/"):
    """The body of one GET on a connection of its own."""
    client = await Client.open(server_or_path)
    try:
        return (await client.get(path))[1]
    finally:
        await client.close()


class Process:
    """``python -m asgiserve`` with its output collected; to be used in a with statement."""

    def __init__(self, *arguments, program=("-m", "asgiserve"), cwd=None, env=None, **popen):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ASGISERVE_")}
        environment["PYTHONPATH"] = str(Path(asgiserve.__file__).parent.parent)
        environment["PYTHONUNBUFFERED"] = "1"
        environment.update(env or {})
        self.lines = []
        self.popen = subprocess.Popen(
            [sys.executable, *map(str, (*program, *arguments))],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=popen.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            text=True,
            **popen,
        )
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.popen.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.lines.append(None)
            self._news.notify_all()

    @property
    def log(self):
        return "\n".join(line for line in self.lines if line is not None)

    def wait_for(self, pattern):
        """The match of the first line of the log that has `pattern` in it."""

        def look():
            for line in self.lines:
                found = line is None or re.search(pattern, line)
                if found:
                    return found
            return None

        with self._news:
            assert self._news.wait_for(look, TIMEOUT), f"no {pattern!r} in time in:\n{self.log}"
            found = look()
        assert found is not True, f"ended without {pattern!r}:\n{self.log}"
        return found

    def wait_ready(self):
        """Waits until the server says where it runs; returns the port, or None for a UNIX socket."""
        found = self.wait_for(r"asgiserve running on (?:http://.*:(\d+)|unix:)")
        return found.group(1) and int(found.group(1))

    def wait(self, timeout=TIMEOUT):
        """The exit status."""
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"did not end in time:\n{self.log}")
        self._reader.join()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self._reader.join()
        self.popen.stderr.close()
        if self.popen.stdout is not None:
            self.popen.stdout.close()
