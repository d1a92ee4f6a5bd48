cimport cython

from asgiserve._speedups.poller cimport local_address, receive, receive_into, send_last, send_pieces
from asgiserve._speedups.poller cimport send as send_bytes
from asgiserve._speedups.reactor cimport Reactor, Watched

cdef Py_ssize_t READ_SIZE, HIGH_WATER, MAX_PIECES
cdef int READABLE, WRITABLE, ENDING
cdef tuple EXITS

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
    cdef bint _is_left
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
    cdef bint _is_reading(self) noexcept
    @cython.locals(events=int, before=int)
    cdef _watch(self, bint anew=*)
    @cython.locals(data=bytes)
    cdef bytes _receive(self)
    @cython.locals(data=bytes)
    cdef _read(self)
    @cython.locals(size=Py_ssize_t)
    cdef _read_into(self)
    @cython.locals(ahead=bytes, size=Py_ssize_t)
    cdef Py_ssize_t _copy_into(self, buffer) except -1
    cdef _take_ahead(self, bytes rest)
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
    cdef _blame(self, error, where)
    cdef _fail(self, error)
    cdef _report(self, error, message)
    cdef _end(self, error)
