"""How the servers are drawn in the picture."""

from __future__ import annotations

from typing import Optional

from .. import chart
from ..rounds import Results
from .report import LABELS, TITLES
from .servers import BASELINE

HEADING = "Server CPU per request, uvicorn with httptools = 1, further left is better"

MARKS = [
    chart.Mark(name, LABELS[name], shape, color)
    for name, shape, color in (
        ("bare", chart.bar, chart.CEILING_COLOR),
        ("hypercorn", chart.triangle, "#b07cd8"),
        ("uvicorn-h11", chart.diamond, chart.BASELINE_COLOR),
        ("granian", chart.square, "#e0605a"),
        (BASELINE, chart.bar, chart.BASELINE_COLOR),
        ("asgiserve-pure", chart.ring, chart.OWN_COLOR),
        (chart.OWN, chart.circle, chart.OWN_COLOR),
    )
]


def svg(results: Results) -> Optional[str]:
    """Draw the results; None when there is nothing to compare with the baseline."""
    table = chart.costs(results, TITLES, MARKS, BASELINE)
    return chart.svg("CPU per request relative to uvicorn", HEADING, table, MARKS)
