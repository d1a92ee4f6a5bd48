"""How many connections each worker has, for the others to see, so that those with fewer accept first.

Whoever wakes up first gets a connection that waits at a shared socket, and that is often the same one again: some
workers would have several times the connections of others, and keep them.
"""

from __future__ import annotations

from multiprocessing.context import SpawnContext
from typing import Any, Optional

SIZE = 256
"""How many workers there can be at a time that know of each other."""

_NOBODY = -1


class Seat:
    """The place of one worker on the board, which is handed to its process when that is started. ``index`` (int)."""

    def __init__(self, counts: Any, index: int) -> None:
        self._counts = counts  # the number of places in use, then one count for each
        self.index = index

    def is_ahead(self, count: int) -> bool:
        """Whether a worker with `count` connections has clearly more than another one; tells the others of it."""
        counts = self._counts
        counts[self.index] = count
        # One worker is always there: this one.
        least: int = min([other for other in counts[1 : counts[0] + 1] if other >= 0])
        return count > least + 1 + (least >> 3)

    def leave(self) -> None:
        """This worker does not accept, and counts no more."""
        self._counts[self.index] = _NOBODY


class Board:
    """The counts of all workers, in memory that they share. Raises OSError where there is no such memory."""

    def __init__(self, context: SpawnContext) -> None:
        self._counts: Any = context.RawArray("i", [0] + [_NOBODY] * SIZE)
        self._free = list(range(SIZE, 0, -1))

    def take(self) -> Optional[Seat]:
        """A place; None when all are taken."""
        if not self._free:
            return None
        index = min(self._free)
        self._free.remove(index)
        self._counts[0] = max(self._counts[0], index)
        return Seat(self._counts, index)

    def give_back(self, seat: Seat) -> None:
        """A worker has ended."""
        seat.leave()
        self._free.append(seat.index)
