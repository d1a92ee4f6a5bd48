"""Received: what `receive()` returns. The compiled twin of `_core/received.py`.

A twin for one reason: to raise StopIteration with a value costs a traceback and a frame, a quarter of all that a
request with a body or a WebSocket message takes. Here it is set without them.
"""

from asgiserve._speedups.flow cimport Step

cdef extern from *:
    """
    /* Leaves the value for who awaits. The caller returns NULL without more ado. */
    static void set_result(PyObject *value) { PyErr_SetObject(PyExc_StopIteration, value); }
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


cdef class Received(Step):
    """The next message. It is taken when the step is made: a task cancelled before that eats no message."""

    def __init__(self, Source source):
        self._source = source

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
