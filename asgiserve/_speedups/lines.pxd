cimport cython

from asgiserve._speedups.textbuffer cimport TextBuffer
from asgiserve._speedups.wire cimport find_field

cdef int PART_CLIENT, PART_DURATION, PART_HOST, PART_LENGTH, PART_LENGTH_OR_DASH, PART_METHOD, PART_REQUEST_FIELD
cdef int PART_REQUEST_LINE, PART_RESPONSE_FIELD, PART_SCHEME, PART_STATUS, PART_STATUS_TEXT, PART_TEXT, PART_TIME
cdef int PART_USER
cdef object time
cdef Py_ssize_t MANY_METHODS

@cython.final
cdef class Request:
    cdef public str client
    cdef public str method
    cdef public str target
    cdef public str http_version
    cdef public int status
    cdef public long long length
    cdef public double duration
    cdef public str scheme
    cdef public object headers
    cdef public object sent

    @cython.locals(value=bytes)
    cpdef str request_id(self)

@cython.final
cdef class Lines:
    cdef public Py_ssize_t batch
    cdef object _sink
    cdef Template _template
    cdef TextBuffer _text
    cdef Py_ssize_t _count
    cdef Request _request

    @cython.locals(request=Request)
    cpdef log(
        self, str client, str method, str target, str http_version, int status, long long length, double duration,
        str scheme=*, object headers=*, object sent=*
    )
    cpdef str take(self)

cdef class Template:
    cdef int add_to(self, TextBuffer text, Request request) except -1
    @cython.locals(text=TextBuffer)
    cpdef str render(self, Request request)

cdef class JSONTemplate(Template):
    cdef Template _message
    cdef object _text_of_second
    cdef long long _second
    cdef str _opening
    cdef dict _methods
    cdef dict _replies

    @cython.locals(now=double, second=cython.longlong, request_id=str)
    @cython.locals(method_in_message=str, method=str, reply_in_message=str, reply=str)
    cdef int add_to(self, TextBuffer text, Request request) except -1
    cdef tuple _around_method(self, str method)
    cdef tuple _around_reply(self, str version, int status)

cpdef tuple reply_of(str version, int status)

@cython.final
cdef class Part:
    cdef int kind
    cdef object subject
    cdef object shape
    cdef public str tail
    cdef long long number
    cdef str text

    cdef str text_of(self, long long number)

cdef class PartsTemplate(Template):
    cdef list _parts
    cdef object _escape

    @cython.locals(part=Part, scratch=TextBuffer)
    cdef int add_to(self, TextBuffer text, Request request) except -1
    @cython.locals(kind=int, value=bytes)
    cdef int _add(self, TextBuffer text, Part part, Request request) except -1
    @cython.locals(word=str)
    cdef int _add_field(self, TextBuffer text, bytes value) except -1
