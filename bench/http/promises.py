"""What asgiserve promises besides capacities, and where others are ahead of it."""

from __future__ import annotations

from typing import Optional

from ..chart import OWN
from ..rounds import Cell, Results, ratio
from ..servers import Server
from .servers import BASELINE, SERVERS
from .tables import log_share
from .workloads import WORKLOADS

CEILING = "bare"
#: The most CPU of a plaintext request relative to the ceiling's, and what the access log may add.
CEILING_LIMIT, LOG_LIMIT = 1.8, 0.15
#: What must not be above the baseline's: words, row and attribute of its samples.
NOT_ABOVE = (
    ("99th percentile at 10,000 requests per second", "latency", "p99"),
    ("memory per idle connection", "idle", "cost"),
    ("memory at start", "start", "memory"),
    ("start to first response", "start", "start"),
)
CANNED = {server.name for server in SERVERS if server.canned}
#: Others are ahead where they are cheaper by more than this.
NOTICEABLE = 0.03


def _median(results: Results, row: str, name: str, attribute: str = "cost") -> Optional[float]:
    return results.get(row, {}).get(name, Cell()).median(attribute)


def _line(words: str, value: float, limit: float, form: str) -> str:
    return f"- {words}: {value:{form}}, {'met' if value <= limit else '**missed**'}"


def promise_lines(results: Results) -> list[str]:
    """Every promise that was measured."""
    lines = []
    over_ceiling = ratio(results.get("plaintext", {}), CEILING, OWN)
    if over_ceiling:
        words = f"CPU of a plaintext request at most {CEILING_LIMIT:g} of that of the bare uvloop protocol"
        lines.append(_line(words, over_ceiling, CEILING_LIMIT, ".2f"))
    share = log_share(results, OWN)
    if share is not None:
        lines.append(_line(f"the access log adds at most {LOG_LIMIT:.0%} to it", share, LOG_LIMIT, ".0%"))
    for words, row, attribute in NOT_ABOVE:
        value, base = _median(results, row, OWN, attribute), _median(results, row, BASELINE, attribute)
        if value and base:
            lines.append(_line(f"{words} not above uvicorn's", value / base, 1.0, ".2f"))
    for server in SERVERS:
        if server.rival is not None:
            lines += _rival_line(results, server, server.rival)
    return ["Promises:", "", *lines, ""] if lines else []


def _rival_line(results: Results, server: Server, rival: str) -> list[str]:
    """The row under full load in which a server does worst against its rival."""
    ratios = {
        row.title: found
        for row in WORKLOADS
        for found in [ratio(results.get(row.name, {}), server.name, rival)]
        if row.kind == "flat" and found
    }
    if not ratios:
        return []
    worst = min(ratios, key=lambda title: ratios[title])
    kept = "met" if ratios[worst] > 1 else "**missed**"
    words = f"{server.label} ahead of uvicorn's h11 on the same interpreter and loop in every row"
    return [f"- {words}: at least {ratios[worst]:.2f} ({worst}), {kept}"]


def ahead_lines(results: Results, labels: dict[str, str], figures: list[tuple[str, str, str]]) -> list[str]:
    """Where another server costs less.

    :param figures: words, row and attribute of its samples, of which less is better.
    """
    lines = []
    for words, name, attribute in figures:
        own = _median(results, name, OWN, attribute)
        ratios = {
            other: value / own
            for other in results.get(name, {})
            for value in [_median(results, name, other, attribute)]
            if own and value and other not in CANNED and not other.startswith(OWN) and value < own * (1 - NOTICEABLE)
        }
        if ratios:
            texts = [f"{labels[other]} {ratios[other]:.2f}" for other in sorted(ratios, key=lambda key: ratios[key])]
            lines.append(f"- {words}: {', '.join(texts)}")
    if not any(OWN in row for row in results.values()):
        return []
    head = "Where others need less than asgiserve, and how much of what it needs:" if lines else ""
    return [head, "", *lines, ""] if lines else ["No other server needs less than asgiserve in any row.", ""]
