from asgiserve._speedups.calls cimport call

cdef object CoroutineType, Task, _done, _exception
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

cpdef bint is_done(task) except -1
cpdef exception_of(task)
