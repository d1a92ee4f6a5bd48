from asgiserve._speedups.flow cimport Step
from asgiserve._speedups.output cimport Drained, Output
from asgiserve._speedups.response cimport ResponseWriter

cdef int SENDING_FILE

cdef class FilePart:
    cdef readonly long long size
    cdef readonly long long left
    cdef public long long block
    cdef public long long turn
    cdef readonly bytes content
    cdef object _path
    cdef int _fd
    cdef int _socket_fd
    cdef long long _offset
    cdef object _job

cdef class FileTransfer:
    cdef object _loop
    cdef object _transport
    cdef Output _output
    cdef ResponseWriter _response
    cdef bint _is_plain
    cdef object _throttle

cdef class Woken(Step):
    cdef Output _output
    cdef bint _has_waited
