"""The picture: CPU per request relative to uvicorn, one line per row, one mark per server, as SVG.

Written by hand because it needs no more than a few shapes and text. The colours are middle tones that stand out from
white and from dark pages alike, and every server has a shape of its own besides its colour.
"""

from __future__ import annotations

import math
from typing import Callable, Optional
from xml.sax.saxutils import escape

from .measure import Results
from .report import LABELS, capacity
from .servers import BASELINE
from .workloads import WORKLOADS

LEFT, TOP, ROW, WIDTH, RIGHT = 300, 86, 30, 480, 80
TEXT = "#808890"
GRID = 'stroke="#808890" stroke-opacity="0.4"'
HEADING = "Server CPU per request, uvicorn with httptools = 1, further left is better"
TICKS = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16)


def _circle(x: float, y: float, color: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{color}"/>'


def _ring(x: float, y: float, color: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="{color}" stroke-width="2.5"/>'


def _square(x: float, y: float, color: str) -> str:
    return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" fill="{color}"/>'


def _diamond(x: float, y: float, color: str) -> str:
    return f'<path d="M{x:.1f} {y - 6.5:.1f}l6.5 6.5l-6.5 6.5l-6.5 -6.5z" fill="{color}"/>'


def _triangle(x: float, y: float, color: str) -> str:
    return f'<path d="M{x:.1f} {y - 6:.1f}l6.5 11h-13z" fill="{color}"/>'


def _bar(x: float, y: float, color: str) -> str:
    return f'<rect x="{x - 1.5:.1f}" y="{y - 8:.1f}" width="3" height="16" fill="{color}"/>'


OWN = "asgiserve"
MARKS: dict[str, tuple[Callable[[float, float, str], str], str]] = {
    "bare": (_bar, "#808890"),
    "hypercorn": (_triangle, "#b07cd8"),
    "uvicorn-h11": (_diamond, "#d99a1c"),
    "granian": (_square, "#e0605a"),
    BASELINE: (_bar, "#d99a1c"),
    "asgiserve-pure": (_ring, "#2f9e6e"),
    OWN: (_circle, "#2f9e6e"),
}


def _span(values: list[float]) -> tuple[float, float]:
    """The ends of the axis: ticks around all values and 1; what lies beyond the last ticks is not drawn."""
    low = max((tick for tick in TICKS if tick <= min([*values, 0.5])), default=TICKS[0])
    high = min((tick for tick in TICKS if tick >= max([*values, 2])), default=TICKS[-1])
    return low, high


def _text(x: float, y: float, words: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(words)}</text>'


def _legend(names: list[str]) -> list[str]:
    parts = []
    x = 16.0
    for name in reversed(names):
        mark, color = MARKS[name]
        parts += [mark(x, 40, color), _text(x + 12, 45, LABELS[name])]
        x += 34 + 7.2 * len(LABELS[name])
    return parts


def svg(results: Results) -> Optional[str]:
    """Draw the results; None when there is nothing to compare with the baseline."""
    table: list[tuple[str, dict[str, float]]] = []
    for workload in WORKLOADS:
        cells = results.get(workload.name, {})
        found = {name: 1 / ratio for name in MARKS for ratio in [capacity(cells, name)] if ratio}
        if len(found) > 1:
            table.append((workload.title, found))
    if not table:
        return None
    low, high = _span([value for _, row in table for value in row.values()])
    bottom = TOP + ROW * len(table)
    names = [name for name in MARKS if any(name in row for _, row in table)]

    def place(value: float) -> float:
        return LEFT + WIDTH * math.log(value / low) / math.log(high / low)

    width = max(LEFT + WIDTH + RIGHT, 16 + sum(34 + 7.2 * len(LABELS[name]) for name in names))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {bottom + 16}" width="{width:.0f}" '
        f'font-family="system-ui, sans-serif" font-size="14" fill="{TEXT}" role="img">',
        "<title>CPU per request relative to uvicorn</title>",
        _text(8, 20, HEADING, extra='font-size="16"'),
        *_legend(names),
    ]
    for tick in (tick for tick in TICKS if low <= tick <= high):
        x = place(tick)
        parts.append(f'<path d="M{x:.1f} {TOP - 8}V{bottom}" {GRID}/>')
        parts.append(_text(x, TOP - 14, f"{tick:g}", "middle"))
    for number, (title, row) in enumerate(table):
        y = TOP + ROW * (number + 0.5)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{LEFT + WIDTH}" {GRID}/>')
        parts.append(_text(LEFT - 16, y + 5, title, "end"))
        shown = [name for name in MARKS if name in row and low <= row[name] <= high]
        parts += [MARKS[name][0](place(row[name]), y, MARKS[name][1]) for name in shown]
        if OWN in row:
            bold = f'font-weight="bold" style="fill:{MARKS[OWN][1]}"'
            parts.append(_text(LEFT + WIDTH + RIGHT - 16, y + 5, f"{row[OWN]:.2f}", "end", bold))
    return "\n".join([*parts, "</svg>", ""])
