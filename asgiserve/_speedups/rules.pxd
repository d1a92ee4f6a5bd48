from asgiserve._speedups.head cimport RequestHead

cdef dict _known_tokens, _valid_hosts

cpdef check_request_line(bytes line)
cpdef check_field_line(bytes line)
cpdef bint is_valid_host(bytes value) except -1
cpdef set_target(RequestHead head, bytes target)
cpdef split_head(bytes data, RequestHead head)
cpdef check_head(RequestHead head, long long body_limit)
cdef _check_host(RequestHead head)
cdef _replace_host(RequestHead head)
cdef _check_framing(RequestHead head, long long body_limit)
cdef _check_transfer_encoding(RequestHead head)
cdef frozenset _tokens(bytes value)
