"""Parts of a report that every benchmark has."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Optional

from .rounds import Cell, Plan, Results, Row, ratio
from .servers import Server

# Below this share of its core a server was waiting, and its rate is not its limit.
IDLE = 0.85
IDLE_NOTE = f"\\* the server used less than {IDLE:.0%} of its core, so this rate is not its limit."

FAILED = "**failed**"

Lines = list[str]
# The baselines of rows that have one of their own, where there are none.
NONE: Mapping[str, str] = {}

_PORT = re.compile(r"(127\.0\.0\.1:|--port )0\b")


def environment(
    plan: Plan, load: str, servers: list[Server], workload: Any, versions: dict[str, str], skipped: dict[str, str]
) -> dict[str, Any]:
    """What the figures depend on.

    :param load: name and version of the load generator.
    :param workload: the one whose command lines are shown.
    """
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": load,
        "rounds": plan.rounds,
        "windows": plan.windows,
        "seconds": plan.seconds,
        "versions": versions,
        "commands": {server.name: _command(server, workload) for server in servers},
        "skipped": skipped,
    }


def _cpu_model() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")


def _command(server: Server, workload: Any) -> str:
    """How a server is started, without interpreter and port."""
    if server.program is not None:
        return server.name
    arguments = server.arguments(workload, 0)
    if arguments[0] == "-c":  # a server that has no module to run
        arguments[:2] = [server.name]
    return _PORT.sub(r"\1PORT", " ".join(arguments[arguments[0] == "-m" :]))


def table(head: list[str], rows: list[list[str]], words: int = 0) -> Lines:
    """A Markdown table, numbers to the right, and an empty line.

    :param words: how many of the last columns are text.
    """
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1 - words) + "---|" * words]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def number(value: Optional[float], form: str = ".2f") -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def columns(results: Results, servers: list[Server]) -> list[str]:
    """The servers that were in any row, in the order of the table of servers."""
    present = {name for row in results.values() for name in row}
    return [server.name for server in servers if server.name in present]


def ordered(results: Results, titles: dict[str, str]) -> list[tuple[str, Row]]:
    """Titles and rows in the order of the titles."""
    return [(title, results[name]) for name, title in titles.items() if name in results]


def cost_table(unit: str, results: Results, titles: dict[str, str], labels: dict[str, str], shown: list[str]) -> Lines:
    """CPU time per piece of work, and how much it varied."""
    rows = []
    for title, row in ordered(results, titles):
        cells = []
        for name in shown:
            cell = row.get(name, Cell())
            spread = cell.spread()
            text = number(cell.median("cost"), ".1f")
            if spread is not None and len(cell.samples) > 1:
                text += f" ±{spread * 50:.0f}%"
            cells.append(FAILED if cell.failure else text)
        rows.append([title, *cells])
    return table([f"CPU µs per {unit}", *(labels[name] for name in shown)], rows)


def rate_table(unit: str, results: Results, titles: dict[str, str], labels: dict[str, str], shown: list[str]) -> Lines:
    """Pieces of work per second, marked where that is not the server's limit."""
    rows = []
    for title, row in ordered(results, titles):
        cells = []
        for name in shown:
            cell = row.get(name, Cell())
            rate, busy = cell.median("rate"), cell.median("busy")
            mark = "*" if busy is not None and busy < IDLE else ""
            cells.append(FAILED if cell.failure else number(rate, ",.0f") + mark)
        rows.append([title, *cells])
    lines = table([f"{unit}s per second", *(labels[name] for name in shown)], rows)
    if any("*" in cell.replace("**", "") for row in rows for cell in row):
        lines += [IDLE_NOTE, ""]
    return lines


def verdict(workload: Any, row: Row, labels: dict[str, str], own: str, baseline: str) -> str:
    """What was promised of a row, and whether it was kept; only the promise where nothing was measured."""
    target = workload.target
    if target is None:
        return "-"
    if isinstance(target, str):  # a server
        words, least, reached = labels[target], 1.0, ratio(row, own, target)
    else:
        words, least, reached = f"{target:g}", target, ratio(row, own, baseline)
    if reached is None and not row.get(own, Cell()).failure:
        return words
    return f"{words} met" if reached is not None and reached >= least else f"{words} **missed**"


