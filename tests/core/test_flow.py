"""What send() and receive() return: done at once when nothing blocks, and coroutines in every respect."""

from __future__ import annotations

import asyncio
import collections.abc
import contextvars
import inspect
from importlib import metadata

import anyio
import pytest
from harness import EAGER, GET, request, serve

from asgiserve.errors import AppError
from core.apps import Script, body, hello, start

POST = request("POST", body=b"hello")


def run(stack, steps, *segments):
    """Run an application over these segments of input; it has to end without an error."""
    app = Script(steps)
    client = serve(stack, app)
    client.feed_all(segments)
    client.advance(10)
    if app.error is not None:
        raise app.error
    assert app.ended
    return client, app.result


# -- receive()


def test_receive_in_a_task(stack):
    async def app(scope, receive, send):
        message = await asyncio.create_task(receive())
        await hello(scope, receive, send)
        return message

    _, message = run(stack, app, POST)
    assert message["body"] == b"hello"


def test_receive_in_a_task_that_waits(stack):
    async def app(scope, receive, send):
        task = asyncio.create_task(receive())
        message = await task
        await hello(scope, receive, send)
        return message

    _, message = run(stack, app, POST[:-5], POST[-5:])
    assert message["body"] == b"hello"


def test_receive_cancelled_before_its_first_step(stack):
    """A task around receive() that never ran has eaten no message."""

    async def app(scope, receive, send):
        task = asyncio.Task(receive(), loop=asyncio.get_running_loop())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        message = await receive()
        await hello(scope, receive, send)
        return message

    _, message = run(stack, app, POST)
    assert message["body"] == b"hello"


def test_receive_cancelled_while_it_waits(stack):
    async def app(scope, receive, send):
        task = asyncio.create_task(receive())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        message = await receive()
        await hello(scope, receive, send)
        return message

    _, message = run(stack, app, POST[:-5], POST[-5:])
    assert message["body"] == b"hello"


def test_receive_goes_on_with_the_input(stack):
    """Who waits gets what has come in the same turn of the loop: then no more of it than one read has to be kept."""
    seen = []

    async def app(scope, receive, send):
        more = True
        while more:
            message = await receive()
            seen.append(message["body"])
            more = message["more_body"]
        await hello(scope, receive, send)

    client = serve(stack, Script(app))
    client.feed(POST[:-5])
    client.feed(b"he", run=False)
    assert seen == [b"he"]
    client.feed(b"llo", run=False)
    assert seen == [b"he", b"llo"]
    assert client.response().status == 200


