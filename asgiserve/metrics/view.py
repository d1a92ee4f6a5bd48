"""View: a server's status as a picture for the terminal, drawn by rich.

Importing this module fails with ImportError where rich is not installed.
"""

from __future__ import annotations

import math
from typing import Optional

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .reader import Change, Status, WorkerStatus, change, response_rates, worker_change
from .snapshot import BUCKETS

_PHASES = {"booting": "yellow", "ready": "green", "stopping": "magenta"}
_SLOW_LAG = 0.1
_BAD_LAG = 1.0
_MEBI = 1024 * 1024


def frame(before: Optional[Status], now: Status) -> RenderableType:
    """What the server does. Rates are those since `before`."""
    return Group(_heading(now), _summary(before, now), _table(before, now), _restarts(now))


def message(text: str) -> RenderableType:
    """A line in place of the picture."""
    return Text(text, style="red")


def _heading(now: Status) -> Text:
    state = Text("ready", "bold green") if now.is_ready else Text("not ready", "bold red")
    return Text.assemble(now.what, f", pid {now.pid}, up {age(now.time - now.started)}, ", state)


def _summary(before: Optional[Status], now: Status) -> Text:
    total = change(before, now)
    active = sum(worker.active for worker in now.workers)
    connections = sum(worker.connections for worker in now.workers)
    text = Text.assemble(
        f"{rate(total.requests)} requests/s, {active} in flight, {connections} connections,"
        f" p50 {duration(total.median)}, p99 {duration(total.p99)}"
    )
    for name, count in response_rates(before, now).items():
        if count:
            text.append(f", {name} {rate(count)}/s", "red" if name == "5xx" else "")
    return text


def _table(before: Optional[Status], now: Status) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("worker", "pid", "phase", "age", "req/s", "active", "conns", "p50", "p99", "lag", "worst", "MiB"):
        table.add_column(name, justify="left" if name == "phase" else "right", no_wrap=True)
    for worker in now.workers:
        table.add_row(*_row(worker, worker_change(before, now, worker)))
    return table


def _row(worker: WorkerStatus, since: Change) -> list[RenderableType]:
    known: list[RenderableType] = [
        str(worker.slot),
        str(worker.pid),
        Text(worker.phase, _PHASES.get(worker.phase, "")),
        age(worker.age),
    ]
    if not worker.has_figures:
        return known
    return [
        *known,
        rate(since.requests),
        str(worker.active),
        str(worker.connections),
        duration(since.median),
        duration(since.p99),
        _lag(worker.lag),
        _lag(worker.worst_lag),
        f"{worker.memory / _MEBI:.0f}" if worker.memory else "-",
    ]


def _lag(seconds: float) -> Text:
    return Text(duration(seconds), "red" if seconds >= _BAD_LAG else "yellow" if seconds >= _SLOW_LAG else "")


def _restarts(now: Status) -> Text:
    found = [f"{reason} {count}" for reason, count in now.restarts.items() if count]
    return Text(f"workers replaced: {', '.join(found)}" if found else "no worker was replaced")


# -- numbers for people


def rate(per_second: Optional[float]) -> str:
    """``-``, ``0.4``, ``37``, ``1,204``."""
    if per_second is None:
        return "-"
    return f"{per_second:,.0f}" if per_second >= 10 or per_second == 0 else f"{per_second:.1f}"


def duration(seconds: Optional[float]) -> str:
    """``-``, ``0.8 ms``, ``12 ms``, ``1.3 s``; of what lies above all that is measured, ``> 10 s``."""
    if seconds is None:
        return "-"
    if math.isinf(seconds):
        return f"> {BUCKETS[-1]:g} s"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def age(seconds: float) -> str:
    """``5s``, ``3m 12s``, ``2h 03m``, ``4d 02h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole // 60 % 60:02d}m"
    return f"{whole // 86400}d {whole // 3600 % 24:02d}h"