def capacity_table(
    results: Results,
    workloads: list[Any],
    labels: dict[str, str],
    shown: list[str],
    own: str,
    baseline: str,
    others: Mapping[str, str] = NONE,
) -> Lines:
    """Work per CPU second relative to the baseline, with what was promised of it.

    :param workloads: those that are measured in this way.
    :param others: the baselines of rows that have one of their own; the row says which.
    :return: nothing without a baseline.
    """
    if not {others.get(name, baseline) for name in results} & set(shown):
        return []
    rows = []
    for workload in workloads:
        row = results.get(workload.name)
        if row is None:
            continue
        failed = {name for name, cell in row.items() if cell.failure}
        base = others.get(workload.name, baseline)
        title = workload.title if base == baseline else f"{workload.title} ({labels[base]} = 1)"
        cells = [FAILED if name in failed else number(ratio(row, name, base)) for name in shown]
        rows.append([title, verdict(workload, row, labels, own, base), *cells])
    return table([f"capacity, {labels[baseline]} = 1", "promise", *(labels[name] for name in shown)], rows)


def rival_table(head: str, results: Results, titles: dict[str, str], servers: list[Server]) -> Lines:
    """The servers that have a rival, relative to that."""
    pairs = [(server, server.rival) for server in servers if server.rival is not None]
    present = [(a, b) for a, b in pairs if any(ratio(row, a.name, b) for row in results.values())]
    labels = {server.name: server.label for server in servers}
    rows = [
        [title, *(number(ratio(row, a.name, b)) for a, b in present)]
        for title, row in ordered(results, titles)
        if any(ratio(row, a.name, b) for a, b in present)
    ]
    return table([head, *(f"{a.label} / {labels[b]}" for a, b in present)], rows) if rows else []


def failures(results: Results, titles: dict[str, str], labels: dict[str, str]) -> list[str]:
    """Who failed where, and why."""
    lines = [
        f"- {title}, {labels[name]}: {cell.failure}"
        for title, row in ordered(results, titles)
        for name, cell in row.items()
        if cell.failure
    ]
    return ["## Failed", "", *lines, ""] if lines else []


def about_lines(about: dict[str, Any], shown: list[str], labels: dict[str, str]) -> list[str]:
    """The environment, the versions and the command lines."""
    lines = [
        "## Environment",
        "",
        f"- {about['date']}; {about['cpu']}, {about['cores']} cores; {about['kernel']}; {about['python']}",
        f"- {about['load']}, one thread",
        f"- {about['rounds']} rounds of {about['windows']} windows of {about['seconds']:g} s, interleaved",
        f"- {about['minutes']:.0f} minutes in all; at most {about['stolen']:.0%} of the machine went to other guests",
        "",
    ]
    rows = [[labels[name], about["versions"].get(name, ""), f"`{about['commands'][name]}`"] for name in shown]
    lines += ["| server | versions | started as |", "|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return [*lines, "", *(f"- not measured: {labels[name]}: {reason}" for name, reason in about["skipped"].items()), ""]


def as_json(
    about: dict[str, Any], results: Results, workloads: list[Any], baseline: str, others: Mapping[str, str] = NONE
) -> str:
    """The environment and every sample, for machines. A sample's ``cost`` is what its row is about."""
    rows = {
        workload.name: {
            "title": workload.title,
            "kind": workload.kind,
            "target": workload.target,
            "connections": workload.connections,
            "depth": workload.depth,
            "servers": {
                name: {
                    "failure": cell.failure,
                    "cost": cell.median("cost"),
                    "spread": cell.spread(),
                    "capacity": ratio(results[workload.name], name, others.get(workload.name, baseline)),
                    "samples": [{**asdict(sample), "cost": sample.cost} for sample in cell.samples],
                }
                for name, cell in results[workload.name].items()
            },
        }
        for workload in workloads
        if workload.name in results
    }
    return json.dumps({"environment": about, "rows": rows}, indent=1) + "\n"


def steal(results: Results) -> float:
    """The largest share of the machine that other guests of the host took in any window."""
    shares = [
        getattr(sample, "stolen", 0.0) for row in results.values() for cell in row.values() for sample in cell.samples
    ]
    return max(shares, default=0.0)
