cimport cython

from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.parser cimport is_lower_name, is_stripped_value, is_target
from asgiserve._speedups.reader cimport Limits
from asgiserve._speedups.rules cimport check_head

cdef int AUTHORITY, COOKIE, METHOD, ORDINARY, PATH, SCHEME
cdef int FIELD_OVERHEAD, LINE_OVERHEAD, MAX_KNOWN, MAX_KNOWN_VALUE, PROTOCOL_ERROR
cdef dict _METHOD_NAMES, _PSEUDO, _known_kinds

cdef class Pseudo:
    cdef readonly bytes method
    cdef readonly bytes scheme
    cdef readonly bytes authority
    cdef readonly bytes path

    @cython.locals(last=bytes)
    cpdef put(self, int kind, bytes value)

@cython.locals(pseudo=Pseudo, method=bytes, path=bytes)
cpdef read_request(list fields, bint ended, RequestHead head, Limits limits)
@cython.locals(field=tuple, kind=cython.int, cookie=cython.Py_ssize_t, crumbs=list, headers=list, pseudo=Pseudo)
cdef Pseudo _read_fields(list fields, RequestHead head, Py_ssize_t limit)
@cython.locals(name=bytes, value=bytes, kind=cython.int)
cdef int _check_field(tuple field) except? -9
cdef int _check_name(bytes name, bytes value) except? -9
@cython.locals(method=bytes, path=bytes, scheme=bytes)
cdef tuple _check_pseudo(Pseudo pseudo)
@cython.locals(name=bytes, value=bytes, size=cython.Py_ssize_t)
cdef _check_size(RequestHead head, Limits limits)
cdef _set_host(bytes authority, RequestHead head)
cdef _check_target(bytes method, bytes path)
@cython.locals(name=bytes, value=bytes)
cpdef check_trailers(list fields)
