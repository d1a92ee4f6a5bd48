"""Results as Markdown and JSON."""

from __future__ import annotations

from typing import Any, Callable, Optional

from .. import chart
from ..page import (
    FAILED,
    about_lines,
    as_json,
    capacity_table,
    columns,
    cost_table,
    failures,
    number,
    ordered,
    rate_table,
    rival_table,
    table,
)
from ..rounds import Cell, Results, Row
from .servers import BASELINE, SERVERS
from .workloads import WORKLOADS

LABELS = {server.name: server.label for server in SERVERS}
# The rows that are measured by their CPU per message.
LOADED = [workload for workload in WORKLOADS if workload.kind != "idle"]
TITLES = {workload.name: workload.title for workload in LOADED}
ALL_TITLES = {workload.name: workload.title for workload in WORKLOADS}
HEADING = "Server CPU per WebSocket message, uvicorn (websockets-sansio) = 1, further left is better"
MARKS = [
    chart.Mark(name, LABELS[name], shape, color)
    for name, shape, color in (
        ("picows", chart.bar, chart.CEILING_COLOR),
        ("hypercorn", chart.triangle, "#b07cd8"),
        ("uvicorn-wsproto", chart.diamond, chart.BASELINE_COLOR),
        ("socketify", chart.diamond, "#4a90c8"),
        ("granian", chart.square, "#e0605a"),
        (BASELINE, chart.bar, chart.BASELINE_COLOR),
        ("asgiserve-pure", chart.ring, chart.OWN_COLOR),
        (chart.OWN, chart.circle, chart.OWN_COLOR),
    )
]
SHUTDOWN_CODE = "1012"
# asgiserve's default time for a graceful shutdown, in seconds.
BOUND = 30


INTRODUCTION = """\
# WebSocket servers under load

*Capacity* is messages per CPU second of the server: higher is better, uvicorn with its default implementation
(websockets-sansio) and uvloop is 1. One server works at a time, one worker pinned to one core, the load generator on
another, where it never sleeps. CPU time is that of the server and its children, user and system, over the measured
window. Windows are short, and those of all servers take turns: a capacity is the median of what each window says beside
that of the baseline's own at the same time. The other figures are medians over all windows; ± is half of the distance
between the quartiles. The application is the same raw ASGI one everywhere; picows has none and is the ceiling. Every
server had to echo correctly before, during and after the load, and to lose no message. Nothing is compressed under
load: the client does not offer it.

"""


def _per_cpu_table(results: Results, shown: list[str]) -> list[str]:
    rows = []
    for title, row in ordered(results, TITLES):
        cells = [number(row.get(name, Cell()).median("per_cpu_second"), ",.0f") for name in shown]
        rows.append([title, *cells])
    return table(["messages per CPU second", *(LABELS[name] for name in shown)], rows)


def _is_signalled(name: str) -> bool:
    """Whether the server is one that can be told to end politely."""
    return not next(server for server in SERVERS if server.name == name).canned


def _ends(cell: Cell) -> str:
    """The close codes that came in the worst round."""
    worst = min(cell.samples, key=lambda sample: sample.codes.get(SHUTDOWN_CODE, 0))
    texts = [f"{count:,} x {'none' if code == '1006' else code}" for code, count in worst.codes.items()]
    return ", ".join(texts) + (", killed" if worst.killed else "")


def _idle_line(title: str, row: Optional[Row], shown: list[str], show: Callable[[str, Cell], str]) -> list[list[str]]:
    if row is None:
        return []
    cells = []
    for name in shown:
        cell = row.get(name, Cell())
        cells.append(FAILED if cell.failure else show(name, cell) if cell.samples else "-")
    return [[title, *cells]]


def _memory(name: str, cell: Cell) -> str:
    return number(cell.median("each"), ".1f")


def _deflate_memory(name: str, cell: Cell) -> str:
    return _memory(name, cell) if cell.median("agreed") else "not agreed"


def _opening(name: str, cell: Cell) -> str:
    return number(cell.median("cost"), ".0f")


def _told(name: str, cell: Cell) -> str:
    return _ends(cell) if _is_signalled(name) else "-"


