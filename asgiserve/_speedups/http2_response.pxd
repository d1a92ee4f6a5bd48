cimport cython

from asgiserve._speedups.wire cimport CommonFields, check_field, parse_content_length

cdef int CONTENT_LENGTH, DATE, LEFT_OUT, ORDINARY, SERVER
cdef Py_ssize_t MAX_KNOWN, MAX_KNOWN_VALUE
cdef dict _KINDS, _known, _status_fields

cdef class KnownField:
    cdef readonly tuple pair
    cdef readonly int kind

cdef class OwnFields:
    cdef readonly list date
    cdef readonly list server
    cdef readonly list extra
    cdef CommonFields _common
    cdef object _lines

    cpdef refresh(self)

cdef list _split(bytes lines)
@cython.locals(known=KnownField, kind=cython.int, fields=list, length=cython.longlong, found=cython.longlong, has_date=cython.bint, has_server=cython.bint)
cpdef tuple response_fields(int status, list headers, OwnFields own)
cdef tuple _status_field(int status)
@cython.locals(known=KnownField)
cdef KnownField _look_up(field)
cdef _remember(tuple field, KnownField known)
cpdef list informational_fields(int status, list headers)
@cython.locals(pair=tuple, fields=list)
cpdef list trailer_fields(list headers)
@cython.locals(name=bytes, value=bytes)
cdef tuple _to_pair(field)
