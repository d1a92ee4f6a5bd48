cimport cython
from asgiserve._speedups.exchange cimport Exchange, is_disconnect, to_bytes, to_list, to_status
from asgiserve._speedups.flow cimport Ready, Waiters
from asgiserve._speedups.frames cimport FrameCodec
from asgiserve._speedups.handshake cimport Handshake
from asgiserve._speedups.output cimport Drained, Output
from asgiserve._speedups.response cimport ResponseWriter
from asgiserve._speedups.state cimport ServerState

cdef Ready READY
cdef int CLOSE_ABNORMAL, CLOSE_INTERNAL_ERROR, CLOSE_NORMAL, CLOSE_SERVICE_RESTART
cdef int WS_BINARY, WS_CLOSE, WS_NEED_DATA, WS_PING, WS_TEXT
cdef int CONNECTING, DENYING, OPEN, CLOSING, CLOSED
cdef Py_ssize_t QUEUE_HIGH_WATER, TAIL_HIGH_WATER, COPY_LIMIT
cdef double CLOSE_TIMEOUT, LINGER_TIME, inf

cdef class WebSocketSession(Exchange):
    cdef readonly int phase
    cdef readonly str name
    cdef ServerState _state
    cdef object _transport
    cdef Output _output
    cdef ResponseWriter _response
    cdef Handshake _handshake
    cdef FrameCodec _codec
    cdef str _target
    cdef bytes _tail
    cdef object _message
    cdef object _others
    cdef Py_ssize_t _waiting
    cdef Py_ssize_t _buffered
    cdef bint _is_connect_given
    cdef bint _is_woken
    cdef bint _is_full
    cdef bint _is_reading_paused
    cdef bint _is_closed_by_app
    cdef bint _has_left
    cdef int _leave_code
    cdef str _leave_reason
    cdef bytes _pong
    cdef object _fault
    cdef bint _is_end_held
    cdef bint _has_heard
    cdef double _started
    cdef double _deadline
    cdef double _ping_deadline
    cdef double _pong_deadline

    cpdef start(self, str name, str target, bytes tail, dict scope)
    cdef _lose(self)
    cpdef shutdown(self)
    cpdef disconnect_app(self)
    cpdef abort(self)
    cpdef bint is_due(self, double now) noexcept
    cpdef on_tick(self, double now)
    cdef _wait_for_end(self, double now)
    cdef _keep_alive(self, double now)
    cdef _read_frames(self)
    cdef _process_events(self)
    cdef _add_message(self, payload)
    cdef _hand_over(self)
    cdef _wake(self)
    cdef _send_pong(self, bytes payload)
    cdef _end_input(self)
    cdef _act_on_end(self)
    @cython.locals(pause=cython.bint)
    cdef _update_reading(self)
    cdef _make_room(self)
    cdef _send(self, dict message)
    cdef _written(self)
    cdef _close(self, dict message)
    cdef _accept(self, dict message)
    cdef list _accept_headers(self, Handshake handshake, dict message)
    cdef _reject_handshake(self)
    cdef _start_denial(self, dict message)
    cdef _send_denial(self, dict message)
    cdef _refuse(self, int status)
    cdef _start_closing(self, int code, str reason)
    cdef _send_close(self, int code, str reason)
    cdef _fail(self, fault)
    cdef _end(self, bint lingers)
    cdef _leave(self, int code, str reason)
    cdef _break_denial(self)
    cdef _answered(self, str what, int status)
    cdef _say(self, what, int status, int code)
    cdef _warn(self, reason)
    cdef _trace(self, message)

cpdef bint is_sendable_code(long long code) except -1
cdef _lower(name)
