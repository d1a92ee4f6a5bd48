"""The tables of the report that are about something else than CPU under full load."""

from __future__ import annotations

from typing import Optional

from ..page import FAILED, columns, number, table
from ..rounds import Cell, Results, Row, ratio
from ..servers import Server

# A server that answered a smaller share of what was due did not keep up.
KEPT_UP = 0.99

LATENCY_NOTE = """\
Requests fall due at a constant rate on 64 connections in turn, whatever the server does, and the latency of each counts
from when it was due to the last byte of its response: what waits because an earlier answer is late is late too
(coordinated omission is accounted for). The load generator asks epoll again and again, so its own part is the loopback
interface and a few microseconds; where it was not given its core, everybody looks late, and the last line says by how
much.
"""

MEMORY_NOTE = """\
Memory of {count:,} connections is what they added to the server's, without what the kernel keeps for sockets: idle ones
have had one request answered; of those in flight the response has begun, and the application waits. Private pages
count, and shared ones by their share, over all processes of the server.
"""


def log_lines(results: Results, shown: list[str], labels: dict[str, str]) -> list[str]:
    """What the access log costs."""
    shares = [(name, log_share(results, name)) for name in shown]
    costs = [f"{labels[name]} {share * 100:+.0f} %" for name, share in shares if share is not None]
    return [f"The access log adds to the CPU of a plaintext request: {', '.join(costs)}.", ""] if costs else []


def log_share(results: Results, name: str) -> Optional[float]:
    """By what share a server's plaintext request costs more with the access log on."""
    cells = {"off": results.get("plaintext", {}).get(name, Cell()), "on": results.get("logged", {}).get(name, Cell())}
    share = ratio(cells, "off", "on")
    return None if share is None else share - 1


def _line(title: str, row: Row, shown: list[str], attribute: str, scale: float, form: str) -> list[str]:
    cells = [row.get(name, Cell()) for name in shown]
    values = [cell.median(attribute) for cell in cells]
    texts = [number(None if value is None else value * scale, form) for value in values]
    return [title, *(FAILED if cell.failure else text for cell, text in zip(cells, texts))]


def latency_table(results: Results, servers: list[Server], labels: dict[str, str]) -> list[str]:
    """Latency percentiles at a fixed rate."""
    row = results.get("latency")
    if row is None:
        return []
    shown = columns({"latency": row}, servers)
    lines = [
        _line(title, row, shown, name, scale, form)
        for title, name, scale, form in (
            ("median, ms", "p50", 1e-3, ".3f"),
            ("99th percentile, ms", "p99", 1e-3, ".3f"),
            ("99.9th percentile, ms", "p999", 1e-3, ".3f"),
            ("highest, ms", "highest", 1e-3, ".2f"),
            ("answered per second", "rate", 1, ",.0f"),
            ("CPU µs per request", "cost", 1, ".1f"),
            ("share of the core, %", "busy", 100, ".0f"),
            ("load generator stood still for at most, ms", "stall", 1e-3, ".2f"),
        )
    ]
    slow = [name for name in shown if not _kept_up(row.get(name, Cell()))]
    notes = [f"Did not keep up: {', '.join(labels[name] for name in slow)}; their latencies are those of a queue.", ""]
    return [
        "## Latency at 10,000 requests per second",
        "",
        LATENCY_NOTE,
        *table(["", *(labels[name] for name in shown)], lines),
        *(notes if slow else []),
    ]


def _kept_up(cell: Cell) -> bool:
    return all(sample.in_time >= KEPT_UP * sample.due for sample in cell.samples)


def memory_table(results: Results, servers: list[Server], labels: dict[str, str]) -> list[str]:
    """Memory of connections and requests; starting."""
    wanted: Results = {name: results[name] for name in ("idle", "held", "start") if name in results}
    if not wanted:
        return []
    shown = columns(wanted, servers)
    lines = [
        _line(title, wanted[row], shown, name, scale, form)
        for title, row, name, scale, form in (
            ("memory per idle connection, KiB", "idle", "cost", 1, ".1f"),
            ("memory per request in flight, KiB", "held", "cost", 1, ".1f"),
            ("memory at start, MiB", "start", "memory", 1 / (1 << 20), ".1f"),
            ("start to first response, ms", "start", "start", 1e3, ".0f"),
        )
        if row in wanted
    ]
    return [
        "## Memory and start",
        "",
        MEMORY_NOTE.format(count=_connections(wanted)),
        *table(["", *(labels[name] for name in shown)], lines),
    ]


def _connections(wanted: Results) -> int:
    """How many silent connections there were."""
    rows = [wanted[name] for name in ("idle", "held") if name in wanted]
    return max((sample.connections for row in rows for cell in row.values() for sample in cell.samples), default=0)
