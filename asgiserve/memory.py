"""What the server asks of the memory allocator."""

from __future__ import annotations

#: More than is read or joined in one go, in bytes.
BLOCK = 1024 * 1024


def keep_freed_blocks() -> None:
    """Has the memory of what was read kept for what is read next, in place of being given back to the system.

    An upload comes in blocks of 256 KiB. The malloc() of glibc maps blocks of 128 KiB and more one by one, and cuts the
    free end off its heap at the same size: the kernel then has to find and clear 64 pages for each block that is read,
    which is more work than all the rest. It moves both bounds by itself, once it has seen a larger block come and go,
    and no further than the size of that block. Where memory comes from elsewhere, this does nothing.
    """
    bytes(BLOCK)  # its pages are never touched
