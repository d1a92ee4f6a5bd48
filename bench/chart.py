"""The picture: one line per row, one mark per server on a logarithmic axis around 1, as SVG.

Written by hand because it needs no more than a few shapes and text. The colours are middle tones that stand out from
white and from dark pages alike, and every server has a shape of its own besides its colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional
from xml.sax.saxutils import escape

from .page import NONE
from .rounds import Cell, Results, Row, ratio

Table = list[tuple[str, dict[str, float]]]

LEFT, ROW, WIDTH, RIGHT = 300, 30, 480, 80
TEXT = "#808890"
GRID = 'stroke="#808890" stroke-opacity="0.4"'
TICKS = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16)


def circle(x: float, y: float, color: str) -> str:
    """A shape around a point."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{color}"/>'


def ring(x: float, y: float, color: str) -> str:
    """A shape around a point."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="{color}" stroke-width="2.5"/>'


def square(x: float, y: float, color: str) -> str:
    """A shape around a point."""
    return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" fill="{color}"/>'


def diamond(x: float, y: float, color: str) -> str:
    """A shape around a point."""
    return f'<path d="M{x:.1f} {y - 6.5:.1f}l6.5 6.5l-6.5 6.5l-6.5 -6.5z" fill="{color}"/>'


def triangle(x: float, y: float, color: str) -> str:
    """A shape around a point."""
    return f'<path d="M{x:.1f} {y - 6:.1f}l6.5 11h-13z" fill="{color}"/>'


def wedge(x: float, y: float, color: str) -> str:
    """A shape around a point."""
    return f'<path d="M{x:.1f} {y + 6:.1f}l6.5 -11h-13z" fill="{color}"/>'


def cross(x: float, y: float, color: str) -> str:
    """A shape around a point."""
    return f'<path d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10" fill="none" stroke="{color}" stroke-width="3"/>'


def bar(x: float, y: float, color: str) -> str:
    """A shape around a point."""
    return f'<rect x="{x - 1.5:.1f}" y="{y - 8:.1f}" width="3" height="16" fill="{color}"/>'


OWN = "asgiserve"
OWN_COLOR = "#2f9e6e"
BASELINE_COLOR = "#d99a1c"
CEILING_COLOR = "#808890"


@dataclass(frozen=True)
class Mark:
    """How one server is drawn."""

    name: str
    label: str
    shape: Callable[[float, float, str], str]
    color: str


def costs(
    results: Results, titles: dict[str, str], marks: list[Mark], baseline: str, others: Mapping[str, str] = NONE
) -> Table:
    """The CPU per piece of work of the marked servers relative to one of them, row by row.

    :param others: the baselines of rows that have one of their own.
    """
    table: Table = []
    for name, title in titles.items():
        row, base = results.get(name, {}), others.get(name, baseline)
        found = {mark.name: 1 / times for mark in marks for times in [ratio(row, mark.name, base)] if times}
        if len(found) > 1:
            table.append((title, found))
    return table


def medians(row: Row, attribute: str, marks: list[Mark], baseline: str) -> dict[str, float]:
    """The median of a sample attribute of the marked servers relative to one of them; empty without that."""
    base = row.get(baseline, Cell()).median(attribute)
    if not base:
        return {}
    values = {mark.name: row.get(mark.name, Cell()).median(attribute) for mark in marks}
    return {name: value / base for name, value in values.items() if value}


def _span(values: list[float]) -> tuple[float, float]:
    """The ends of the axis: ticks around all values and 1; what lies beyond the last ticks is not drawn."""
    low = max((tick for tick in TICKS if tick <= min([*values, 0.5])), default=TICKS[0])
    high = min((tick for tick in TICKS if tick >= max([*values, 2])), default=TICKS[-1])
    return low, high


def _text(x: float, y: float, words: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(words)}</text>'


def _legend(marks: list[Mark]) -> tuple[list[str], float]:
    """The marks with their labels, in as many lines as they need.

    :return: the parts, and where the next line would be.
    """
    parts: list[str] = []
    x, y = 16.0, 40.0
    for mark in reversed(marks):
        size = 34 + 7.2 * len(mark.label)
        if x + size > LEFT + WIDTH + RIGHT:
            x, y = 16.0, y + 22
        parts += [mark.shape(x, y, mark.color), _text(x + 12, y + 5, mark.label)]
        x += size
    return parts, y + 22


def svg(title: str, heading: str, table: Table, marks: list[Mark]) -> Optional[str]:
    """Draw the table, later marks above earlier ones; None when it is empty."""
    if not table:
        return None
    low, high = _span([value for _, row in table for value in row.values()])
    marks = [mark for mark in marks if any(mark.name in row for _, row in table)]
    legend, below = _legend(marks)
    top = below + 24
    bottom = top + ROW * len(table)

    def place(value: float) -> float:
        return LEFT + WIDTH * math.log(value / low) / math.log(high / low)

    width = LEFT + WIDTH + RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 16:.0f}" width="{width}" '
        f'font-family="system-ui, sans-serif" font-size="14" fill="{TEXT}" role="img">',
        f"<title>{escape(title)}</title>",
        _text(8, 20, heading, extra='font-size="16"'),
        *legend,
    ]
    for tick in (tick for tick in TICKS if low <= tick <= high):
        x = place(tick)
        parts.append(f'<path d="M{x:.1f} {top - 8:.0f}V{bottom:.0f}" {GRID}/>')
        parts.append(_text(x, top - 14, f"{tick:g}", "middle"))
    for number, (words, row) in enumerate(table):
        y = top + ROW * (number + 0.5)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{LEFT + WIDTH}" {GRID}/>')
        parts.append(_text(LEFT - 16, y + 5, words, "end"))
        shown = [mark for mark in marks if mark.name in row and low <= row[mark.name] <= high]
        parts += [mark.shape(place(row[mark.name]), y, mark.color) for mark in shown]
        if OWN in row:
            bold = f'font-weight="bold" style="fill:{OWN_COLOR}"'
            parts.append(_text(LEFT + WIDTH + RIGHT - 16, y + 5, f"{row[OWN]:.2f}", "end", bold))
    return "\n".join([*parts, "</svg>", ""])
