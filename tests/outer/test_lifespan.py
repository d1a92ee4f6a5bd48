"""The lifespan protocol: each way an application can start, not start, stop and not stop."""

from __future__ import annotations

import asyncio
import logging

import pytest

from asgiserve import lifespan as module
from asgiserve.errors import AppError
from asgiserve.lifespan import Lifespan, LifespanError

from .serving import run


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "CANCEL_GRACE", 0.05)


@pytest.fixture(autouse=True)
def heard(caplog):
    caplog.set_level(logging.DEBUG, "asgiserve.error")
    return caplog


class App:
    """Goes through the lifespan; a subclass or `script` changes one answer."""

    def __init__(self, **answers):
        self.answers = answers
        self.events = []
        self.scope = None

    async def __call__(self, scope, receive, send):
        self.scope = scope
        for stage in ("startup", "shutdown"):
            message = await receive()
            assert message == {"type": f"lifespan.{stage}"}
            self.events.append(stage)
            answer = self.answers.get(stage, "complete")
            if isinstance(answer, BaseException):
                raise answer
            if callable(answer):
                answer = await answer(scope)
            if answer is None:
                return
            message = {"type": f"lifespan.{stage}.{answer}"}
            if stage in self.answers.get("messages", {}):
                message["message"] = self.answers["messages"][stage]
            await send(message)


def go(app, mode="auto", **timeouts):
    """Start-up and shutdown; returns the Lifespan."""

    async def main():
        lifespan = Lifespan(app, mode, **timeouts)
        await lifespan.startup()
        await lifespan.shutdown()
        return lifespan

    return run(main())


def texts(caplog, level=logging.INFO):
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_and_shutdown(mode, caplog):
    app = App()
    lifespan = go(app, mode)
    assert app.events == ["startup", "shutdown"]
    assert app.scope["type"] == "lifespan"
    assert app.scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
    assert app.scope["state"] is lifespan.state
    assert all(type(key) is str for key in app.scope)
    assert texts(caplog) == [
        "Waiting for application startup.",
        "Application startup complete.",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
    ]


def test_off():
    app = App()
    lifespan = go(app, "off")
    assert app.events == []
    assert not lifespan.supported


def test_the_state_is_the_applications():
    async def start(scope):
        scope["state"]["database"] = 1
        return "complete"

    assert go(App(startup=start)).state == {"database": 1}


def test_it_runs_on_the_loop_of_the_requests_and_in_a_task_of_its_own():
    seen = {}

    async def start(scope):
        seen["loop"], seen["task"] = asyncio.get_running_loop(), asyncio.current_task()
        return "complete"

    async def main():
        lifespan = Lifespan(App(startup=start))
        await lifespan.startup()
        await lifespan.shutdown()
        return asyncio.get_running_loop(), asyncio.current_task()

    loop, task = run(main())
    assert seen["loop"] is loop
    assert seen["task"] is not task


@pytest.mark.parametrize("answer", [RuntimeError("no lifespan here"), KeyError("x"), None])
def test_auto_goes_on_without(answer, caplog):
    app = App(startup=answer)
    lifespan = go(app)
    assert not lifespan.supported
    assert app.events == ["startup"]
    assert len([text for text in texts(caplog) if "does not support lifespan" in text]) == 1
    assert texts(caplog, logging.WARNING) == []
    # The traceback is there for those who look for it.
    assert [r for r in caplog.records if r.levelno == logging.DEBUG and r.exc_info] != [] or answer is None


def test_auto_goes_on_where_the_scope_is_refused(caplog):
    async def app(scope, receive, send):
        assert scope["type"] == "http"

    lifespan = go(app)
    assert not lifespan.supported
    assert lifespan.state == {}


