"""Spare: the last object of a kind, to be used again. The pure twin of `_speedups/spare.pyx`, which says why."""

from typing import Any


class Spare:
    """Keeps an object. Here it does not: only reference counts tell when an object is free.

    Attributes:
        kept: the object, or None.
    """

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept: Any = None

    def keep(self, item: Any) -> None:
        """Keep `item` in place of an earlier one."""

    def is_free(self, others: int) -> bool:
        """Whether just `others` more references to the kept object exist; those to other spares are known."""
        return False
