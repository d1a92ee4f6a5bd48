cimport cython

from asgiserve._speedups.cycle cimport HTTPCycle
from asgiserve._speedups.filesend cimport FileTransfer
from asgiserve._speedups.flow cimport Ready
from asgiserve._speedups.handshake cimport check_handshake
from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.intake cimport Intake, reads_with_a_copy
from asgiserve._speedups.output cimport Drained, Output
from asgiserve._speedups.peer cimport Peer
from asgiserve._speedups.reader cimport RequestReader
from asgiserve._speedups.responder cimport Responder
from asgiserve._speedups.response cimport ResponseWriter
from asgiserve._speedups.scope cimport ConnectionScope, http_scope, websocket_scope
from asgiserve._speedups.scopedict cimport take_back
from asgiserve._speedups.state cimport ServerState
from asgiserve._speedups.websocket cimport WebSocketSession

cdef Ready READY
cdef int BODY, BODY_END, END, NEED_DATA, REQUEST, REQUEST_END
cdef Py_ssize_t BODY_HIGH_WATER, INTAKE_SIZE, INPUT_HIGH_WATER, DRAIN_LIMIT
cdef double LINGER_TIME, inf

cdef class HTTPConnection(Responder):
    cdef ServerState _state
    cdef object _transport
    cdef RequestReader _reader
    cdef Output _output
    cdef ResponseWriter _response
    cdef Intake _intake
    cdef HTTPCycle _cycle
    cdef Peer _peer
    cdef str _log_scheme
    cdef str _forwarded_name
    cdef ConnectionScope _scope
    cdef bint _is_reading_paused
    cdef bint _is_pumping
    cdef bint _is_pump_due
    cdef bint _is_launch_due
    cdef bint _is_continue_due
    cdef bint _has_ended
    cdef Py_ssize_t _drained
    cdef double _started
    cdef double _read_deadline
    cdef double _request_deadline

    cdef _lose(self)
    cpdef shutdown(self)
    cpdef disconnect_app(self)
    cpdef abort(self)
    cpdef bint is_due(self, double now) noexcept
    cpdef on_tick(self, double now)
    cdef _on_write_deadline(self)
    cdef _on_request_deadline(self)
    cdef _on_read_deadline(self)
    cdef _pump(self)
    cdef _process_events(self)
    cdef _take_body(self, int event)
    cdef _drop_body(self, Py_ssize_t size)
    cdef _schedule_pump(self)
    @cython.locals(pause=cython.bint, is_due=cython.bint)
    cdef _update_reading(self)
    @cython.locals(cycle=HTTPCycle)
    cdef _start_request(self, RequestHead head, bint body_ended)
    cdef _launch(self)
    cdef _take_in(self)
    cpdef long long body_left(self) noexcept
    cdef ConnectionScope _make_scope(self)
    cdef _start_websocket(self, RequestHead head)
    cdef bint _hand_to_http2(self) except -1
    cdef bint _is_last_response(self) except -1
    cdef _end_request(self)
    cdef _log_head(self, RequestHead head)
    cdef _log_access(self, str method, str target, str http_version, list headers)
    cdef _log_refusal(self)
    cdef _refuse(self, error)
    cdef _close(self)
    cdef _linger(self)

cdef str _target(RequestHead head)
cdef str _quoted(str target)
