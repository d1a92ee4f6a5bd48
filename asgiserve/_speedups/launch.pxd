cdef object CoroutineType, Task
cdef bint _HAS_EAGER_START
cdef bint _HAS_CONTEXT

cdef class Launcher:
    cdef readonly object context
    cdef object _loop
    cdef object _copy_context
    cdef bint _is_eager
    cdef dict _arguments

    cpdef refresh(self)
    cpdef launch(self, awaitable)
