cimport cython

from asgiserve._speedups.cycle cimport HTTPCycle
from asgiserve._speedups.flow cimport Ready, Step, Waiters
from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.http2_engine cimport HTTP2Engine
from asgiserve._speedups.http2_response cimport OwnFields, informational_fields, response_fields, trailer_fields
from asgiserve._speedups.http2_sending cimport Sender, Sending
from asgiserve._speedups.peer cimport Peer
from asgiserve._speedups.response cimport body_left
from asgiserve._speedups.scopedict cimport take_back
from asgiserve._speedups.state cimport ServerState

cdef Ready READY
cdef int CANCEL, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR
cdef Py_ssize_t DRAIN_LIMIT, KNOWN_SIZE, STREAM_WINDOW
cdef double LINGER_TIME, inf

cdef class HTTP2Stream(Sender):
    cdef readonly HTTPCycle cycle
    cdef readonly bint is_closed
    cdef readonly str name
    cdef readonly Py_ssize_t held
    cdef readonly Py_ssize_t pieces_held
    cdef readonly long long body_sent
    cdef readonly double deadline
    cdef object _connection
    cdef Peer _peer
    cdef HTTP2Engine _engine
    cdef Sending _sending
    cdef ServerState _state
    cdef RequestHead _head
    cdef str _scheme
    cdef double _started
    cdef bint _is_request_ended
    cdef bint _is_rest_refused
    cdef bint _is_lingering
    cdef bint _is_continue_due
    cdef long long _received
    cdef Py_ssize_t _owed
    cdef Py_ssize_t _dropped
    cdef bint _is_head_held
    cdef bint _is_head_sent
    cdef bint _is_ended
    cdef int _status
    cdef list _headers
    cdef list _fields
    cdef long long _length
    cdef bint _has_no_body
    cdef long long _body_left
    cdef list _trailers
    cdef object _pieces
    cdef Py_ssize_t _offset
    cdef bint _is_end_due
    cdef list _end_fields
    cdef Waiters _waiters
    cdef double _read_deadline
    cdef double _write_deadline
    cdef double _request_deadline

    cpdef open(
        self,
        connection,
        HTTP2Engine engine,
        Sending sending,
        ServerState state,
        long long stream_id,
        RequestHead head,
        bint ended,
    )
    cpdef begin(self)
    @cython.locals(scope=dict)
    cpdef launch(self)
    cpdef add_data(self, bytes data, Py_ssize_t padding, bint ended)
    cpdef end_request(self)
    cdef _check_length(self, bint ended)
    cdef _drop(self, Py_ssize_t size)
    cpdef touch(self)
    cdef _credit(self, Py_ssize_t size)
    cdef _release(self)
    cpdef rearm(self)
    cpdef client_ended(self)
    cpdef lose(self)
    cpdef reset(self, int code)
    cpdef refuse(self, error)
    cdef _close(self)
    cdef _settle(self)
    cdef _linger(self)
    cdef _update_deadlines(self)
    cdef _note_deadline(self)
    cpdef on_tick(self, double now)
    cdef _on_request_deadline(self)
    cdef _on_read_deadline(self)
    cdef _send_informational(self, list fields)
    cdef _send_head(self, long long size, bint is_last, bint ends)
    cdef _count_body(self, long long size, bint is_last)
    cpdef send_block(self, bytes data)
    cdef _send_text(self, int status, str text, tuple extra)
    cdef _end_request(self)
    cdef _log_access(self, Py_ssize_t size)
    cdef _send(self, bytes data, bint ends)
    @cython.locals(ends=cython.bint, is_last=cython.bint)
    cdef _put(self, bytes data, Py_ssize_t start, Py_ssize_t end)
    cdef _send_end(self)
    cpdef bint is_drained(self) except -1
    cpdef wait(self)
    cdef _wake(self)

cpdef bytes _quote(match)

cdef class StreamDrained(Step):
    cdef HTTP2Stream _stream

cdef class StreamFile:
    cdef HTTP2Stream _stream
