"""Budget: what a client of an HTTP/2 connection may do at no cost of its own before the connection ends.

Resets, pings, settings and the like cost the client next to nothing and the server something each time (CVE-2019-9512
and its siblings, CVE-2023-44487). Each has a price; what is spent comes back with time, so that only a flood runs out.
"""

from .._consts import ENHANCE_YOUR_CALM
from ..errors import ConnectionFault

#: What can be spent at once.
BUDGET = 1000
#: What comes back in a second.
REFILL = 100

#: A stream that the client resets, or that is reset because it is malformed or one too many. A proxy resets one for
#: each of its clients that leaves.
PRICE_RESET = 2
#: SETTINGS.
PRICE_SETTINGS = 10
#: Bytes of them that cost 1 more.
SETTINGS_SIZE = 600
#: PING, PRIORITY, DATA without anything in it, frames of unknown types, and those for streams that have ended.
PRICE_FRAME = 1

#: WINDOW_UPDATE frames that nothing we sent explains.
MAX_WINDOW_UPDATES = 1000
#: Those that one frame of ours, or a new stream, explains.
EXPLAINED_UPDATES = 2
#: Bytes of ours that explain another one: there are clients that give window for each 4 KiB, twice.
UPDATE_SIZE = 1024
#: The most that are explained and have yet to come: what is on its way is answered later.
MAX_EXPLAINED_UPDATES = 32 * 1024


class Budget:
    """The budget of one connection."""

    __slots__ = ("_spent", "_counted", "_updates")

    def __init__(self, now: float) -> None:
        self._spent: float = 0.0
        self._counted: float = now  # when that was, in the event loop's time
        self._updates: int = 0

    def spend(self, price: int, now: float, what: str) -> None:
        """Take a price; `what` names in the plural what it is for, `now` is in seconds.

        Raises:
            ConnectionFault: that was too much.
        """
        self._spent = max(0.0, self._spent - (now - self._counted) * REFILL) + price
        self._counted = now
        if self._spent > BUDGET:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many " + what)

    def count_update(self) -> None:
        """Count a WINDOW_UPDATE.

        Raises:
            ConnectionFault: it is one too many.
        """
        self._updates += 1
        if self._updates > MAX_WINDOW_UPDATES:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many window updates")

    def explain_updates(self, size: int) -> None:
        """`size` bytes were sent, or a stream was opened, to which the client may answer with window updates."""
        self._updates = max(-MAX_EXPLAINED_UPDATES, self._updates - EXPLAINED_UPDATES - size // UPDATE_SIZE)
