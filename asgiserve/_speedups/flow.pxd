cdef object CancelledError, _DONE, current_task

cdef class _NoLoop:
    pass

cdef class Waiter:
    cdef readonly bint is_done
    cdef public bint _asyncio_future_blocking
    cdef object _loop
    cdef object _callback
    cdef object _context
    cdef bint _is_cancelled
    cdef object _message

    cpdef wake(self)
    cpdef wake_now(self)

cdef class Waiters:
    cdef object _loop
    cdef list _waiters

    cpdef add(self)
    cpdef bint wake(self) except -1
    cpdef bint wake_now(self) except -1

cdef class Step:
    cpdef send(self, value)

cdef class Ready(Step):
    pass

