cdef frozenset _KNOWN_SETTINGS

cpdef bytes trim_settings(bytes frame)
cpdef bytes goaway(long long last_stream_id, int code, str detail)
