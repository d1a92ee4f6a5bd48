cimport cython

from asgiserve._speedups.headerblock cimport BlockDecoder, BlockEncoder
from asgiserve._speedups.wire cimport encode_frame

cdef int FLAG_ACK, FLAG_END_HEADERS, FLAG_END_STREAM, FLAG_PADDED, FLAG_PRIORITY, FLOW_CONTROL_ERROR
cdef int FRAME_CONTINUATION, FRAME_DATA, FRAME_GOAWAY, FRAME_HEADERS, FRAME_PING, FRAME_PRIORITY, FRAME_PUSH_PROMISE
cdef int FRAME_RST_STREAM, FRAME_SETTINGS, FRAME_SIZE_ERROR, FRAME_WINDOW_UPDATE
cdef int H2_DATA, H2_NOTHING, H2_REQUEST, H2_RESET, H2_TRAILERS, H2_WINDOW, H2_WINDOWS, MAX_REMEMBERED
cdef int PROTOCOL_ERROR
cdef int SETTING_ENABLE_PUSH, SETTING_FRAME_SIZE, SETTING_TABLE_SIZE, SETTING_WINDOW, STREAM_CLOSED
cdef long long CONNECTION_WINDOW, DEFAULT_WINDOW, FIELD_OVERHEAD, FRAME_LIMIT, MAX_WINDOW, STREAM_WINDOW, TABLE_SIZE
cdef list _NO_FIELDS

cdef class StreamState:
    cdef readonly long long send_window
    cdef readonly long long receive_window
    cdef readonly bint has_client_ended
    cdef readonly bint has_ended

cdef class HTTP2Engine:
    cdef readonly Py_ssize_t block_limit
    cdef readonly long long last_id
    cdef readonly long long window
    cdef readonly long long stream_id
    cdef readonly list fields
    cdef readonly bytes data
    cdef readonly Py_ssize_t size
    cdef readonly bint has_ended
    cdef dict _streams
    cdef dict _remembered
    cdef long long _forgotten_id
    cdef long long _initial_window
    cdef long long _receive_window
    cdef list _block
    cdef bint _block_ends
    cdef BlockDecoder _decoder
    cdef BlockEncoder _encoder
    cdef list _output

    cpdef int take(self, int kind, int flags, long long stream_id, bytes content) except -1
    cdef int _check_opened(self, long long stream_id, str name) except -1
    cdef int _check_reset(self, long long stream_id, str name) except -1
    @cython.locals(stream=StreamState, size=cython.Py_ssize_t)
    cdef int _take_data(self, int flags, long long stream_id, bytes content) except -1
    cdef int _end_client(self, long long stream_id, StreamState stream) except -1
    cdef int _take_block(self, int kind, int flags, long long stream_id, bytes content) except -1
    @cython.locals(stream=StreamState)
    cdef int _take_fields(self, long long stream_id) except -1
    cpdef list take_fields(self)
    cpdef bytes take_data(self)
    @cython.locals(stream=StreamState, size=cython.longlong)
    cdef int _take_window_update(self, long long stream_id, bytes content) except -1
    @cython.locals(at=cython.Py_ssize_t, setting=cython.int, value=cython.longlong, changed=cython.bint)
    cdef int _take_settings(self, int flags, long long stream_id, bytes content) except -1
    @cython.locals(stream=StreamState, more=cython.longlong)
    cdef int _set_initial_window(self, long long size) except -1
    cpdef bytes take_output(self)
    @cython.locals(stream=StreamState, block=bytes, flags=cython.int, kind=cython.int)
    cpdef send_fields(self, long long stream_id, list fields, bint ends)
    @cython.locals(stream=StreamState)
    cpdef send_data(self, long long stream_id, bytes data, Py_ssize_t start, Py_ssize_t end, bint ends)
    cdef int _end(self, long long stream_id, StreamState stream) except -1
    @cython.locals(stream=StreamState)
    cpdef long long room(self, long long stream_id) except? -1
    cpdef reset(self, long long stream_id, int code)
    cpdef credit(self, Py_ssize_t size)
    @cython.locals(stream=StreamState)
    cpdef credit_stream(self, long long stream_id, Py_ssize_t size)
    cpdef ping(self, bytes content)
    cpdef goaway(self, long long last_id, int code, str detail)

cdef bytes _without_padding(bytes content)
cdef int _check_size(bytes content, Py_ssize_t size, str name) except -1
cdef int _check_connection(long long stream_id, str name) except -1
cdef bytes _number(long long value)
@cython.locals(number=cython.longlong, place=cython.Py_ssize_t)
cdef long long _number_at(bytes content, Py_ssize_t at) except -1
cdef bytes _setting(int name, long long value)
