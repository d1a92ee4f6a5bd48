"""Reading a call graph of callgrind, and charging every function's own cost to one of a few parts.

Callgrind says what a function costs by itself, and what it spends in each function that it calls. Some functions belong
to a part, by their name or their file: the parser, the event loop. What others cost, of the interpreter and the C
library for the most part, is charged to those that call them, in proportion to what they spend there, until it arrives
at functions that belong to a part.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Callable, Optional

#: The file that a function is in, and its name.
Function = tuple[str, str]
PartOf = Callable[[Function], Optional[str]]

OTHER = "other"
TURNS = 200

#: How lines with costs begin: with an absolute or a relative position, or the same one again.
_COSTS = tuple("0123456789+-*")
_NAMED = re.compile(r"\((\d+)\)(?: (.*))?$")


@dataclass
class Graph:
    """Own costs of functions, and what callers spend in them: ``spent[callee][caller]``."""

    own: dict[Function, int] = field(default_factory=lambda: defaultdict(int))
    spent: dict[Function, dict[Function, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))


class _Names:
    """Callgrind writes a name once, with a number, and then the number only."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        found = _NAMED.match(text)
        if found is None:
            return text
        number, name = found.groups()
        if name is not None:
            self.known[number] = name
        return self.known.get(number, number)


def read(lines: Iterable[str]) -> Graph:
    """Read the lines of a file that callgrind has written, with one event and one position."""
    graph = Graph()
    files, functions = _Names(), _Names()
    file = callee_file = ""
    here: Function = ("", "")
    callee: Optional[Function] = None
    is_call = False
    for line in lines:
        kind, separator, rest = line.rstrip("\n").partition("=")
        if separator and kind == "ob":
            file = files(rest)
        elif separator and kind == "fn":
            here = (file, functions(rest))
        elif separator and kind == "cob":
            callee_file = files(rest)
        elif separator and kind == "cfn":
            callee = (callee_file or file, functions(rest))
        elif separator and kind == "calls":
            is_call = True
        elif line.startswith(_COSTS):
            cost = int(line.split()[1])
            if is_call and callee is not None:
                graph.spent[callee][here] += cost
            else:
                graph.own[here] += cost
            callee_file, callee, is_call = "", None, False
    return graph


def charge(graph: Graph, part_of: PartOf) -> dict[str, float]:
    """The cost of every part; what arrives nowhere is :data:`OTHER`."""
    shares: dict[Function, dict[str, float]] = {}
    functions = {*graph.own, *graph.spent}
    parts = {function: part_of(function) for function in functions}
    for function in functions:
        part = parts[function]
        shares[function] = {} if part is None else {part: 1.0}
    loose = [function for function in functions if parts[function] is None]
    # Functions that call each other in a circle get their shares from outside of it, turn by turn.
    for _ in range(TURNS):
        changed = 0.0
        for function in loose:
            share = _from_callers(graph, function, shares)
            changed = max(changed, abs(sum(share.values()) - sum(shares[function].values())))
            shares[function] = share
        if changed < 1e-9:
            break
    charged: dict[str, float] = defaultdict(float)
    for function, cost in graph.own.items():
        found = shares[function]
        for part, of_it in found.items():
            charged[part] += cost * of_it
        charged[OTHER] += cost * (1 - sum(found.values()))
    return dict(charged)


def _from_callers(graph: Graph, function: Function, shares: dict[Function, dict[str, float]]) -> dict[str, float]:
    callers = {caller: spent for caller, spent in graph.spent.get(function, {}).items() if caller != function}
    whole = sum(callers.values())
    share: dict[str, float] = defaultdict(float)
    for caller, spent in callers.items():
        for part, of_it in shares.get(caller, {}).items():
            share[part] += of_it * spent / whole if whole else 0.0
    return dict(share)
