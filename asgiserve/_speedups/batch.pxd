cimport cython

cdef int COMPANY, PATIENCE
cdef double MAX_AGE

cdef class Batch:
    cdef object _loop
    cdef object _context
    cdef object _clock
    cdef list _outputs
    cdef bint _is_due
    cdef double _opened
    cdef int _patience

    cpdef bint wants(self) noexcept
    @cython.locals(now=double)
    cpdef add(self, output)
    cdef _release(self)
