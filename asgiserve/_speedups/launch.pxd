cdef bint _HAS_EAGER_START
cdef bint _HAS_CONTEXT

cdef class Launcher:
    cdef readonly object context
    cdef object _loop
    cdef dict _arguments

    cpdef launch(self, awaitable)
