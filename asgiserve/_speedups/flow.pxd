cimport cython

cdef object CancelledError, _DONE, current_task

cdef class _NoLoop:
    pass

@cython.final
cdef class Waiter:
    cdef readonly bint is_done
    cdef public bint _asyncio_future_blocking
    cdef object _loop
    cdef object _callback
    cdef object _context
    cdef bint _is_cancelled
    cdef object _message

    cdef bint is_waited_on(self) noexcept
    cdef wake(self)
    cdef wake_now(self)

@cython.final
cdef class Waiters:
    cdef object _loop
    cdef Waiter _first
    cdef list _others
    cdef Waiter _spare

    @cython.locals(waiter=Waiter, other=Waiter)
    cpdef add(self)
    @cython.locals(first=Waiter, others=list, other=Waiter, woken=cython.bint)
    cpdef bint wake(self) except -1
    @cython.locals(first=Waiter, others=list, other=Waiter)
    cpdef bint wake_now(self) except -1
    cdef _wake_now(self, Waiter waiter)

cdef class Step:
    cpdef send(self, value)

cdef class Ready(Step):
    pass

