from asgiserve._speedups.connection cimport HTTPConnection
from asgiserve._speedups.state cimport ServerState

cdef int RECORD_SIZE, WRITE_SIZE, _HANDSHAKE, _OPEN, _ENDED, _PARTING, _CLOSED
cdef double LAST_WORDS_TIME, PARTING_TIME, inf

cdef class TLSTransport:
    cdef ServerState _state
    cdef object _tls
    cdef object _transport
    cdef object _protocol
    cdef object _served
    cdef object _ssl
    cdef object _decrypt
    cdef object _encrypt
    cdef object _incoming
    cdef object _outgoing
    cdef dict _extension
    cdef int _phase
    cdef double _deadline
    cdef double _written
    cdef object _timer
    cdef bint _is_reading_paused
    cdef bint _is_reading
    cdef bint _is_writing
    cdef bint _is_pause_due
    cdef bint _is_cut
    cdef bint _has_ended
    cdef bint _is_end_due

    cpdef shutdown(self)
    cpdef disconnect_app(self)
    cpdef abort(self)
    cpdef bint is_due(self, double now) noexcept
    cpdef on_tick(self, double now)
    cdef _start(self)
    cdef _shake_hands(self)
    cdef _fail_handshake(self, str reason)
    cdef _log_failure(self, str reason)
    cdef _answer_plain_http(self)
    cdef _give_up(self)
    cdef str _peer(self)
    cdef _read(self)
    cdef _read_once(self)
    cdef _tell_end(self)
    cdef _fail(self, str reason)
    cpdef writelines(self, chunks)
    cdef _flush(self)
    cpdef close(self)
    cdef _part(self)
    cdef _close_transport(self)
    cdef _say_end(self)

cpdef str reason_of(error)
