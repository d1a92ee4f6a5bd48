"""How many random inputs the tests try, and which: ASGISERVE_FUZZ=100000 runs that many new ones of each kind, and
ASGISERVE_FUZZ_SEED repeats a run. Without them it is a small, repeatable selection."""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, settings

FUZZ = int(os.environ.get("ASGISERVE_FUZZ", "0"))
EXAMPLES = settings(
    max_examples=FUZZ or 250,
    derandomize=not FUZZ,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


def choose_seed(usual: int) -> int:
    """The seed of a module's random inputs: its usual one, unless the environment asks for others."""
    wanted = int(os.environ.get("ASGISERVE_FUZZ_SEED", "0"))
    return wanted or (random.SystemRandom().getrandbits(32) if FUZZ else usual)
