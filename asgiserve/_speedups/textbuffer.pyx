# cython: cdivision=True
"""TextBuffer: text that is put together piece by piece. The compiled twin of `_core/textbuffer.py`.

The text is kept as UTF-8, in which "surrogatepass" has a form for lone surrogates too.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    void *PyUnicode_DATA(object text)
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)

cdef enum:
    ROOM = 4096  # at first
    KEPT_ROOM = 1024 * 1024  # the most that is kept
    DIGITS = 20  # of a 64-bit number

cdef unsigned char _is_special[256]

cdef int _code
for _code in range(256):
    _is_special[_code] = not 32 <= _code < 127 or _code == c'"' or _code == c"\\"


cdef inline bint _is_narrow(str text) noexcept:
    """Whether `text` is one byte of ASCII per character. None, which is not, fails where it is looked at further."""
    return text is not None and PyUnicode_IS_COMPACT_ASCII(text)


cdef class TextBuffer:
    """Collects text."""

    def __init__(self):
        self._is_ascii = True

    def __dealloc__(self):
        free(self._data)

    cpdef int add(self, str text) except -1:
        """Add `text` as it is."""
        if _is_narrow(text):
            return _put(self, <const char *>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))
        return self._put_wide(text)

    cpdef int add_before(self, str text, Py_UCS4 mark) except -1:
        """Add what stands in `text` before the last `mark`; all of it if that is nothing. `mark` is in ASCII."""
        cdef const char *data
        cdef Py_ssize_t end
        if not _is_narrow(text):
            return self.add(text.rpartition(chr(mark))[0] or text)
        data = <const char *>PyUnicode_DATA(text)
        end = PyUnicode_GET_LENGTH(text) - 1
        while end > 0 and data[end] != <char>mark:
            end -= 1
        return _put(self, data, end if end > 0 else PyUnicode_GET_LENGTH(text))

    cpdef int add_number(self, long long number, int width) except -1:
        """Add a number from 0 to 2^63-1 in decimal, with zeros before it up to `width` (at most 18) digits."""
        return _put_number(self, number, width)

    cpdef int add_decimal(self, double number) except -1:
        """Add a number with six decimals, as %.6f does."""
        cdef double micros
        cdef long long whole
        if 0.0 < number < 1e6:
            micros = number * 1e6
            whole = <long long>(micros + 0.5)
            # Unless that is near the middle between two numbers, it is the one that %.6f rounds to.
            if -0.499 < micros - whole < 0.499:
                _put_number(self, whole // 1000000, 1)
                _put(self, b".", 1)
                return _put_number(self, whole % 1000000, 6)
        return self.add(f"{number:.6f}")

    cpdef int add_json(self, str text) except -1:
        """Add `text` as it stands between the quotes of a string in JSON, all in ASCII."""
        if self.add_plain(text):
            return 0
        from json.encoder import encode_basestring_ascii  # rarely needed, and a process that has it finds it at once

        return self.add(encode_basestring_ascii(text)[1:-1])

    cpdef bint add_plain(self, str text) except -1:
        """Add `text` if it is printable ASCII without a double quote or a backslash.

        Returns:
            whether it was added.
        """
        cdef const unsigned char *data
        cdef Py_ssize_t size, index
        cdef unsigned char special = 0
        if not _is_narrow(text):
            return False
        data = <const unsigned char *>PyUnicode_DATA(text)
        size = PyUnicode_GET_LENGTH(text)
        for index in range(size):
            special |= _is_special[data[index]]
        if special:
            return False
        _put(self, <const char *>data, size)
        return True

    cpdef str take(self):
        """Return what was added, and forget it."""
        cdef str text
        if self._is_ascii:
            text = PyUnicode_New(self._size, 127)
            if self._size:
                memcpy(PyUnicode_DATA(text), self._data, self._size)
        else:
            text = PyUnicode_DecodeUTF8(self._data, self._size, b"surrogatepass")
        self._size = 0
        self._is_ascii = True
        if self._room > KEPT_ROOM:
            free(self._data)
            self._data = NULL
            self._room = 0
        return text

    cdef int _grow(self, Py_ssize_t size) except -1:
        """Make room for `size` more bytes."""
        cdef Py_ssize_t room = max(self._room * 2, ROOM)
        cdef char *grown
        while room < self._size + size:
            room *= 2
        grown = <char *>realloc(self._data, room)
        if grown is NULL:
            raise MemoryError()
        self._data = grown
        self._room = room
        return 0

    cdef int _put_wide(self, str text) except -1:
        cdef bytes data = text.encode("utf-8", "surrogatepass")
        self._is_ascii = False
        return _put(self, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef inline int _put(TextBuffer buffer, const char *data, Py_ssize_t size) except -1:
    if size >= buffer._room - buffer._size:
        buffer._grow(size)
    memcpy(buffer._data + buffer._size, data, size)
    buffer._size += size
    return 0


cdef int _put_number(TextBuffer buffer, unsigned long long number, int width) except -1:
    cdef char digits[DIGITS]
    cdef int at = DIGITS
    cdef unsigned int pair
    while number >= 10:
        pair = number % 100
        number //= 100
        at -= 2
        digits[at] = c"0" + <char>(pair // 10)
        digits[at + 1] = c"0" + <char>(pair % 10)
    if number:
        at -= 1
        digits[at] = c"0" + <char>number
    while DIGITS - at < width:
        at -= 1
        digits[at] = c"0"
    return _put(buffer, digits + at, DIGITS - at)
