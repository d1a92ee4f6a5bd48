from asgiserve._speedups.calls cimport is_text
from asgiserve._speedups.exchange cimport Exchange, is_disconnect, to_bytes, to_list, to_status
from asgiserve._speedups.flow cimport Ready, Waiters
from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.responder cimport Responder

cdef Ready READY
cdef RequestHead NO_HEAD
cdef Responder NOBODY
cdef int DISCONNECTED, DONE, SENDING_FILE, START_HELD, STREAMING, WAIT_START, WAIT_TRAILERS

cdef class HTTPCycle(Exchange):
    cdef readonly RequestHead head
    cdef readonly int state
    cdef readonly Py_ssize_t buffered
    cdef readonly bint is_woken
    cdef Responder _responder
    cdef list _chunks
    cdef bint _body_ended
    cdef bint _body_received
    cdef bint _is_gone
    cdef bint _wants_trailers
    cdef int _state_before_file

    cpdef begin(self, Responder responder, RequestHead head, bint body_ended)
    cpdef add_body(self, bytes chunk, bint ended)
    cpdef end_body(self)
    cpdef disconnect(self, bint is_lost)
    cdef _hand_over(self)
    cpdef wake(self)
    cdef _reject(self, kind)
    cpdef flush_start(self)
    cdef _log_error(self, error)
    cdef _start(self, dict message)
    cdef _send_body(self, dict message)
    cdef _end_body(self)
    cdef _send_trailers(self, dict message)
    cdef _send_early_hint(self, dict message)
    cdef _finish(self)
