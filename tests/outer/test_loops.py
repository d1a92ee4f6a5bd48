"""The event loop: which one, and that nothing left behind on it can hold the process."""

from __future__ import annotations

import asyncio
import builtins
import logging
import sys
import threading

import pytest

from asgiserve import loops
from asgiserve.errors import ConfigError

from .serving import loop_names


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(loops, "LEFTOVER_GRACE", 0.05)


def made(name):
    loop = loops.factory(name)()
    try:
        return type(loop).__module__.partition(".")[0], loops.describe(loop)
    finally:
        loop.close()


def test_asyncio():
    assert made("asyncio") == ("asyncio", "asyncio")


def test_none_is_pythons_default():
    assert loops.factory("none") is asyncio.new_event_loop


@pytest.mark.skipif("uvloop" not in loop_names(), reason="uvloop is not installed")
@pytest.mark.parametrize("name", ["auto", "uvloop"])
def test_uvloop(name):
    package, text = made(name)
    assert package == "uvloop"
    assert text == f"uvloop {sys.modules['uvloop'].__version__}"


@pytest.fixture
def no_uvloop(monkeypatch):
    original = builtins.__import__

    def refuse(name, *more):
        if name.partition(".")[0] == "uvloop":
            raise ImportError("No module named 'uvloop'")
        return original(name, *more)

    monkeypatch.setattr("importlib.import_module", refuse)


def test_uvloop_is_missing(no_uvloop):
    with pytest.raises(ConfigError, match=r"\Aloop: uvloop is asked for, but"):
        loops.factory("uvloop")
    assert made("auto")[0] == "asyncio"


@pytest.mark.skipif(sys.platform == "win32", reason="there it is the default")
def test_iocp_is_windows():
    with pytest.raises(ConfigError, match=r"\Aloop: [^\n]*Windows"):
        loops.factory("iocp")


def test_a_package_that_is_missing():
    with pytest.raises(ConfigError, match=r"\Aloop: zuvloop is asked for, but"):
        loops.factory("zuvloop")


class OwnLoop(asyncio.SelectorEventLoop):
    pass


def own_loop():
    return OwnLoop()


NOT_CALLABLE = 5


def no_loop():
    return 5


@pytest.mark.parametrize("name", [f"{__name__}:own_loop", f"{__name__}:OwnLoop", own_loop, OwnLoop])
def test_a_loop_of_the_users_own(name):
    assert loops.Runner(loops.factory(name)).run(running()) == "OwnLoop"


async def running():
    return type(asyncio.get_running_loop()).__name__


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:loop", "no module"),
        (f"{__name__}:nothing", "no attribute"),
        (f"{__name__}:NOT_CALLABLE", "not callable"),
    ],
)
def test_a_loop_that_cannot_be_had(name, words):
    with pytest.raises(ConfigError, match=rf"\Aloop: [^\n]*{words}[^\n]*\Z"):
        loops.factory(name)


def test_what_makes_no_loop():
    with pytest.raises(ConfigError, match=r"\Aloop: [^\n]*no_loop returned 5, which is not an event loop\Z"):
        loops.factory(f"{__name__}:no_loop")()


@pytest.fixture(params=loop_names())
def runner(request):
    return loops.Runner(loops.factory(request.param))


def test_it_returns_and_raises_what_the_coroutine_does(runner):
    async def give():
        return 5

    async def fail():
        raise KeyError("x")

    assert runner.run(give()) == 5
    with pytest.raises(KeyError):
        runner.run(fail())
    assert runner.stuck == 0


def test_not_inside_a_running_loop(runner):
    async def main():
        with pytest.raises(RuntimeError, match="await"):
            runner.run(asyncio.sleep(0))

    asyncio.run(main())


def test_leftover_tasks_are_cancelled(runner):
    ended = []

    async def left():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main():
        main.task = asyncio.ensure_future(left())
        await asyncio.sleep(0)

    runner.run(main())
    assert ended == [True]
    assert runner.stuck == 0


def stubborn(release):
    async def task():
        while not release:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                release.append(True)
                await asyncio.Event().wait()

    return task()


def test_a_task_that_swallows_its_cancellation_is_abandoned(runner, caplog):
    async def main():
        main.task = asyncio.ensure_future(stubborn([]))
        await asyncio.sleep(0)

    runner.run(main())
    assert runner.stuck == 1
    assert "abandoned" in caplog.text
    main.task.get_coro().close()


def test_a_task_that_was_given_up_is_not_waited_for(caplog):
    abandoned = set()
    runner = loops.Runner(loops.factory("asyncio"), abandoned)

    async def main():
        task = asyncio.ensure_future(stubborn([]))
        abandoned.add(task)
        await asyncio.sleep(0)

    runner.run(main())
    assert runner.stuck == 0
    assert caplog.text == ""
    abandoned.pop().get_coro().close()


def test_a_leftover_task_that_fails_is_reported(runner, caplog):
    async def left():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise KeyError("late") from None

    async def main():
        main.task = asyncio.ensure_future(left())
        await asyncio.sleep(0)

    runner.run(main())
    assert "unhandled exception during loop shutdown" in caplog.text


def test_async_generators_are_closed(runner):
    ended = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    async def main():
        main.generator = numbers()
        await main.generator.__anext__()

    runner.run(main())
    assert ended == [True]


def test_a_thread_that_never_returns_is_abandoned(runner, caplog):
    caplog.set_level(logging.ERROR)
    release = threading.Event()
    started = threading.Event()

    def work():
        started.set()
        release.wait()

    async def main():
        main.future = asyncio.get_running_loop().run_in_executor(None, work)
        while not started.is_set():
            await asyncio.sleep(0.001)

    try:
        runner.run(main())
        assert runner.stuck == 1
        assert "abandoned" in caplog.text
    finally:
        release.set()


def test_a_thread_that_returns_is_waited_for(runner):
    async def main():
        return await asyncio.get_running_loop().run_in_executor(None, threading.current_thread)

    assert not runner.run(main()).is_alive()
    assert runner.stuck == 0


def test_an_interrupt_lets_the_coroutine_end_in_its_own_time(runner):
    ended = []

    async def bad():
        raise KeyboardInterrupt

    async def main():
        main.task = asyncio.ensure_future(bad())
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)  # more than the grace of leftovers
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        runner.run(main())
    assert ended == [True]
    main.task.exception()
