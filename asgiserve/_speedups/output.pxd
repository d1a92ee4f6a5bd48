from asgiserve._speedups.batch cimport Deferred
from asgiserve._speedups.flow cimport Step, Waiters
from asgiserve._speedups.state cimport ServerState
from asgiserve._speedups.transport cimport Transport

cdef Py_ssize_t CORK_LIMIT, GATHER_SIZE, JOIN_LIMIT
cdef double inf

cdef class Output(Deferred):
    cdef readonly bint is_corked
    cdef readonly bint is_paused
    cdef readonly bint is_closing
    cdef readonly bint is_lost
    cdef readonly bint is_direct
    cdef readonly double deadline
    cdef ServerState _state
    cdef object _transport
    cdef Transport _own
    cdef object _write
    cdef bint _gathers
    cdef Waiters _waiters
    cdef bint _is_deferred
    cdef bytes _corked
    cdef list _corked_more
    cdef Py_ssize_t _corked_size
    cdef Py_ssize_t _unwritten
    cdef int _watched

    cpdef attach(self, transport)
    cpdef cork(self)
    cpdef uncork(self)
    cpdef defer(self)
    cpdef write(self, bytes data)
    cpdef write_pair(self, bytes first, bytes second)
    cdef _collect(self, bytes data)
    cpdef flush(self)
    cdef _drop_corked(self)
    cdef _put(self, bytes data)
    cdef bint _is_dead(self) except -1
    cpdef pause(self)
    cpdef resume(self)
    cpdef bint is_writable(self) noexcept
    cpdef wait(self)
    cdef _wake(self)
    cpdef watch(self, int fd)
    cpdef unwatch(self)
    cdef _watch(self)
    cdef Py_ssize_t _size_unwritten(self) except -1
    cpdef bint is_stuck(self) except -1
    cpdef bint is_held(self) except -1
    cpdef close(self)
    cpdef bint end(self) except -1
    cpdef reset(self)
    cpdef lose(self)

cdef Py_ssize_t _size_queued(int fd) except -1

cdef class Drained(Step):
    cdef Output _output
