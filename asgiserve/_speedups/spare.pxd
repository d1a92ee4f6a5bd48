cimport cython

@cython.final
cdef class Spare:
    cdef readonly object kept

    cpdef keep(self, item)
    cpdef bint is_free(self, int others) noexcept
