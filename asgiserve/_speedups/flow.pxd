cimport cython

from asgiserve._speedups.calls cimport call_in

cdef object Task, _DONE

cdef class _NoLoop:
    pass

@cython.final
cdef class Waiters:
    cdef object _loop
    cdef object _first
    cdef bint _is_waiting
    cdef list _others
    cdef object _callback
    cdef object _context

    cpdef add(self)
    @cython.locals(others=list, woken=cython.bint)
    cpdef bint wake(self) except -1
    cdef bint _wake(self, future) except -1
    @cython.locals(others=list, woken=cython.bint)
    cpdef bint wake_now(self) except -1
    cdef bint _wake_now(self, future) except -1
    cdef bint _learn(self, future) except -1
    cpdef forget(self)

cdef class Step:
    cpdef send(self, value)

cdef class Ready(Step):
    pass

