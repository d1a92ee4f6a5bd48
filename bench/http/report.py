"""Results as Markdown and JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from typing import Any, Optional

from .measure import Cell, Plan, Results
from .servers import BASELINE, SERVERS
from .workloads import WORKLOADS, Workload

LABELS = {server.name: server.label for server in SERVERS}
IDLE = 0.85


def environment(plan: Plan, versions: dict[str, str], skipped: dict[str, str]) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": _wrk_version(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "versions": versions,
        "commands": _commands(),
        "skipped": skipped,
    }


def _cpu_model() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")


def _wrk_version() -> str:
    first = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.splitlines()[0]
    return " ".join(first.split()[:2])


def _commands() -> dict[str, str]:
    """How each server is started, without interpreter and port, for the first row."""
    found = {}
    for server in SERVERS:
        command = " ".join(server.arguments(WORKLOADS[0], 0)[1:])
        found[server.name] = command.replace("127.0.0.1:0", "127.0.0.1:PORT").replace("--port 0", "--port PORT")
    return found


def capacity(row: dict[str, Cell], name: str, baseline: str = BASELINE) -> Optional[float]:
    """Work per CPU second relative to a baseline server in the same row."""
    if name not in row or baseline not in row:
        return None
    cost, base = row[name].median("cost"), row[baseline].median("cost")
    return base / cost if cost and base else None


def _columns(results: Results) -> list[str]:
    present = {name for row in results.values() for name in row}
    return [server.name for server in SERVERS if server.name in present]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _number(value: Optional[float], form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _failed(row: dict[str, Cell], name: str) -> bool:
    return name in row and row[name].failure is not None


def _rows(results: Results) -> list[tuple[Workload, dict[str, Cell]]]:
    return [(workload, results[workload.name]) for workload in WORKLOADS if workload.name in results]


def _capacity_table(results: Results, columns: list[str]) -> list[str]:
    rows = []
    for workload, row in _rows(results):
        own, target = capacity(row, "asgiserve"), workload.target
        verdict = "-" if target is None else f"{target:g}"
        if target is not None and (own is not None or _failed(row, "asgiserve")):
            verdict += " met" if own is not None and own >= target else " **missed**"
        cells = ["**failed**" if _failed(row, name) else _number(capacity(row, name)) for name in columns]
        rows.append([workload.title, verdict, *cells])
    return _table(["capacity, uvicorn httptools = 1", "promise", *(LABELS[name] for name in columns)], rows)


def _cost_table(results: Results, columns: list[str]) -> list[str]:
    rows = []
    for workload, row in _rows(results):
        cells = []
        for name in columns:
            cell = row.get(name, Cell())
            spread = cell.spread()
            text = _number(cell.median("cost"), ".1f")
            if spread is not None and len(cell.samples) > 1:
                text += f" ±{spread * 50:.0f}%"
            cells.append("**failed**" if cell.failure else text)
        rows.append([workload.title, *cells])
    return _table(["CPU µs per request", *(LABELS[name] for name in columns)], rows)


def _rate_table(results: Results, columns: list[str]) -> list[str]:
    rows = []
    for workload, row in _rows(results):
        cells = []
        for name in columns:
            cell = row.get(name, Cell())
            rate, busy = cell.median("rate"), cell.median("busy")
            mark = "*" if busy is not None and busy < IDLE else ""
            cells.append("**failed**" if cell.failure else _number(rate, ",.0f") + mark)
        rows.append([workload.title, *cells])
    return _table(["requests per second", *(LABELS[name] for name in columns)], rows)


def _rival_lines(results: Results) -> list[str]:
    pairs = [(server.name, server.rival) for server in SERVERS if server.rival is not None]
    present = [pair for pair in pairs if any(capacity(row, *pair) for row in results.values())]
    if not present:
        return []
    rows = [
        [workload.title, *(_number(capacity(row, name, rival)) for name, rival in present)]
        for workload, row in _rows(results)
    ]
    head = ["capacity, same interpreter and loop", *(f"{LABELS[a]} / {LABELS[b]}" for a, b in present)]
    return ["## The pure stack against uvicorn's h11", "", *_table(head, rows)]


def _log_lines(results: Results, columns: list[str]) -> list[str]:
    if not {"plaintext", "logged"} <= set(results):
        return []
    costs = []
    for name in columns:
        ratio = capacity(results["plaintext"], name, name) and capacity(
            {"off": results["plaintext"][name], "on": results["logged"].get(name, Cell())}, "off", "on"
        )
        if ratio:
            costs.append(f"{LABELS[name]} {(ratio - 1) * 100:+.0f} %")
    return [f"The access log adds to the CPU of a plaintext request: {', '.join(costs)}.", ""]


def _start_table(results: Results, columns: list[str]) -> list[str]:
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
        values = [row.get(column, Cell()).median(name) for column in columns]
        rows.append([title, *(_number(None if value is None else value * scale, form) for value in values)])
    return ["## Start and memory (plaintext)", "", *_table(["", *(LABELS[name] for name in columns)], rows)]


def _failures(results: Results) -> list[str]:
    lines = [
        f"- {workload.title}, {LABELS[name]}: {cell.failure}"
        for workload, row in _rows(results)
        for name, cell in row.items()
        if cell.failure
    ]
    return ["## Failed", "", *lines, ""] if lines else []


def markdown(about: dict[str, Any], results: Results, picture: Optional[str]) -> str:
    """The whole report as a Markdown page."""
    columns = _columns(results)
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
    lines += _capacity_table(results, columns)
    lines += _log_lines(results, columns)
    lines += _rival_lines(results)
    lines += ["## CPU per request", "", *_cost_table(results, columns)]
    lines += ["## Requests per second", "", *_rate_table(results, columns)]
    if any("*" in line for line in _rate_table(results, columns)):
        lines += [f"\\* the server used less than {IDLE:.0%} of its core, so this rate is not its limit.", ""]
    lines += _start_table(results, columns)
    lines += _failures(results)
    lines += _about(about, columns)
    return "\n".join(lines)


def _about(about: dict[str, Any], columns: list[str]) -> list[str]:
    lines = [
        "## Environment",
        "",
        f"- {about['date']}; {about['cpu']}, {about['cores']} cores; {about['kernel']}; {about['python']}",
        f"- {about['load']}, one thread; {about['rounds']} interleaved rounds of {about['seconds']} s, each warmed up",
        "",
    ]
    rows = [[LABELS[name], about["versions"].get(name, ""), f"`{about['commands'][name]}`"] for name in columns]
    lines += ["| server | versions | started as |", "|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", *(f"- not measured: {LABELS[name]}: {reason}" for name, reason in about["skipped"].items()), ""]
    return lines


def as_json(about: dict[str, Any], results: Results) -> str:
    """The environment and every window, for machines."""
    rows = {
        workload.name: {
            "title": workload.title,
            "target": workload.target,
            "connections": workload.connections,
            "depth": workload.depth,
            "servers": {name: {**cell.as_dict(), "capacity": capacity(row, name)} for name, cell in row.items()},
        }
        for workload, row in _rows(results)
    }
    return json.dumps({"environment": about, "rows": rows}, indent=1) + "\n"
