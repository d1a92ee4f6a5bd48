cimport cython

from asgiserve._speedups.cycle cimport HTTPCycle
from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.http2_budget cimport Budget
from asgiserve._speedups.http2_engine cimport HTTP2Engine
from asgiserve._speedups.http2_frames cimport FrameSplitter
from asgiserve._speedups.http2_request cimport check_trailers, read_request
from asgiserve._speedups.http2_response cimport OwnFields
from asgiserve._speedups.http2_sending cimport Sending
from asgiserve._speedups.http2_stream cimport HTTP2Stream
from asgiserve._speedups.output cimport Output
from asgiserve._speedups.peer cimport Peer
from asgiserve._speedups.scope cimport ConnectionScope, http_scope
from asgiserve._speedups.state cimport ServerState

cdef int ENHANCE_YOUR_CALM, FLAG_ACK, FLAG_END_STREAM, FRAME_CONTINUATION, FRAME_DATA, FRAME_GOAWAY, FRAME_HEADERS
cdef int FRAME_PING, FRAME_PRIORITY, FRAME_RST_STREAM, FRAME_SETTINGS, FRAME_SIZE_ERROR, FRAME_WINDOW_UPDATE
cdef int H2_DATA, H2_NOTHING, H2_REQUEST, H2_RESET, H2_TRAILERS, H2_WINDOW, H2_WINDOWS
cdef int MAX_STREAMS, NO_ERROR, PRICE_FRAME, PRICE_RESET, PRICE_SETTINGS, PROTOCOL_ERROR, REFUSED_STREAM, SETTINGS_SIZE
cdef Py_ssize_t CONNECTION_WINDOW, MAX_PIECES, MAX_UNREAD, MAX_UNREAD_SIZE
cdef long long MAX_STREAM_ID
cdef double GOAWAY_TIME, LINGER_TIME, inf

cdef class HTTP2Connection:
    cdef readonly OwnFields own_fields
    cdef readonly Peer peer
    cdef readonly bint has_ended
    cdef ServerState _state
    cdef object _transport
    cdef Output _output
    cdef HTTP2Engine _engine
    cdef FrameSplitter _frames
    cdef Budget _budget
    cdef dict _streams
    cdef Sending _sending
    cdef list _starting
    cdef list _left
    cdef ConnectionScope _scope
    cdef bint _is_going_away
    cdef long long _last_stream_id
    cdef bint _client_goes
    cdef Py_ssize_t _held
    cdef Py_ssize_t _pieces_held
    cdef Py_ssize_t _owed
    cdef Py_ssize_t _unread
    cdef bint _block_started
    cdef double _deadline
    cdef double _goaway_deadline
    cdef double _due

    @cython.locals(starting=list, stream=HTTP2Stream)
    cdef _launch(self)
    @cython.locals(stream=HTTP2Stream)
    cdef _watch_input(self)
    cpdef shutdown(self)
    @cython.locals(stream=HTTP2Stream)
    cpdef disconnect_app(self)
    cpdef abort(self)
    cpdef bint is_due(self, double now) noexcept
    @cython.locals(stream=HTTP2Stream)
    cpdef on_tick(self, double now)
    cdef _reset_stuck(self)
    cdef _on_deadline(self)
    cdef _set_deadline(self, double deadline)
    cdef _set_idle_deadline(self)
    cdef _take_frame(self)
    cdef _charge(self, int kind, int flags)
    cdef _count_unread(self)
    @cython.locals(stream=HTTP2Stream, waiting=HTTP2Stream, stream_id=cython.longlong)
    cdef _act(self, int event)
    @cython.locals(ended=cython.bint, stream=HTTP2Stream)
    cdef _take_request(self, long long stream_id)
    cpdef dict make_scope(self, RequestHead head)
    cdef bint _is_full(self) except -1
    @cython.locals(size=cython.Py_ssize_t, data=bytes)
    cdef _take_data(self, HTTP2Stream stream)
    cdef _take_trailers(self, HTTP2Stream stream)
    @cython.locals(stream=HTTP2Stream)
    cdef _reset(self, long long stream_id, error)
    cdef _take_goaway(self)
    cpdef hold(self, Py_ssize_t size)
    @cython.locals(stream=HTTP2Stream)
    cpdef release(self, Py_ssize_t size, Py_ssize_t pieces)
    cpdef bint has_room(self) except -1
    cpdef credit(self, Py_ssize_t size)
    cpdef note_deadline(self, double deadline)
    cpdef leave(self, HTTPCycle cycle)
    cpdef forget(self, HTTP2Stream stream)
    cdef _go_away(self)
    cdef _end_goaway(self)
    cdef _say_goodbye(self)
    cdef _say(self, long long last_stream_id, int code, str detail)
    cdef _end(self, fault)
    cdef _linger(self)
    @cython.locals(stream=HTTP2Stream)
    cdef _drop_streams(self)
