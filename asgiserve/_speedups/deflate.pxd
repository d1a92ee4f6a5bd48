cdef int CLOSE_INVALID_DATA, CLOSE_TOO_BIG
cdef int WINDOW_BITS, MEMORY_LEVEL, _LARGEST_WINDOW_BITS, _SMALLEST_WINDOW_BITS, _MAX_ENDS
cdef bytes TAIL, EMPTY
cdef dict _known_offers

cdef class DeflateParameters:
    cdef readonly int server_max_window_bits
    cdef readonly int client_max_window_bits
    cdef readonly bint server_no_context_takeover
    cdef readonly bint client_no_context_takeover
    cdef readonly bytes response

cpdef DeflateParameters negotiate(list offers)
cpdef list parse_extensions(bytes value)
cdef DeflateParameters _accept(list parameters)

cdef class Deflate:
    cdef DeflateParameters _parameters
    cdef object _compressor
    cdef object _decompressor
    cdef bint _has_input
    cdef int _ends

    cpdef bytes compress(self, bytes data)
    cpdef release(self)
    cpdef bytes decompress(self, bytes data, long long limit, bint is_last)
    cdef _make_decompressor(self)
    cdef bytes _go_on(self, bytes result, long long limit)
