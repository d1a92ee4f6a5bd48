"""The calls that have a twin in C."""

from __future__ import annotations

import contextvars

import pytest


@pytest.fixture
def calls(part):
    return part("calls")


@pytest.fixture
def exchange(part):
    return part("exchange")


def test_call_hands_over_the_arguments(calls):
    keywords = {"b": 2, "c": 3}
    assert calls.call(lambda a, *, b, c: (a, b, c), 1, keywords) == (1, 2, 3)
    assert keywords == {"b": 2, "c": 3}
    with pytest.raises(TypeError):
        calls.call(lambda a: a, 1, keywords)


def test_bind_is_attribute_access(calls, exchange):
    class Application(exchange.Exchange):
        def take_message(self, message):
            return message

    instance = Application()
    bound = calls.bind(exchange.Exchange.send, instance)
    assert bound == instance.send
    assert bound.__self__ is instance
    assert bound({"type": "x"}) == {"type": "x"}
    assert bound([("type", "y")]) == {"type": "y"}
    with pytest.raises(TypeError):
        bound()


def test_call_in_a_context(calls):
    variable = contextvars.ContextVar("variable", default=0)
    context = contextvars.copy_context()

    def change(value):
        variable.set(value)
        if value > 1:
            raise LookupError(value)
        return variable.get()

    assert calls.call_in(context, change, 1) == 1
    assert (variable.get(), context[variable]) == (0, 1)
    with pytest.raises(LookupError):
        calls.call_in(context, change, 2)
    assert (variable.get(), context[variable]) == (0, 2)
    with pytest.raises(RuntimeError):
        context.run(calls.call_in, context, change, 3)
    assert context[variable] == 2
