"""TextBuffer: text that is put together piece by piece. The pure twin of `_speedups/textbuffer.pyx`.

What the pieces mean is others' business.
"""

import re

_is_plain = re.compile(r"[ !#-\[\]-~]*").fullmatch


class TextBuffer:
    """Collects text."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        """Add `text` as it is."""
        self._pieces.append(text)

    def add_before(self, text: str, mark: str) -> None:
        """Add what stands in `text` before the last `mark`; all of it if that is nothing. `mark` is in ASCII."""
        self._pieces.append(text.rpartition(mark)[0] or text)

    def add_number(self, number: int, width: int) -> None:
        """Add a number from 0 to 2^63-1 in decimal, with zeros before it up to `width` (at most 18) digits."""
        self._pieces.append(str(number).rjust(width, "0"))

    def add_decimal(self, number: float) -> None:
        """Add a number with six decimals, as %.6f does."""
        self._pieces.append(f"{number:.6f}")

    def add_json(self, text: str) -> None:
        """Add `text` as it stands between the quotes of a string in JSON, all in ASCII."""
        if self.add_plain(text):
            return
        from json.encoder import encode_basestring_ascii  # rarely needed, and a process that has it finds it at once

        self._pieces.append(encode_basestring_ascii(text)[1:-1])

    def add_plain(self, text: str) -> bool:
        """Add `text` if it is printable ASCII without a double quote or a backslash.

        Returns:
            whether it was added.
        """
        if _is_plain(text) is None:
            return False
        self._pieces.append(text)
        return True

    def take(self) -> str:
        """Return what was added, and forget it."""
        text = "".join(self._pieces)
        self._pieces.clear()
        return text
