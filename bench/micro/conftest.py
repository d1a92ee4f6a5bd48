"""The ``stack`` fixture, and a summary in microseconds per request that puts the stacks side by side."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from asgiserve import _stack

SECONDS: dict[tuple[str, str], float] = {}

Measure = Callable[[str, Callable[[], Any], int], None]


@pytest.fixture(scope="session", params=_stack.available())
def stack(request: pytest.FixtureRequest) -> _stack.Stack:
    """Each stack that is built."""
    return _stack.load(request.param)


@pytest.fixture
def measure(benchmark: Any, stack: _stack.Stack) -> Measure:
    """A function ``measure(group, work, count)``: times ``work()``, which does ``count`` requests."""

    def run(group: str, work: Callable[[], Any], count: int) -> None:
        benchmark.group = group
        benchmark.extra_info.update(requests=count, stack=stack.name, parser=stack.parser)
        benchmark(work)
        if benchmark.stats is not None:  # --benchmark-disable
            SECONDS[group, stack.name] = benchmark.stats.stats.median / count

    return run


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the medians per request."""
    if not SECONDS:
        return
    names = _stack.available()
    terminalreporter.section("microseconds per request (median)")
    terminalreporter.line(f"{'':24}" + "".join(f"{name:>12}" for name in names))
    for group in dict.fromkeys(group for group, _ in SECONDS):
        cells = [SECONDS.get((group, name)) for name in names]
        shown = "".join(f"{'-' if cell is None else format(cell * 1e6, '.2f'):>12}" for cell in cells)
        terminalreporter.line(f"{group:24}{shown}")
