"""Received: what `receive()` returns. The compiled twin of `_core/received.py`.

A twin for two reasons. To raise StopIteration with a value costs a traceback and a frame, a quarter of all that a
request with a body or a WebSocket message takes: here it is set without them. And there is one object for each
message: here it is taken from a list of free ones, which a subclass cannot have.
"""

cimport cython

from .flow import READY

cdef extern from *:
    """
    /* Leaves the value for who awaits. The caller returns NULL without more ado. */
    static void set_result(PyObject *value) {
    #if PY_VERSION_HEX >= 0x030c0000
        /* PyErr_SetObject() would call the class, which takes longer than all the rest of a step. */
        PyTypeObject *type = (PyTypeObject *)PyExc_StopIteration;
        PyObject *arguments = PyTuple_New(0);
        PyObject *error = arguments == NULL ? NULL : type->tp_new(type, arguments, NULL);
        Py_XDECREF(arguments);
        if (error != NULL) {
            ((PyStopIterationObject *)error)->value = Py_NewRef(value);
            PyErr_SetRaisedException(error);
        }
    #else
        PyErr_SetObject(PyExc_StopIteration, value);
    #endif
    }
    """
    void set_result(object value) noexcept


cdef class Source:
    """Who has messages for an application."""

    cpdef dict give_message(self):
        """Return the next message; None when there is none yet."""
        raise NotImplementedError

    cpdef wait(self):
        """Return a future that is done when there may be a message."""
        raise NotImplementedError


@cython.final
@cython.freelist(8)
cdef class Received:
    """The next message. It is taken when the step is made: a task cancelled before that eats no message."""

    def __init__(self, Source source):
        self._source = source

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        cdef dict message = self._source.give_message()
        if message is None:
            return self._source.wait()
        set_result(message)
        raise StopIteration  # in __next__ this is no more than the return of NULL

    cpdef send(self, value):
        """Return a future while there is no message."""
        cdef dict message = self._source.give_message()
        if message is None:
            return self._source.wait()
        raise StopIteration(message)

    def throw(self, kind, value=None, traceback=None):
        """Raise what is thrown in; nothing is to be undone."""
        READY.throw(kind, value, traceback)

    def close(self):
        """End it; there is nothing to release."""


cpdef Received receive_from(Source source):
    """Return an awaitable for the next message of `source`."""
    cdef Received received = Received.__new__(Received)
    received._source = source
    return received
