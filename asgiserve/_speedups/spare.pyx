"""Spare: the last object of a kind, to be used again. The compiled twin of `_core/spare.py`.

A twin because only here an object's references are counted, so that it is known when nobody has it any more. To make
and to free what nearly every request needs just like the one before it would be a tenth of a small request.
"""

cimport cython

@cython.final
cdef class Spare:
    """Keeps an object.

    Attributes:
        kept: the object, or None.
    """

    cpdef keep(self, item):
        """Keep `item` in place of an earlier one."""
        self.kept = item

    cpdef bint is_free(self, int others) noexcept:
        """Whether just `others` more references to the kept object exist; those to other spares are known."""
        return self.kept is not None and count_references(<void *>self.kept) == 1 + others