def test_receive_waits_in_several_tasks_at_once(stack):
    """All go on with the input, the first one gets it, and the others wait again."""
    seen = []

    async def app(scope, receive, send):
        async def take(number):
            seen.append((number, (await receive())["type"]))

        tasks = [asyncio.create_task(take(number)) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait([tasks[0]])
        await hello(scope, receive, send)
        await asyncio.wait(tasks)

    client = serve(stack, Script(app))
    client.feed(POST[:-5])
    client.feed(POST[-5:])
    assert seen == [(0, "http.request"), (2, "http.disconnect")]


def test_receive_waits_in_the_order_of_calls(stack):
    """Who was cancelled leaves no place to one that comes later."""
    seen = []

    async def app(scope, receive, send):
        async def take(number):
            seen.append((number, (await receive())["type"]))

        tasks = [asyncio.create_task(take(number)) for number in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(take(3)))
        await asyncio.wait([tasks[1]])
        await hello(scope, receive, send)
        await asyncio.wait(tasks)

    client = serve(stack, Script(app))
    client.feed(POST[:-5])
    client.feed(POST[-5:])
    assert seen == [(1, "http.request"), (2, "http.disconnect"), (3, "http.disconnect")]


@pytest.mark.parametrize("limit", [asyncio.wait_for, None])
def test_receive_waits_again_and_again(stack, limit):
    """Each wait ends with a piece of the body, or is given up."""
    seen = []

    async def next_of(receive):
        if limit is not None:
            return await limit(receive(), 1)
        with anyio.fail_after(1):
            return await receive()

    async def app(scope, receive, send):
        more = True
        while more:
            try:
                message = await next_of(receive)
            except (asyncio.TimeoutError, TimeoutError):
                seen.append(b"-")
            else:
                seen.append(message["body"])
                more = message["more_body"]
        await hello(scope, receive, send)

    client = serve(stack, Script(app))
    client.feed(POST[:-5])
    for at, seconds in enumerate([0, 1.5, 0, 0, 2.5]):
        client.advance(seconds)
        client.feed(POST[len(POST) - 5 + at :][:1])
    assert b"".join(seen) == b"h-ell--o"
    assert client.response().status == 200


def test_receive_has_its_own_context(stack):
    """What the input is read in has nothing to do with what the application runs in."""
    variable = contextvars.ContextVar("variable", default="none")

    async def app(scope, receive, send):
        variable.set("app")
        message = await receive()
        await hello(scope, receive, send)
        return variable.get(), message["body"]

    script = Script(app)
    client = serve(stack, script)
    client.feed(POST[:-5])
    client.feed(POST[-5:], run=False)
    assert script.result == ("app", b"hello")
    assert variable.get() == "none"


def test_receive_cancelled_when_its_message_is_there(stack):
    """Woken but not yet run, because another task runs, then cancelled: the message is for the next one."""

    async def app(scope, receive, send):
        task = asyncio.create_task(receive())
        tasks.append(task)
        try:
            await task
        except asyncio.CancelledError:
            pass
        else:
            raise AssertionError("not cancelled")
        message = await receive()
        await hello(scope, receive, send)
        return message

    tasks = []
    script = Script(app)
    client = serve(stack, script)
    client.feed(POST[:-5])

    async def feed_and_cancel():
        client.feed(POST[-5:], run=False)
        tasks[0].cancel()

    client.loop.run_until_complete(feed_and_cancel())
    client.loop.run_until_idle()
    assert script.error is None
    assert script.result["body"] == b"hello"


def test_receive_called_but_not_awaited(stack):
    async def app(scope, receive, send):
        receive()
        dropped = receive()
        dropped.close()
        message = await receive()
        await hello(scope, receive, send)
        return message

    _, message = run(stack, app, POST)
    assert message["body"] == b"hello"


def test_receive_is_taken_in_the_order_of_steps(stack):
    async def app(scope, receive, send):
        first, second = receive(), receive()
        two = await second
        await hello(scope, receive, send)
        return two, await first

    _, (two, one) = run(stack, app, POST)
    assert two["body"] == b"hello"
    assert one["type"] == "http.disconnect"


def test_wait_for_receive(stack):
    async def app(scope, receive, send):
        message = await asyncio.wait_for(receive(), 1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(receive(), 1)
        await hello(scope, receive, send)
        return message, await asyncio.wait_for(receive(), 1)

    _, (first, last) = run(stack, app, POST)
    assert first["body"] == b"hello"
    assert last["type"] == "http.disconnect"


def test_wait_for_receive_times_out_and_eats_nothing(stack):
    async def app(scope, receive, send):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(receive(), 1)
        message = await receive()
        await hello(scope, receive, send)
        return message

    script = Script(app)
    client = serve(stack, script)
    client.feed(POST[:-5])
    client.advance(2)
    client.feed(POST[-5:])
    assert script.error is None
    assert script.result["body"] == b"hello"


def test_gather_receive(stack):
    """Two wait at once: one gets the body, both see the end."""

    async def app(scope, receive, send):
        async def answer():
            await asyncio.sleep(1)
            await hello(scope, receive, send)

        return await asyncio.gather(receive(), receive(), answer())

    _, messages = run(stack, app, POST[:-5], POST[-5:])
    assert [message["type"] for message in messages[:2]] == ["http.request", "http.disconnect"]


def test_asyncio_wait_receive(stack):
    """The usual way to watch for a disconnect while something else runs."""

    async def app(scope, receive, send):
        await receive()
        watch = asyncio.create_task(receive())
        work = asyncio.create_task(asyncio.sleep(1))
        done, _ = await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
        assert done == {work}
        watch.cancel()
        await hello(scope, receive, send)
        with pytest.raises(asyncio.CancelledError):
            await watch
        return (await receive())["type"]

    _, last = run(stack, app, POST)
    assert last == "http.disconnect"


def test_anyio_receive(stack):
    """As Starlette's streaming response does: a task group, one task watches, the other one sends."""

    async def app(scope, receive, send):
        assert (await receive())["body"] == b"hello"
        seen = []
        async with anyio.create_task_group() as group:

            async def watch():
                seen.append((await receive())["type"])
                group.cancel_scope.cancel()

            async def stream():
                await send(start())
                for _ in range(3):
                    await send(body(b"x", True))
                    await anyio.sleep(1)
                await send(body())
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await stream()
        return seen

    client, _ = run(stack, app, POST)
    assert client.response().body == b"xxx"


def test_anyio_disconnect_cancels_the_stream(stack):
    async def app(scope, receive, send):
        await receive()
        async with anyio.create_task_group() as group:

            async def watch():
                await receive()
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await send(start())
            while True:
                await send(body(b"x", True))
                await anyio.sleep(1)
        return "cancelled"

    script = Script(app)
    client = serve(stack, script)
    client.feed(POST)
    client.advance(3)
    client.lose(ConnectionResetError())
    assert script.ended
    assert script.result == "cancelled"
    assert not client.state.tasks


def test_anyio_timeout_around_receive_eats_nothing(stack):
    async def app(scope, receive, send):
        with anyio.move_on_after(1) as scope_:
            await receive()
        assert scope_.cancel_called
        message = await receive()
        await hello(scope, receive, send)
        return message

    script = Script(app)
    client = serve(stack, script)
    client.feed(POST[:-5])
    client.advance(2)
    client.feed(POST[-5:])
    assert script.error is None
    assert script.result["body"] == b"hello"


# -- send()


def test_send_in_tasks(stack):
    async def app(scope, receive, send):
        await asyncio.create_task(send(start()))
        await asyncio.create_task(send(body(b"a", True)))
        await asyncio.create_task(send(body(b"b")))

    client, _ = run(stack, app, GET)
    assert client.response().body == b"ab"


def test_gather_send(stack):
    async def app(scope, receive, send):
        await asyncio.gather(send(start()), send(body(b"a", True)), send(body(b"b", True)), send(body(b"c")))

    client, _ = run(stack, app, GET)
    assert client.response().body == b"abc"


def test_wait_for_send(stack):
    async def app(scope, receive, send):
        for message in (start(), body(b"a", True), body(b"b")):
            await asyncio.wait_for(send(message), 1)

    client, _ = run(stack, app, GET)
    assert client.response().body == b"ab"


def test_anyio_send(stack):
    async def app(scope, receive, send):
        async with anyio.create_task_group() as group:
            await send(start())

            async def sender():
                await send(body(b"a"))

            group.start_soon(sender)

    client, _ = run(stack, app, GET)
    assert client.response().body == b"a"


def test_anyio_send_itself(stack):
    """anyio 4.12, the last one for Python 3.9, takes nothing but `async def` functions."""
    if tuple(int(number) for number in metadata.version("anyio").split(".")[:2]) < (4, 13):
        pytest.skip("this anyio knows no coroutines but those of `async def`")

    async def app(scope, receive, send):
        async with anyio.create_task_group() as group:
            await send(start())
            group.start_soon(send, body(b"a"))

    client, _ = run(stack, app, GET)
    assert client.response().body == b"a"


def test_send_that_waits_for_the_client(stack):
    """send() is done when the client reads again; while it waits it can be awaited in any way."""
    steps = []

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"a", True))
        steps.append(1)
        client.transport.block_writes()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(send(body(b"b", True)), 1)
        steps.append(2)
        with anyio.move_on_after(1) as scope_:
            await send(body(b"c", True))
        assert scope_.cancel_called
        steps.append(3)
        await asyncio.gather(send(body(b"d", True)), asyncio.create_task(send(body(b"e", True))))
        steps.append(4)
        await send(body(b"f"))
        steps.append(5)

    script = Script(app)
    client = serve(stack, script)
    client.feed(GET)
    assert steps == [1]
    client.advance(3)
    assert steps == [1, 2, 3]
    client.transport.unblock_writes()
    client.loop.run_until_idle()
    assert script.error is None
    assert steps == [1, 2, 3, 4, 5]
    assert client.response().body == b"abcdef"


