cimport cython

cdef int COMPANY, PATIENCE
cdef double MAX_AGE

cdef class Deferred:
    cpdef release(self)

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
    cpdef add(self, Deferred output)
    @cython.locals(output=Deferred)
    cdef _release(self)
