"""Calls that every request makes. The pure twin of `_speedups/calls.pyx`, which says why there are two."""

from types import MethodType
from typing import Any


def call(function: Any, argument: Any, keywords: "dict[str, Any]") -> Any:
    """Return `function(argument, **keywords)`."""
    return function(argument, **keywords)


def bind(method: Any, instance: Any) -> Any:
    """Return `method`, which a class has defined, bound to an instance of that class or of one derived from it."""
    return MethodType(method, instance)


def is_text(item: Any, text: str) -> bool:
    """Whether `item` is equal to `text`."""
    return bool(item == text)


def call_in(context: Any, function: Any, argument: Any) -> Any:
    """Return `function(argument)`, called in `context`.

    Raises:
        RuntimeError: the context is in use.
    """
    return context.run(function, argument)
