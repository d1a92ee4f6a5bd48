from asgiserve._speedups.cycle cimport HTTPCycle
from asgiserve._speedups.flow cimport Ready, Step, Waiters
from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.reader cimport RequestReader
from asgiserve._speedups.responder cimport Responder
from asgiserve._speedups.scope cimport http_scope
from asgiserve._speedups.state cimport ServerState
from asgiserve._speedups.wire cimport ResponseEncoder, encode_chunk, encode_informational, encode_trailers

cdef Ready READY
cdef int BODY, BODY_END, END, NEED_DATA, REQUEST, REQUEST_END
cdef int FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE
cdef Py_ssize_t BODY_HIGH_WATER, INPUT_HIGH_WATER, CORK_LIMIT, COPY_LIMIT, DRAIN_LIMIT
cdef double LINGER_TIME, inf
cdef bytes CLOSE_LINE, KEEP_ALIVE_LINE

cdef class HTTPConnection(Responder):
    cdef Waiters write_waiters
    cdef ServerState _state
    cdef object _transport
    cdef RequestReader _reader
    cdef ResponseEncoder _encoder
    cdef HTTPCycle _cycle
    cdef str _scheme
    cdef object _client
    cdef object _server
    cdef str _client_name
    cdef bint _is_reading_paused
    cdef bint _is_pumping
    cdef bint _is_pump_due
    cdef bint _has_ended
    cdef Py_ssize_t _drained
    cdef bint _continue_due
    cdef bint _is_launch_due
    cdef RequestHead _head
    cdef bint _keep_alive
    cdef int _status
    cdef bint _is_start_held
    cdef bint _is_head_sent
    cdef int _framing
    cdef bint _has_no_body
    cdef long long _body_left
    cdef long long _body_sent
    cdef list _trailers
    cdef double _started
    cdef list _corked
    cdef Py_ssize_t _corked_size
    cdef bint _is_write_paused
    cdef bint _is_closing
    cdef bint _is_lost
    cdef double _read_deadline
    cdef double _write_deadline
    cdef double _request_deadline
    cdef Py_ssize_t _unwritten

    cpdef shutdown(self)
    cpdef disconnect_app(self)
    cpdef abort(self)
    cpdef bint is_due(self, double now)
    cpdef on_tick(self, double now)
    cdef _lose(self)
    cdef _on_write_deadline(self)
    cdef _on_request_deadline(self)
    cdef _on_read_deadline(self)
    cdef _pump(self)
    cdef _process_events(self)
    cdef _take_body(self, int event)
    cdef _schedule_pump(self)
    cdef _drop_body(self, Py_ssize_t size)
    cdef _update_reading(self)
    cdef _start_request(self, RequestHead head, bint body_ended)
    cdef _launch(self)
    cdef RequestHead _request_head(self)
    cdef _send_head(self, bytes body, bint is_last)
    cdef _count_body(self, Py_ssize_t size, bint is_last)
    cdef bytes _connection_line(self)
    cdef _end_request(self)
    cdef _refuse(self, error)
    cdef _respond_text(self, int status, str text)
    cdef _write(self, bytes data)
    cdef _put(self, bytes data)
    cdef _write_two(self, bytes first, bytes second)
    cdef _flush(self)
    cpdef bint is_writable(self)
    cpdef wait_writable(self)
    cdef _wake_writers(self)
    cdef _watch_writing(self)
    cdef _close(self)
    cdef _linger(self)

cdef class Drained(Step):
    cdef HTTPConnection _connection

cdef _reset_on_close(transport)
cdef _address(address, bint is_server)
