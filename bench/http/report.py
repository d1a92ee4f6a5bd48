"""The report: a page, its pictures, and everything for machines."""

from __future__ import annotations

from typing import Any

from .. import chart
from ..page import (
    about_lines,
    as_json,
    capacity_table,
    columns,
    cost_table,
    failures,
    rate_table,
    rival_table,
)
from ..rounds import Results
from .promises import ahead_lines, promise_lines
from .servers import BASELINE, HTTP2_BASELINE, SERVERS
from .tables import latency_table, log_lines, memory_table
from .workloads import WORKLOADS

LABELS = {server.name: server.label for server in SERVERS}
FLAT = [workload for workload in WORKLOADS if workload.kind == "flat"]
TITLES = {workload.name: workload.title for workload in FLAT}
OTHER_BASELINES = {workload.name: HTTP2_BASELINE for workload in FLAT if workload.http2}
ALL_TITLES = {workload.name: workload.title for workload in WORKLOADS}

INTRODUCTION = """\
# HTTP servers under load

*Capacity* is work per CPU second of the server: higher is better, uvicorn with httptools and uvloop is 1, or over
HTTP/2, which httptools does not speak, uvicorn with zttp. One server works at a time, one worker pinned to one core,
the load generator on another, where it never sleeps. CPU time is that of the server and its children, user and system,
over the measured window. Windows are short, and those of all servers take turns: a capacity is the median of what each
window says beside that of the baseline's own at the same time. The other figures are medians over all windows; ± is
half of the distance between the quartiles. Every server had to answer correctly before, during and after the load;
every response was read to its end and many were compared. A *promise* is the least capacity of asgiserve, or a server
that it is not to be dearer than.
"""

MARKS = [
    chart.Mark(name, LABELS[name], shape, color)
    for name, shape, color in (
        ("epoll", chart.bar, "#b8bec4"),
        ("bare", chart.bar, chart.CEILING_COLOR),
        ("hypercorn", chart.triangle, "#b07cd8"),
        ("gunicorn", chart.cross, "#a8743e"),
        ("uvicorn-h11", chart.diamond, chart.BASELINE_COLOR),
        ("uvicorn-zttp", chart.wedge, chart.BASELINE_COLOR),
        ("socketify", chart.diamond, "#4a90c8"),
        ("fastpysgi", chart.triangle, "#4a90c8"),
        ("granian", chart.square, "#e0605a"),
        (BASELINE, chart.bar, chart.BASELINE_COLOR),
        ("asgiserve-pure", chart.ring, chart.OWN_COLOR),
        (chart.OWN, chart.circle, chart.OWN_COLOR),
    )
]

# What the second picture shows: titles, rows and attributes of their samples.
OTHERS = (
    ("latency at 10,000 requests/s, median", "latency", "p50"),
    ("99th percentile", "latency", "p99"),
    ("99.9th percentile", "latency", "p999"),
    ("memory per idle connection", "idle", "cost"),
    ("memory per request in flight", "held", "cost"),
    ("memory at start", "start", "memory"),
    ("start to first response", "start", "start"),
)


def _pictures(results: Results) -> dict[str, tuple[str, str]]:
    """What follows the report's name, to title and SVG text of every picture that there is something for."""
    flat = chart.costs(results, TITLES, MARKS, BASELINE, OTHER_BASELINES)
    found = [(title, chart.medians(results.get(row, {}), name, MARKS, BASELINE)) for title, row, name in OTHERS]
    others = [(title, values) for title, values in found if len(values) > 1]
    zttp = " (HTTP/2: zttp)" if OTHER_BASELINES.keys() & results.keys() else ""
    made = {
        "": ("CPU per request relative to uvicorn", "Server CPU per request", zttp, flat),
        "-more": ("Latency, memory and start relative to uvicorn", "Latency, memory and start", "", others),
    }
    pictures = {}
    for name, (title, heading, note, table) in made.items():
        text = chart.svg(title, f"{heading}, uvicorn with httptools{note} = 1, further left is better", table, MARKS)
        if text is not None:
            pictures[name] = (title, text)
    return pictures


def _picture_lines(pictures: dict[str, tuple[str, str]], part: str, name: str) -> list[str]:
    return [f"![{pictures[part][0]}]({name}{part}.svg)", ""] if part in pictures else []


def markdown(about: dict[str, Any], results: Results, name: str, pictures: dict[str, tuple[str, str]]) -> str:
    """The whole report as a Markdown page."""
    shown = columns(results, SERVERS)
    flat = {row: cells for row, cells in results.items() if row in TITLES}
    lines = [INTRODUCTION, *_picture_lines(pictures, "", name)]
    if flat:
        loaded = columns(flat, SERVERS)
        lines += capacity_table(flat, FLAT, LABELS, loaded, chart.OWN, BASELINE, OTHER_BASELINES)
        lines += log_lines(flat, loaded, LABELS)
    lines += promise_lines(results)
    lines += ahead_lines(results, LABELS, [*((title, row, "cost") for row, title in TITLES.items()), *OTHERS])
    rivals = rival_table("capacity, same interpreter and loop", flat, TITLES, SERVERS)
    lines += ["## The pure stack against uvicorn's h11", "", *rivals] if rivals else []
    if flat:
        lines += ["## CPU per request", "", *cost_table("request", flat, TITLES, LABELS, loaded)]
        lines += ["## Requests per second", "", *rate_table("request", flat, TITLES, LABELS, loaded)]
    lines += latency_table(results, SERVERS, LABELS)
    lines += _picture_lines(pictures, "-more", name)
    lines += memory_table(results, SERVERS, LABELS)
    lines += failures(results, ALL_TITLES, LABELS)
    lines += about_lines(about, shown, LABELS)
    return "\n".join(lines)


def report(about: dict[str, Any], results: Results, name: str) -> dict[str, str]:
    """All files: their texts by their names."""
    pictures = _pictures(results)
    files = {f"{name}{part}.svg": text for part, (_, text) in pictures.items()}
    files[f"{name}.md"] = markdown(about, results, name, pictures)
    files[f"{name}.json"] = as_json(about, results, WORKLOADS, BASELINE, OTHER_BASELINES)
    return files
