from asgiserve._speedups.flow cimport Ready, Step, Waiters
from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.responder cimport Responder

cdef Ready READY
cdef object CancelledError
cdef int DISCONNECTED, DONE, START_HELD, STREAMING, WAIT_START, WAIT_TRAILERS

cdef class HTTPCycle:
    cdef readonly RequestHead head
    cdef readonly int state
    cdef readonly Py_ssize_t buffered
    cdef readonly bint is_woken
    cdef readonly Waiters waiters
    cdef public object task
    cdef Responder _responder
    cdef list _chunks
    cdef bint _body_ended
    cdef bint _body_received
    cdef bint _is_gone
    cdef bint _wants_trailers

    cpdef add_body(self, bytes chunk, bint ended)
    cpdef end_body(self)
    cpdef disconnect(self, bint is_lost)
    cpdef wake(self)
    cpdef dict take(self)
    cpdef wait(self)
    cdef _take_message(self, dict message)
    cdef _reject(self, kind)
    cpdef flush_start(self)
    cdef _log_error(self, error)
    cdef _start(self, dict message)
    cdef _send_body(self, dict message)
    cdef _send_trailers(self, dict message)
    cdef _send_early_hint(self, dict message)
    cdef _finish(self)
    cpdef judge(self, task)
    cpdef app_ended(self, error, bint cancelled)

cdef class Received(Step):
    cdef HTTPCycle _cycle

cdef bint _is_disconnect(error) except -1
cdef int _to_int(status) except -1
cdef list _to_list(items)
cdef bytes _to_bytes(body)
