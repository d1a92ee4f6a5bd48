from asgiserve._speedups.state cimport ServerState

cdef double INTERVAL

cdef class Throttle:
    cdef readonly long long rate
    cdef ServerState _state
    cdef object _transport
    cdef object _protocol
    cdef double _credit
    cdef double _counted
    cdef object _pieces
    cdef Py_ssize_t _size
    cdef object _timer
    cdef bint _is_awaited
    cdef bint _is_blocked
    cdef bint _has_paused
    cdef bint _is_closing
    cdef bint _is_end_due

    cpdef bint is_holding(self) except -1
    cpdef long long take(self, long long size) except -1
    cpdef give_back(self, long long size)
    cdef long long _count(self) except -1
    cdef _wait(self)
    cdef _release(self)
    cdef _pass_on(self, long long credit)
    cdef _tell(self)
    cdef _end(self)
    cdef _drop(self)
    cpdef close(self)
    cpdef write(self, data)
