cimport cython

from asgiserve._speedups.poller cimport Poller, accept

cdef int READABLE

cdef class Watched:
    cpdef on_ready(self, int events)
    cpdef Py_ssize_t read_ahead(self) except -1
    cpdef leave_over(self)
    cpdef abort(self)
    cpdef finish(self)

@cython.final
cdef class Callback(Watched):
    cdef object _loop
    cdef object _function

cdef class Reactor:
    cdef readonly object loop
    cdef object _transport
    cdef Poller _poller
    cdef list _watched
    cdef list _ended
    cdef bint _is_in_turn
    cdef bint _is_end_due
    cdef readonly object context

    cpdef accept(self, listener, connect)
    cdef Watched _at(self, int fd)
    cdef _put(self, int fd, Watched watched)
    cpdef begin(self, int fd, Watched transport)
    cpdef watch(self, int fd, int before, int after)
    cpdef end(self, int fd, Watched transport)
    @cython.locals(transport=Watched)
    cpdef _end_all(self)
    @cython.locals(index=int, count=int, watched=Watched)
    cpdef _turn(self)
    @cython.locals(index=int, room=Py_ssize_t, watched=Watched)
    cdef _read_ahead(self, int count)
    @cython.locals(index=int, watched=Watched)
    cdef _leave_over(self, int count)
