cdef int FIELD_CONNECTION, FIELD_CONTENT_LENGTH, FIELD_EXPECT, FIELD_HOST, FIELD_TE, FIELD_TRANSFER_ENCODING
cdef int FIELD_UPGRADE, FIELD_FORWARDING
cdef list _NO_FIELDS

cdef class RequestHead:
    cdef public str method
    cdef public int minor_version
    cdef public bytes raw_path
    cdef public bytes query
    cdef public bytes authority
    cdef public list headers
    cdef public bytes host
    cdef public int host_count
    cdef public bytes length_value
    cdef public int length_count
    cdef public bytes transfer_encoding
    cdef public bytes connection
    cdef public bytes expect
    cdef public bytes te
    cdef public bytes upgrade
    cdef public bint is_forwarded
    cdef public long long content_length
    cdef public bint keep_alive
    cdef public bint expect_continue
    cdef public bint te_trailers
    cdef public bint wants_websocket

    cpdef clear(self)
    cpdef note(self, int field, bytes value)
