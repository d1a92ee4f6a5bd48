cimport cython

from asgiserve._speedups.poller cimport Poller, accept, local_address, receive, receive_into, send_last, send_pieces
from asgiserve._speedups.poller cimport send as send_bytes

cdef Py_ssize_t READ_SIZE, HIGH_WATER, MAX_PIECES
cdef int READABLE, WRITABLE, ENDING
cdef tuple _EXITS

cdef class Watched:
    cpdef on_ready(self, int events)

cdef class Callback(Watched):
    cdef object _loop
    cdef object _function

cdef class Reactor:
    cdef readonly object loop
    cdef Poller _poller
    cdef list _watched
    cdef list _ended
    cdef bint _is_in_turn
    cdef bint _is_end_due
    cdef readonly object context

    @cython.locals(transport=Transport)
    cpdef accept(self, listener, connect)
    cdef Watched _at(self, int fd)
    cdef _put(self, int fd, Watched watched)
    cpdef begin(self, Transport transport)
    cpdef watch(self, int fd, int before, int after)
    cpdef end(self, Transport transport)
    @cython.locals(transport=Transport)
    cpdef _end_all(self)
    @cython.locals(index=int, count=int, watched=Watched)
    cpdef _turn(self)
    @cython.locals(index=int, room=Py_ssize_t, watched=Watched, transport=Transport)
    cdef _read_ahead(self, int count)
    @cython.locals(index=int, watched=Watched, transport=Transport)
    cdef _leave_over(self, int count)

@cython.final
cdef class Transport(Watched):
    cdef Reactor _reactor
    cdef int _fd
    cdef int _family
    cdef object _peer
    cdef object _socket
    cdef object _protocol
    cdef object _data_received
    cdef object _buffered
    cdef bytes _ahead
    cdef int _events
    cdef bint _is_paused
    cdef bint _has_input_ended
    cdef bint _is_closing
    cdef bint _is_ended
    cdef bint _is_end_due
    cdef bint _has_paused
    cdef object _pieces
    cdef Py_ssize_t _start
    cdef Py_ssize_t _size
    cdef Py_ssize_t _high
    cdef Py_ssize_t _low
    cdef object _error

    cpdef begin(self, protocol)
    cpdef leave_over(self)
    cdef bint _is_reading(self) noexcept
    @cython.locals(events=int, before=int)
    cdef _watch(self, bint anew=*)
    cpdef Py_ssize_t read_ahead(self) except -1
    @cython.locals(data=bytes)
    cdef bytes _receive(self)
    @cython.locals(data=bytes)
    cdef _read(self)
    @cython.locals(size=Py_ssize_t)
    cdef _read_into(self)
    @cython.locals(ahead=bytes, size=Py_ssize_t)
    cdef Py_ssize_t _copy_into(self, buffer) except -1
    cpdef read_soon(self)
    cpdef _read_again(self)
    cdef _end_input(self)
    cpdef write(self, data)
    cpdef write_last(self, bytes data)
    @cython.locals(sent=Py_ssize_t)
    cdef _send(self, bytes piece, bint is_last)
    @cython.locals(piece=bytes, batch=list, sent=Py_ssize_t)
    cpdef writelines(self, pieces)
    cdef _keep(self, bytes piece, Py_ssize_t sent)
    cdef _await_room(self)
    @cython.locals(batch=list, sent=Py_ssize_t)
    cdef _send_more(self)
    cdef _end_output(self)
    cdef _pause_protocol(self)
    cdef _resume_protocol(self)
    cpdef set_protocol(self, protocol)
    cpdef bint is_closing(self) noexcept
    cpdef close(self)
    cpdef abort(self)
    cdef _blame(self, error, where)
    cdef _fail(self, error)
    cdef _report(self, error, message)
    cdef _end(self, error)
    cpdef finish(self)
