"""Block: memory that a transport reads into and that is then handed on. The compiled twin of `_core/block.py`.

A twin because here the memory is that of the bytes object itself, so that nothing is copied. Nobody else has a
reference to it before take().
"""

from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject


cdef extern from *:
    """
    /* `data`, whose reference this takes over, cut to `size` bytes. */
    static PyObject *cut(PyObject *data, Py_ssize_t size) {
        return _PyBytes_Resize(&data, size) < 0 ? NULL : data;
    }
    """
    bytes cut(PyObject *data, Py_ssize_t size)
    PyObject *PyBytes_FromStringAndSize(const char *text, Py_ssize_t size) except NULL
    char *PyBytes_AS_STRING(PyObject *data) noexcept
    Py_ssize_t PyBytes_GET_SIZE(PyObject *data) noexcept
    void Py_CLEAR(PyObject *data) noexcept


cdef class Block:
    """One read at a time: view(), then take()."""

    def __dealloc__(self):
        Py_CLEAR(self._data)

    cpdef view(self, Py_ssize_t size):
        """Return a writable buffer of `size` bytes."""
        Py_CLEAR(self._data)
        self._data = PyBytes_FromStringAndSize(NULL, size)
        return PyMemoryView_FromMemory(PyBytes_AS_STRING(self._data), size, PyBUF_WRITE)

    cpdef bytes take(self, Py_ssize_t size):
        """Return the first `size` bytes of what view() returned, which is not to be used any more."""
        cdef PyObject *data = self._data
        if data is NULL or not 0 < size <= PyBytes_GET_SIZE(data):
            raise ValueError("no such block")
        self._data = NULL
        return cut(data, size)