def test_waiting_send_ends_when_the_client_leaves(stack):
    async def app(scope, receive, send):
        await send(start())
        client.transport.block_writes()
        try:
            await send(body(b"a", True))
            await send(body(b"b", True))
        except OSError:
            return "left"

    script = Script(app)
    client = serve(stack, script)
    client.feed(GET)
    assert not script.ended
    client.lose(BrokenPipeError())
    assert script.result == "left"
    assert not client.state.tasks


@pytest.mark.parametrize("waiting", [False, True])
def test_send_is_a_coroutine(stack, waiting):
    async def app(scope, receive, send):
        await send(start())
        if waiting:
            client.transport.block_writes()
        check_coroutine(send(body(b"a", True)))
        if waiting:
            client.transport.unblock_writes()
        await send(body())

    script = Script(app)
    client = serve(stack, script)
    client.feed(GET)
    assert script.error is None
    assert client.response().body == b"a"


def test_receive_is_a_coroutine(stack):
    async def app(scope, receive, send):
        check_coroutine(receive())
        await hello(scope, receive, send)

    run(stack, app, POST)


def check_coroutine(awaitable):
    assert inspect.isawaitable(awaitable)
    assert asyncio.iscoroutine(awaitable)
    assert isinstance(awaitable, collections.abc.Coroutine)
    assert hasattr(type(awaitable), "__await__")
    iterator = awaitable.__await__()
    assert iter(iterator) is iterator
    assert hasattr(iterator, "__next__")
    with pytest.raises(LookupError, match="x"):
        awaitable.throw(LookupError("x"))
    with pytest.raises(LookupError):
        awaitable.throw(LookupError)
    with pytest.raises(GeneratorExit):
        awaitable.throw(GeneratorExit)
    assert awaitable.close() is None


