"""The file with the counts that are taken for granted, and the comparison with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from .environment import Environment

FILE = "bench/instructions.json"
#: The growth of a count above which the check fails.
LIMIT = 0.05

Counts = dict[str, float]


class Baseline(NamedTuple):
    """What the file holds: instructions per request by case, and where they were counted."""

    environment: Environment
    counts: Counts


class Line(NamedTuple):
    """One case of a comparison. Either count can be missing."""

    case: str
    before: float | None
    now: float | None

    @property
    def growth(self) -> float | None:
        """By what share it grew."""
        return None if self.before is None or self.now is None else self.now / self.before - 1

    @property
    def is_failure(self) -> bool:
        """Whether it grew too much, or cannot be judged: a new case has to be put into the file."""
        return self.growth is None or self.growth > LIMIT


def parse(text: str) -> Baseline:
    """Read the text of the file.

    :raises ValueError: it is not what :func:`render` makes.
    """
    found: Any = json.loads(text)
    try:
        return Baseline(dict(found["environment"]), {name: float(n) for name, n in found["instructions"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{FILE}: not a file of counts: {error!r}") from error


def render(baseline: Baseline) -> str:
    """The text of the file."""
    counts = {name: round(count) for name, count in baseline.counts.items()}
    return json.dumps({"environment": baseline.environment, "instructions": counts}, indent=1) + "\n"


def load(root: Path) -> Baseline:
    """Read the file of a checkout.

    :raises OSError: it is not there.
    :raises ValueError: it is not a file of counts.
    """
    return parse((root / FILE).read_text())


def compare(before: Counts, now: Counts) -> list[Line]:
    """All cases of both, in the order of the newer one."""
    return [Line(case, before.get(case), now.get(case)) for case in dict.fromkeys([*now, *before])]


def expected(counted: Counts, filed_then: Counts, filed_now: Counts) -> Counts:
    """What an older state of the code would cost if it had grown as the file says.

    :param counted: its counts in this environment.
    :param filed_then: the counts in its file.
    :param filed_now: those in today's file.
    """
    return {
        case: count * (filed_now[case] / filed_then[case] if case in filed_then and case in filed_now else 1.0)
        for case, count in counted.items()
    }
