"""Figures: responses by status class, and how long requests take.

They are counted only where somebody reads them: `ServerState.figures` is None otherwise.
"""

from .._consts import LATENCY_BUCKETS

_BOUNDS = list(LATENCY_BUCKETS)


class Figures:
    """The counters of one worker; they only grow.

    Attributes:
        responses: final responses by the first digit of their status, 1xx to 5xx; above 599 they count as 5xx.
            1xx is 101 (Switching Protocols) alone: a WebSocket was accepted.
        latency: requests by their duration, one item for each of `LATENCY_BUCKETS` and one for those above.
        latency_sum: those durations together, in seconds.
    """

    __slots__ = ("latency", "latency_sum", "responses")

    def __init__(self) -> None:
        self.responses: list[int] = [0] * 5
        self.latency: list[int] = [0] * (len(_BOUNDS) + 1)
        self.latency_sum: float = 0.0

    def count_response(self, status: int) -> None:
        """Count a response that no application took time for, or a WebSocket's handshake."""
        index = status // 100 - 1
        self.responses[index if index < 5 else 4] += 1

    def count_request(self, status: int, duration: float) -> None:
        """Count the response to a request that the application was run for; `duration` is in seconds."""
        self.count_response(status)
        bucket = 0
        for bound in _BOUNDS:
            if duration <= bound:
                break
            bucket += 1
        self.latency[bucket] += 1
        self.latency_sum += duration