def test_awaitable_by_the_protocol(stack):
    """Driven by hand: StopIteration carries the message; waiting gives a future for the task to wait on."""

    async def app(scope, receive, send):
        with pytest.raises(StopIteration) as caught:
            next(receive().__await__())
        assert caught.value.value["body"] == b"he"
        await asyncio.sleep(1)
        with pytest.raises(StopIteration) as caught:
            receive().send(None)
        assert caught.value.value["body"] == b"llo"
        with pytest.raises(StopIteration) as caught:
            next(send(start()).__await__())
        assert caught.value.value is None
        future = receive().send(None)
        assert asyncio.isfuture(future)
        future.cancel()
        await send(body())

    run(stack, app, POST[:-3], POST[-3:])


def test_future_that_no_task_waits_for_by_itself(stack):
    """Who drives receive() by hand may do with its future what can be done with any."""
    woken = []

    async def app(scope, receive, send):
        step = receive()
        future = step.send(None)
        future._asyncio_future_blocking = False
        future.add_done_callback(woken.append)
        await asyncio.wait({future}, timeout=10)
        assert woken == [future]
        assert future.result() is None
        with pytest.raises(StopIteration) as caught:
            step.send(None)
        await hello(scope, receive, send)
        return caught.value.value

    _, message = run(stack, app, POST[:-5], POST[-5:])
    assert message["body"] == b"hello"


def test_errors_of_send_reach_a_task(stack):
    """A refused message raises to whoever sends it, also through a task."""

    async def app(scope, receive, send):
        with pytest.raises(AppError):
            await asyncio.create_task(wrong(send))
        with pytest.raises(AppError):
            await asyncio.wait_for(wrong(send), 1)
        await hello(scope, receive, send)

    async def wrong(send):
        await send(body())

    run(stack, app, GET)


def test_from_a_thread_of_tasks(stack):
    """Concurrent senders keep the order in which they called send()."""

    async def app(scope, receive, send):
        await send(start())

        async def part(number):
            for _ in range(3):
                await send(body(b"%d" % number, True))
                await asyncio.sleep(0)

        await asyncio.gather(*(part(number) for number in range(3)))
        await send(body())

    client, _ = run(stack, app, GET)
    assert client.response().body == b"012012012"


# -- starting the application


@pytest.mark.skipif(not EAGER, reason="eager tasks came with CPython 3.12")
def test_eager_start(stack):
    """An application that never waits has answered when data_received() returns."""
    client = serve(stack, hello)
    client.feed(GET, run=False)
    assert client.loop.idle
    assert client.response().body == b"hello"


def test_current_task(stack):
    tasks = []

    async def app(scope, receive, send):
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        assert asyncio.current_task() is tasks[-1]
        await hello(scope, receive, send)

    client = serve(stack, app)
    client.feed(GET * 2)
    assert len(set(tasks)) == 2
    assert all(task.done() and not task.cancelled() for task in tasks)
    assert len(client.responses()) == 2


def test_task_factory_of_the_loop_is_used(stack):
    made = []

    def factory(loop, coro, **options):
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **options)

    client = serve(stack, hello)
    client.loop.set_task_factory(factory)
    client.advance(0.25)  # noticed with the next tick
    client.feed(GET)
    assert len(made) == 1
    assert client.response().body == b"hello"


def test_no_timers(stack):
    """Deadlines are numbers on the connection."""

    async def app(scope, receive, send):
        await receive()
        await asyncio.sleep(0)
        await hello(scope, receive, send)

    client = serve(stack, app)
    client.feed_all([GET, POST, GET * 3, POST[:-3], POST[-3:]])
    assert len(client.responses()) == 6
    assert client.loop.timers_made == 0
