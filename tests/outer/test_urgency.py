"""How soon a server is to end: who may say so, and that code which holds up its loop is interrupted."""

import asyncio
import os
import signal
import threading
import time

import pytest

from asgiserve import urgency as module
from asgiserve.urgency import DRAIN, DROP, HURRY, RETIRE, SERVE, Urgency

from .serving import run

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def test_it_rises_and_never_falls():
    urgency = Urgency()
    assert urgency.level == SERVE
    for level in (RETIRE, HURRY, DRAIN, HURRY):
        urgency.rise(level)
    assert urgency.level == HURRY


def test_who_waits_for_it_hears_of_it():
    async def main():
        urgency = Urgency()
        urgency.attach(asyncio.get_running_loop())
        assert not await urgency.wait(timeout=0)
        waits = asyncio.ensure_future(urgency.wait(HURRY))
        threading.Thread(target=urgency.rise, args=(DRAIN,)).start()
        assert await urgency.wait(DRAIN)
        assert not waits.done()
        urgency.order(HURRY)
        assert await waits
        urgency.detach()
        urgency.rise(DROP)

    run(main())


def test_a_loop_that_goes_round_is_not_interrupted():
    async def main():
        urgency = Urgency()
        urgency.attach(asyncio.get_running_loop())
        for level in (RETIRE, DRAIN, HURRY, DROP):
            urgency.ask(level)
            await urgency.wait(level)
            urgency.on_interrupt(signal.SIGINT, None)

    run(main())


def test_a_blocked_loop_is_interrupted_when_asked_again(monkeypatch):
    async def main():
        urgency = Urgency()
        urgency.attach(asyncio.get_running_loop())
        urgency.ask(DRAIN)
        urgency.on_interrupt(signal.SIGINT, None)  # not even a moment has passed
        monkeypatch.setattr(module, "BLOCKED", -1.0)
        with pytest.raises(KeyboardInterrupt):
            urgency.on_interrupt(signal.SIGINT, None)
        with pytest.raises(KeyboardInterrupt):
            urgency.ask(HURRY)
        assert urgency.level == HURRY

    run(main())


def test_an_interrupt_means_nothing_while_serving():
    urgency = Urgency()
    urgency.is_loading = True
    urgency.on_interrupt(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        urgency.ask(DRAIN)


@posix
def test_an_order_reaches_a_main_thread_that_waits():
    urgency = Urgency()
    urgency.is_loading = True
    earlier = signal.signal(signal.SIGINT, urgency.on_interrupt)
    orders = threading.Timer(0.05, urgency.order, [DRAIN])
    orders.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            time.sleep(1000)
    finally:
        orders.join()
        signal.signal(signal.SIGINT, earlier)
    assert urgency.level == DRAIN
