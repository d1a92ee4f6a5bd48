"""Results as Markdown and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Optional

from ..page import FAILED, about_lines, columns, cost_table, failures, number, rate_table, table, verdict
from ..rounds import Cell, Results, Row, ratio
from .servers import BASELINE, SERVERS
from .workloads import WORKLOADS, Workload

LABELS = {server.name: server.label for server in SERVERS}
TITLES = {workload.name: workload.title for workload in WORKLOADS}


def capacity(row: Row, name: str, baseline: str = BASELINE) -> Optional[float]:
    """Work per CPU second relative to a baseline server in the same row."""
    return ratio(row, name, baseline)


def _failed(row: Row, name: str) -> bool:
    return name in row and row[name].failure is not None


def _rows(results: Results) -> list[tuple[Workload, Row]]:
    return [(workload, results[workload.name]) for workload in WORKLOADS if workload.name in results]


def _capacity_table(results: Results, shown: list[str]) -> list[str]:
    rows = []
    for workload, row in _rows(results):
        promise = verdict(workload.target, capacity(row, "asgiserve"), _failed(row, "asgiserve"))
        cells = [FAILED if _failed(row, name) else number(capacity(row, name)) for name in shown]
        rows.append([workload.title, promise, *cells])
    return table(["capacity, uvicorn httptools = 1", "promise", *(LABELS[name] for name in shown)], rows)


def _rival_lines(results: Results) -> list[str]:
    pairs = [(server.name, server.rival) for server in SERVERS if server.rival is not None]
    present = [pair for pair in pairs if any(capacity(row, *pair) for row in results.values())]
    if not present:
        return []
    rows = [
        [workload.title, *(number(capacity(row, name, rival)) for name, rival in present)]
        for workload, row in _rows(results)
    ]
    head = ["capacity, same interpreter and loop", *(f"{LABELS[a]} / {LABELS[b]}" for a, b in present)]
    return ["## The pure stack against uvicorn's h11", "", *table(head, rows)]


def _log_lines(results: Results, shown: list[str]) -> list[str]:
    if not {"plaintext", "logged"} <= set(results):
        return []
    costs = []
    for name in shown:
        ratio = capacity(results["plaintext"], name, name) and capacity(
            {"off": results["plaintext"][name], "on": results["logged"].get(name, Cell())}, "off", "on"
        )
        if ratio:
            costs.append(f"{LABELS[name]} {(ratio - 1) * 100:+.0f} %")
    return [f"The access log adds to the CPU of a plaintext request: {', '.join(costs)}.", ""]


def _start_table(results: Results, shown: list[str]) -> list[str]:
    row = results.get("plaintext")
    if row is None:
        return []
    rows = []
    for title, name, scale, form in (
        ("start to first answer, ms", "start", 1e3, ".0f"),
        ("memory after the load, MiB", "memory", 1 / (1 << 20), ".1f"),
        ("median latency at saturation, ms", "p50", 1e-3, ".2f"),
        ("99th percentile at saturation, ms", "p99", 1e-3, ".2f"),
    ):
        values = [row.get(column, Cell()).median(name) for column in shown]
        rows.append([title, *(number(None if value is None else value * scale, form) for value in values)])
    return ["## Start and memory (plaintext)", "", *table(["", *(LABELS[name] for name in shown)], rows)]


def markdown(about: dict[str, Any], results: Results, picture: Optional[str]) -> str:
    """The whole report as a Markdown page."""
    shown = columns(results, SERVERS)
    lines = [
        "# HTTP servers under load",
        "",
        "*Capacity* is work per CPU second of the server: higher is better, uvicorn with httptools and uvloop is 1.",
        "Each server runs alone, one worker pinned to one core, the load generator on another. CPU time is that of the",
        "server and its children, user and system, over the measured window. Figures are medians over the rounds; ± is",
        "half of the distance between the cheapest and the dearest round. Every server had to answer correctly before,",
        "during and after the load.",
        "",
    ]
    if picture:
        lines += [f"![CPU per request relative to uvicorn]({picture})", ""]
    lines += _capacity_table(results, shown)
    lines += _log_lines(results, shown)
    lines += _rival_lines(results)
    lines += ["## CPU per request", "", *cost_table("request", results, TITLES, LABELS, shown)]
    lines += ["## Requests per second", "", *rate_table("request", results, TITLES, LABELS, shown)]
    lines += _start_table(results, shown)
    lines += failures(results, TITLES, LABELS)
    lines += about_lines(about, shown, LABELS)
    return "\n".join(lines)


def _cell_figures(cell: Cell) -> dict[str, Any]:
    return {
        "failure": cell.failure,
        "cpu_us_per_request": cell.median("cost"),
        "requests_per_second": cell.median("rate"),
        "spread": cell.spread(),
        "samples": [{**asdict(s), "cpu_us_per_request": s.cost, "busy": s.busy} for s in cell.samples],
    }


def as_json(about: dict[str, Any], results: Results) -> str:
    """The environment and every window, for machines."""
    rows = {
        workload.name: {
            "title": workload.title,
            "target": workload.target,
            "connections": workload.connections,
            "depth": workload.depth,
            "servers": {name: {**_cell_figures(cell), "capacity": capacity(row, name)} for name, cell in row.items()},
        }
        for workload, row in _rows(results)
    }
    return json.dumps({"environment": about, "rows": rows}, indent=1) + "\n"
