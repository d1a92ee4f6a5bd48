from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.reader cimport Limits
from asgiserve._speedups.rules cimport check_head

cdef int FIELD_OVERHEAD, LINE_OVERHEAD, PROTOCOL_ERROR
cdef dict _METHOD_NAMES

cpdef read_request(list fields, bint ended, RequestHead head, Limits limits)
cdef dict _read_fields(list fields, RequestHead head)
cdef tuple _check_pseudo(dict pseudo)
cdef _check_size(RequestHead head, Limits limits)
cdef _set_host(bytes authority, RequestHead head)
cdef _check_target(bytes method, bytes path)
cpdef check_trailers(list fields)
