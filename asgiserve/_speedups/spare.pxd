cimport cython

cdef extern from *:
    """
    /* Without the GIL, another thread may be about to take one. */
    #ifdef Py_GIL_DISABLED
    #define count_references(item) ((Py_ssize_t)-1)
    #else
    #define count_references(item) Py_REFCNT(item)
    #endif
    """
    Py_ssize_t count_references(void *item) noexcept

@cython.final
cdef class Spare:
    cdef readonly object kept

    cpdef keep(self, item)
    cpdef bint is_free(self, int others) noexcept
