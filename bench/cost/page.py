"""The figures of the page about the cost of a request, as Markdown."""

from __future__ import annotations

from typing import NamedTuple

from ..page import number, table
from .graph import OTHER
from .measure import KERNEL, SYSTEM_CALLS
from .parts import PARTS

OWN = "asgiserve"
BEGIN, END = "<!-- figures: python -m bench.cost -->", "<!-- end of figures -->"

#: What is said of a case of the instruction counter, and in how many pieces it is divided.
CASES = {
    "plaintext": ("plaintext", 1),
    "log-text": ("plaintext, access log on", 1),
    "log-json": ("plaintext, access log in JSON", 1),
    "metrics": ("plaintext, with `--metrics-bind`", 1),
    "pipelined": ("plaintext, one of 16 in one read", 1),
    "connect": ("plaintext, with a connection of its own", 1),
    "browser": ("20 header fields and a query, 1 KiB back", 1),
    "post-1k": ("POST of 1 KiB, sent back", 1),
    "stream": ("one of 100 messages of a stream, 1 KiB each", 100),
    "websocket": ("a WebSocket message of 64 B, sent back", 1),
}

MEMORY = {
    "idle": "an idle keep-alive connection",
    "held": "a request in flight, its connection included",
    "websocket": "an idle WebSocket",
}


class Figures(NamedTuple):
    """Everything that was measured.

    ``labels`` are those of the servers; ``cpu`` the microseconds of a plaintext request by server; ``calls`` its system
    calls; ``kernel`` the shares of asgiserve's time that are the kernel's; ``parts`` its instructions otherwise;
    ``cases`` the instructions of other requests, without sockets; ``memory`` KiB by kind and server.
    """

    labels: dict[str, str]
    cpu: dict[str, float]
    calls: dict[str, dict[str, float]]
    kernel: dict[str, float]
    parts: dict[str, float]
    cases: dict[str, float]
    memory: dict[str, dict[str, float]]
    where: str


def _ladder(figures: Figures) -> list[str]:
    base = figures.cpu[OWN]
    rows = []
    for name, cpu in figures.cpu.items():
        calls = figures.calls[name]
        shown = ", ".join(f"{call} {count:.2f}" for call, count in sorted(calls.items()) if count >= 0.01)
        rows.append([figures.labels[name], f"{cpu / base:.2f}", number(cpu, ".1f"), shown])
    return table(["plaintext, 64 connections", "CPU, asgiserve = 1", "µs", "system calls per request"], rows, words=1)


def _parts(figures: Figures) -> list[str]:
    kernel = figures.kernel
    names = {"write": "kernel: `write`", "read": "kernel: `read`", "epoll_pwait": "kernel: `epoll_pwait`"}
    words = {
        "write": "TCP, the loopback interface, and the other end's side of it up to its socket",
        "read": "copying the request, freeing its packet",
        "epoll_pwait": "looking which sockets are ready: many at once under load",
    }
    rows = [[names[call], f"{kernel[call]:.0%}", "", words[call]] for call in SYSTEM_CALLS]
    rest = max(0.0, kernel[KERNEL] - sum(kernel[call] for call in SYSTEM_CALLS))
    rows.append(["kernel: all else", f"{rest:.0%}", "", "entering and leaving, interrupts, page faults"])
    whole = sum(figures.parts.values())
    outside = 1 - kernel[KERNEL]
    for part, what in PARTS.items():
        count = figures.parts.get(part, 0.0)
        share = count / whole
        if part == OTHER and share < 0.005:
            continue
        rows.append([part, f"{share * outside:.0%}", f"{count:,.0f}", what])
    rows.append(["**together**", "100%", f"{whole:,.0f}", ""])
    return table(["part", "share of the CPU time", "instructions", "what it is"], rows, words=1)


def _cases(figures: Figures) -> list[str]:
    base = figures.cases["plaintext"]
    rows = []
    for name, (words, pieces) in CASES.items():
        count = figures.cases[name] / pieces
        rows.append([words, f"{count:,.0f}", f"{count / base:.2f}"])
    return table(["without sockets", "instructions", "plaintext = 1"], rows)


def _memory(figures: Figures) -> list[str]:
    servers = list(dict.fromkeys(name for by_server in figures.memory.values() for name in by_server))
    rows = [
        [words, *(number(figures.memory[kind].get(name), ".1f") for name in servers)] for kind, words in MEMORY.items()
    ]
    return table(["memory, KiB", *(figures.labels[name] for name in servers)], rows)


def render(figures: Figures) -> str:
    """All figures, between the marks at which they are put into the page."""
    lines = [BEGIN, "", "### From the kernel up", "", *_ladder(figures)]
    lines += ["### The parts of a request", "", *_parts(figures)]
    lines += ["### Other requests", "", *_cases(figures)]
    lines += ["### Memory", "", *_memory(figures), f"Measured with {figures.where}.", "", END]
    return "\n".join(lines)


def put(page: str, figures: str) -> str:
    """The page with new figures.

    :raises ValueError: the page has no place for them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} ... {END}")
    return before + figures + after