def _last_close(name: str, cell: Cell) -> str:
    return number(cell.median("last_close") or None) if _is_signalled(name) else "-"


def _last_end(name: str, cell: Cell) -> str:
    return number(cell.median("last_end")) if _is_signalled(name) else "-"


def _idle_promises(results: Results) -> list[str]:
    """What asgiserve promises about idle connections, where it was measured."""
    lines = []
    for name, words in (("idle", "memory of a connection"), ("idle-deflate", "memory of one that compresses")):
        row = results.get(name, {})
        own, other = row.get(chart.OWN, Cell()).median("each"), row.get(BASELINE, Cell()).median("each")
        if own is not None and other is not None:
            lines.append(f"- {words} not above that of uvicorn: {'met' if own <= other else '**missed**'}")
    cell = results.get("idle", {}).get(chart.OWN, Cell())
    if cell.samples:
        told = all(set(sample.codes) == {SHUTDOWN_CODE} and sample.last_close <= BOUND for sample in cell.samples)
        lines.append(f"- {SHUTDOWN_CODE} for all within {BOUND} s of the signal: {'met' if told else '**missed**'}")
    return ["Promises of asgiserve:", "", *lines, ""] if lines else []


def _idle_table(results: Results, shown: list[str]) -> list[str]:
    plain, deflate = results.get("idle"), results.get("idle-deflate")
    lines = _idle_line("memory per connection, KiB", plain, shown, _memory)
    lines += _idle_line("with permessage-deflate, KiB", deflate, shown, _deflate_memory)
    lines += _idle_line("CPU µs per handshake and first echo", plain, shown, _opening)
    lines += _idle_line("close codes after SIGTERM", plain, shown, _told)
    lines += _idle_line("last close frame, s after SIGTERM", plain, shown, _last_close)
    lines += _idle_line("last connection gone, s after SIGTERM", plain, shown, _last_end)
    if not lines:
        return []
    row = plain or deflate or {}
    count = next((sample.connections for cell in row.values() for sample in cell.samples), 0)
    return [
        f"## {count:,} idle connections",
        "",
        "Every connection has echoed one message of 64 B before. Memory is what they added to the server's, without",
        "what the kernel keeps for sockets. *none* is a connection that ended without a close frame.",
        "",
        *table(["", *(LABELS[name] for name in shown)], lines),
        *_idle_promises(results),
    ]


def markdown(about: dict[str, Any], results: Results, picture: Optional[str]) -> str:
    """The whole report as a Markdown page."""
    shown = columns(results, SERVERS)
    lines = INTRODUCTION.splitlines()
    if picture:
        lines += [f"![CPU per WebSocket message relative to uvicorn]({picture})", ""]
    if any(name in results for name in TITLES):
        loaded = {name: row for name, row in results.items() if name in TITLES}
        lines += capacity_table(loaded, LOADED, LABELS, shown, chart.OWN, BASELINE)
        rivals = rival_table("capacity, same engine and loop", loaded, TITLES, SERVERS)
        lines += ["## The pure stack against uvicorn with the same engine", "", *rivals] if rivals else []
        lines += ["## CPU per message", "", *cost_table("message", loaded, TITLES, LABELS, shown)]
        lines += ["## Messages per CPU second", "", *_per_cpu_table(results, shown)]
        lines += ["## Messages per second", "", *rate_table("message", loaded, TITLES, LABELS, shown)]
    lines += _idle_table(results, shown)
    lines += failures(results, ALL_TITLES, LABELS)
    lines += about_lines(about, shown, LABELS)
    return "\n".join(lines)


def report(about: dict[str, Any], results: Results, name: str) -> dict[str, str]:
    """All files: their texts by their names."""
    table = chart.costs(results, TITLES, MARKS, BASELINE)
    picture = chart.svg("CPU per WebSocket message relative to uvicorn", HEADING, table, MARKS)
    files = {} if picture is None else {f"{name}.svg": picture}
    files[f"{name}.md"] = markdown(about, results, f"{name}.svg" if picture else None)
    files[f"{name}.json"] = as_json(about, results, WORKLOADS, BASELINE)
    return files
