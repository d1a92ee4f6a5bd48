cimport cython

from asgiserve._speedups.http2_budget cimport Budget
from asgiserve._speedups.http2_engine cimport HTTP2Engine
from asgiserve._speedups.output cimport Output
from asgiserve._speedups.responder cimport Responder
from asgiserve._speedups.state cimport ServerState

cdef double inf
cdef int MAX_STREAMS

cdef class Sender(Responder):
    cdef readonly long long id
    cdef public bint is_queued

    cpdef bint has_data(self) except -1
    cpdef send_frame(self, Py_ssize_t size)
    cpdef after_frames(self)
    cpdef block(self)

cdef class Sending:
    cdef readonly double deadline
    cdef ServerState _state
    cdef HTTP2Engine _engine
    cdef Output _output
    cdef Budget _budget
    cdef object _queue
    cdef bint _is_sending

    cpdef flush(self)
    @cython.locals(output=Output)
    cpdef bint has_room(self, long long stream_id, Py_ssize_t size) except -1
    cpdef queue(self, Sender sender)
    cpdef open_window(self)
    @cython.locals(output=Output, is_corked=cython.bint)
    cpdef go_on(self)
    @cython.locals(sender=Sender, engine=HTTP2Engine, room=cython.longlong, window=cython.longlong)
    cdef bint _send_frame(self) except -1
    @cython.locals(sender=Sender)
    cpdef bint is_stuck(self, double now) except -1
    cpdef clear(self)