@pytest.mark.parametrize("answer", [RuntimeError("boom"), None])
def test_on_fails(answer, caplog):
    with pytest.raises(LifespanError):
        go(App(startup=answer), "on")
    if answer is not None:
        assert any(r.exc_info and r.exc_info[1] is answer for r in caplog.records if r.levelno == logging.ERROR)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_failed(mode, caplog):
    with pytest.raises(LifespanError):
        go(App(startup="failed", messages={"startup": "no database"}), mode)
    assert texts(caplog, logging.ERROR) == ["no database"]


def test_startup_failed_without_a_message(caplog):
    with pytest.raises(LifespanError):
        go(App(startup="failed"))
    assert texts(caplog, logging.ERROR) == []


def test_startup_failed_and_then_it_raises(caplog):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("no database")

    with pytest.raises(LifespanError):
        go(app)
    assert texts(caplog, logging.ERROR) == ["no database"]


async def forever(scope):
    await asyncio.Event().wait()


def test_startup_timeout():
    app = App(startup=forever)
    with pytest.raises(LifespanError, match=r"more than 0\.01 seconds"):
        go(app, startup_timeout=0.01)


def test_cancelling_startup_cancels_the_application():
    ended = []

    async def start(scope):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main():
        task = asyncio.ensure_future(Lifespan(App(startup=start)).startup())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert ended == [True]


def test_an_application_that_ignores_its_cancellation_is_left(caplog):
    release = []

    async def start(scope):
        while not release:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                release.append(True)
                await asyncio.sleep(0.2)

    async def main():
        with pytest.raises(LifespanError):
            await Lifespan(App(startup=start), "on", startup_timeout=0.01).startup()

    run(main())
    assert any("abandoned" in text for text in texts(caplog, logging.ERROR))


def test_shutdown_failed(caplog):
    go(App(shutdown="failed", messages={"shutdown": "queue not empty"}))
    assert texts(caplog, logging.ERROR) == ["The application's shutdown failed. queue not empty"]


def test_shutdown_raises(caplog):
    error = RuntimeError("boom")
    go(App(shutdown=error))
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.exc_info[1] is error


def test_shutdown_timeout(caplog):
    go(App(shutdown=forever), shutdown_timeout=0.01)
    (text,) = texts(caplog, logging.ERROR)
    assert "more than 0.01 seconds" in text


def test_the_application_returns_from_shutdown_without_a_word(caplog):
    go(App(shutdown=None))
    assert texts(caplog, logging.ERROR) == []


def test_the_application_raises_while_the_server_runs(caplog):
    error = RuntimeError("boom")

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await asyncio.sleep(0)
        raise error

    async def main():
        lifespan = Lifespan(app, "auto")
        await lifespan.startup()
        for _ in range(5):
            await asyncio.sleep(0)
        await lifespan.shutdown()

    run(main())
    assert [r.exc_info[1] for r in caplog.records if r.levelno == logging.ERROR] == [error]
    assert "Waiting for application shutdown." not in texts(caplog)


def test_there_is_no_third_message():
    got = []

    async def app(scope, receive, send):
        got.append(await receive())
        await send({"type": "lifespan.startup.complete"})
        got.append(await receive())
        await send({"type": "lifespan.shutdown.complete"})
        got.append(await receive())

    go(app)
    assert [message["type"] for message in got] == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize(
    "kinds",
    [
        ["lifespan.shutdown.complete"],
        ["lifespan.startup.complete", "lifespan.startup.complete"],
        ["lifespan.startup.complete", "lifespan.startup.failed"],
        ["lifespan.startup.complete", "lifespan.shutdown.complete"],
        ["http.response.start"],
    ],
)
def test_messages_out_of_order_are_errors_to_the_application(kinds):
    errors = []

    async def app(scope, receive, send):
        await receive()
        for kind in kinds[:-1]:
            await send({"type": kind})
        try:
            await send({"type": kinds[-1]})
        except AppError as exc:
            errors.append(exc)
        if len(kinds) == 1:
            await send({"type": "lifespan.startup.complete"})
        await receive()

    go(app)
    assert len(errors) == 1
    assert kinds[-1] in str(errors[0])
