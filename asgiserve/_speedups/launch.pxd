cdef bint _HAS_EAGER_START
cdef bint _HAS_CONTEXT

cpdef launch(awaitable, loop, context)
