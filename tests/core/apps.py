"""Applications, and ways to run them, that several test modules use."""

from __future__ import annotations

import asyncio

from harness import GET, receive_body, respond, serve


async def echo(scope, receive, send):
    """Answers with the request body; leaves quietly when the client does."""
    body = await receive_body(receive)
    if body is not None:
        await respond(send, body)


async def hello(scope, receive, send):
    """Answers without looking at the request."""
    await respond(send, b"hello")


class Gated:
    """Holds each request until the test calls go(); then answers with its path. `started` and `done` hold paths."""

    def __init__(self):
        self.started = []
        self.done = []
        self.waiting = []

    async def __call__(self, scope, receive, send):
        gate = asyncio.get_running_loop().create_future()
        self.started.append(scope["path"])
        self.waiting.append(gate)
        await gate
        await respond(send, scope["path"].encode())
        self.done.append(scope["path"])

    def go(self, client):
        gate = self.waiting.pop(0)
        client.loop.call(gate.set_result, None)
        client.loop.run_until_idle()


class Idle:
    """Reads the messages it gets into `messages`, until http.disconnect; then returns without a response."""

    def __init__(self):
        self.messages = []
        self.ended = 0

    async def __call__(self, scope, receive, send):
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "http.disconnect":
                break
        self.ended += 1

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def disconnected(self):
        return bool(self.messages) and self.messages[-1] == {"type": "http.disconnect"}


class Script:
    """Runs `steps(scope, receive, send)` and keeps what it returns or raises."""

    def __init__(self, steps):
        self.steps = steps
        self.result = None
        self.error = None
        self.ended = False

    async def __call__(self, scope, receive, send):
        try:
            self.result = await self.steps(scope, receive, send)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ended = True


def start(status=200, headers=(), **more):
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data=b"", more_body=False):
    return {"type": "http.response.body", "body": data, "more_body": more_body}


def run(stack, steps, data=GET, **options):
    """Send one request to an application made of these steps. Returns the client and the Script."""
    app = Script(steps)
    client = serve(stack, app, **options)
    client.feed(data)
    return client, app


def assert_over(client, active=0):
    """The connection is gone and nothing is left of it on the server."""
    assert client.transport.lost
    assert not client.state.connections
    assert client.state.active == active
    assert not client.state.tasks
    assert not client.loop.errors
