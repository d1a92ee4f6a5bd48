"""Context variables: each request starts from the server's context, never from another request's."""

from __future__ import annotations

import asyncio
import contextvars

from harness import GET, respond, serve

from core.apps import hello

VAR = contextvars.ContextVar("VAR", default="unset")


class Sets:
    """Keeps the variable's value at the start of each request, then changes it."""

    def __init__(self, before=0, behind=0):
        self.found = []
        self.before = before
        self.behind = behind

    async def __call__(self, scope, receive, send):
        self.found.append(VAR.get())
        VAR.set(f"request {len(self.found)}")
        for _ in range(self.before):
            await asyncio.sleep(0)
        await respond(send, VAR.get().encode())
        for _ in range(self.behind):
            await asyncio.sleep(0)


def test_fresh_for_each_request(stack):
    app = Sets()
    client = serve(stack, app)
    client.feed(GET).feed(GET)
    assert app.found == ["unset", "unset"]
    assert [response.body for response in client.responses()] == [b"request 1", b"request 2"]
    assert VAR.get() == "unset"


def test_fresh_for_pipelined_requests(stack):
    """Also when the next request is started by what the last one sent, from inside its task."""
    for before in (0, 1):
        for behind in (0, 1):
            app = Sets(before, behind)
            client = serve(stack, app)
            client.feed(GET * 3)
            assert app.found == ["unset"] * 3


def test_fresh_when_the_input_came_while_another_request_ran(stack):
    app = Sets(before=2)
    client = serve(stack, app)
    client.feed(GET, run=False).feed(GET, run=False).feed(GET)
    assert app.found == ["unset"] * 3


def test_fresh_when_reading_was_paused(stack):
    """The transport resumes reading from within an application's task."""
    app = Sets(before=1)
    client = serve(stack, app)
    for _ in range(20):
        client.feed(GET, run=False)
    client.loop.run_until_idle()
    assert app.found == ["unset"] * 20


def test_context_of_the_server_is_seen(stack):
    """What was set before the server started (by its lifespan, say) is there in every request."""

    def inside():
        VAR.set("server")
        return serve(stack, app)

    app = Sets()
    client = contextvars.copy_context().run(inside)
    client.feed(GET * 2).feed(GET)
    assert app.found == ["server"] * 3


def test_context_of_whoever_delivers_the_input_is_not_seen(stack):
    def inside():
        VAR.set("other")
        client.feed(GET)

    app = Sets()
    client = serve(stack, app)
    contextvars.copy_context().run(inside)
    assert app.found == ["unset"]


def test_a_task_of_a_request_has_its_context(stack):
    found = []

    async def app(scope, receive, send):
        VAR.set("mine")

        async def child():
            found.append(VAR.get())
            VAR.set("child")

        await asyncio.create_task(child())
        found.append(VAR.get())
        await hello(scope, receive, send)

    serve(stack, app).feed(GET)
    assert found == ["mine", "mine"]


def test_token_can_be_reset(stack):
    """The context is the same from the first step to the last."""

    async def app(scope, receive, send):
        token = VAR.set("mine")
        await receive()
        await asyncio.sleep(0)
        await hello(scope, receive, send)
        VAR.reset(token)

    client = serve(stack, app)
    client.feed(GET * 2)
    assert len(client.responses()) == 2


def test_the_context_of_the_server(stack):
    """Requests see what was set around the server, unless they are to start from nothing."""
    context = contextvars.copy_context()
    context.run(VAR.set, "server")
    for reset, found in ((False, "server"), (True, "unset")):
        app = Sets()
        client = context.run(serve, stack, app, reset_contextvars=reset)
        client.feed(GET * 2)
        assert app.found == [found, found]
