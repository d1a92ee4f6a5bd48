"""Poller: which sockets are ready, and the system calls on them. The compiled twin of `_core/poller.py`.

A twin because here they are C functions, called with no Python object in between, and what is read goes through memory
that stays in the processor's caches. No call waits, so none releases the GIL.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno

import select
import socket

cdef extern from *:
    """
    #define ROOM_TO_READ (256 * 1024)
    #define MOST_PIECES 64

    #ifdef __linux__

    /* What all reads go through, one at a time under the GIL. */
    static char read_space[ROOM_TO_READ];

    #define WOULD_WAIT (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)

    static int poll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

    /* Where the end of the input has come with data, reading those is not all there is to do: it is told as well. */
    static int poll_change(int poller, int fd, int before, int after, int is_edge) {
        struct epoll_event event;
        memset(&event, 0, sizeof event);
        event.events = (uint32_t)after | (!is_edge ? 0 : after & EPOLLIN ? EPOLLET | EPOLLRDHUP : EPOLLET);
        event.data.fd = fd;
        return epoll_ctl(poller, !before ? EPOLL_CTL_ADD : !after ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, fd, &event);
    }

    static int poll_wait(int poller, struct epoll_event *ready, int room) {
        int count = epoll_wait(poller, ready, room, 0);
        return count < 0 && errno == EINTR ? 0 : count;
    }

    static void poll_close(int poller) { close(poller); }

    /* The number of bytes; -1 for an error, -2 where it would have to wait. */
    static Py_ssize_t socket_receive(int fd, char *to, Py_ssize_t size) {
        Py_ssize_t got = recv(fd, to, (size_t)size, 0);
        return got < 0 && WOULD_WAIT ? -2 : got;
    }

    static Py_ssize_t socket_send(int fd, const char *from, Py_ssize_t size) {
        Py_ssize_t sent = send(fd, from, (size_t)size, MSG_NOSIGNAL);
        return sent < 0 && WOULD_WAIT ? 0 : sent;
    }

    /* One packet for both, in place of one for the bytes and another for the end. */
    static Py_ssize_t socket_send_last(int fd, const char *from, Py_ssize_t size) {
        Py_ssize_t sent = send(fd, from, (size_t)size, MSG_NOSIGNAL | MSG_MORE);
        if (sent == size)
            shutdown(fd, SHUT_WR); /* it fails where the connection is lost, which is found out in other ways */
        return sent < 0 && WOULD_WAIT ? 0 : sent;
    }

    static Py_ssize_t socket_send_pieces(int fd, PyObject *pieces, Py_ssize_t start) {
        struct iovec vector[MOST_PIECES];
        struct msghdr message;
        Py_ssize_t sent, count = PyList_GET_SIZE(pieces), at;
        if (count > MOST_PIECES)
            count = MOST_PIECES;
        for (at = 0; at < count; at++) {
            PyObject *piece = PyList_GET_ITEM(pieces, at);
            vector[at].iov_base = PyBytes_AS_STRING(piece) + (at ? 0 : start);
            vector[at].iov_len = (size_t)(PyBytes_GET_SIZE(piece) - (at ? 0 : start));
        }
        memset(&message, 0, sizeof message);
        message.msg_iov = vector;
        message.msg_iovlen = (size_t)count;
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        return sent < 0 && WOULD_WAIT ? 0 : sent;
    }

    /* An address as `socket` has it; None, without an error, where it is not of IPv4 or IPv6. */
    static PyObject *address_object(const struct sockaddr_storage *address) {
        char text[INET6_ADDRSTRLEN];
        if (address->ss_family == AF_INET) {
            const struct sockaddr_in *four = (const struct sockaddr_in *)address;
            if (inet_ntop(AF_INET, &four->sin_addr, text, sizeof text))
                return Py_BuildValue("(si)", text, ntohs(four->sin_port));
        } else if (address->ss_family == AF_INET6) {
            const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
            if (inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text))
                return Py_BuildValue("(siII)", text, ntohs(six->sin6_port), ntohl(six->sin6_flowinfo),
                                     (unsigned int)six->sin6_scope_id);
        }
        Py_RETURN_NONE;
    }

    static int socket_accept(int fd, struct sockaddr_storage *address) {
        socklen_t size = sizeof *address;
        address->ss_family = AF_UNSPEC;
        return accept4(fd, (struct sockaddr *)address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }

    static int socket_name(int fd, struct sockaddr_storage *address, int is_peer) {
        socklen_t size = sizeof *address;
        return (is_peer ? getpeername : getsockname)(fd, (struct sockaddr *)address, &size);
    }

    #else

    static char read_space[1];
    struct sockaddr_storage_of_none { int none; };
    #define sockaddr_storage sockaddr_storage_of_none
    static int unsupported(void) { errno = ENOSYS; return -1; }
    #define poll_create() unsupported()
    #define poll_change(poller, fd, before, after, is_edge) unsupported()
    #define poll_wait(poller, ready, room) unsupported()
    #define poll_close(poller) ((void)(poller))
    #define socket_receive(fd, to, size) unsupported()
    #define socket_send(fd, from, size) unsupported()
    #define socket_send_last(fd, from, size) unsupported()
    #define socket_send_pieces(fd, pieces, start) unsupported()
    #define socket_accept(fd, address) unsupported()
    #define socket_name(fd, address, is_peer) unsupported()
    static PyObject *address_object(const struct sockaddr_storage *address) { Py_RETURN_NONE; }

    #endif
    """
    enum:
        ROOM_TO_READ
    struct sockaddr_storage:
        pass
    char *read_space
    int poll_create()
    int poll_change(int poller, int fd, int before, int after, bint is_edge)
    int poll_wait(int poller, epoll_event *ready, int room)
    void poll_close(int poller)
    Py_ssize_t socket_receive(int fd, char *to, Py_ssize_t size)
    Py_ssize_t socket_send(int fd, const char *data, Py_ssize_t size)
    Py_ssize_t socket_send_last(int fd, const char *data, Py_ssize_t size)
    Py_ssize_t socket_send_pieces(int fd, list pieces, Py_ssize_t start)
    int socket_accept(int fd, sockaddr_storage *address)
    int socket_name(int fd, sockaddr_storage *address, bint is_peer)
    object address_object(const sockaddr_storage *address)

cdef extern from *:
    """
    static int event_socket(const struct epoll_event *event) { return event->data.fd; }
    static int event_kinds(const struct epoll_event *event) { return (int)event->events; }
    """
    int event_socket(const epoll_event *event)
    int event_kinds(const epoll_event *event)

HAS_POLLER = hasattr(select, "epoll")
READABLE = 1
WRITABLE = 4
ENDING = 0x2000
MAX_READY = ROOM


cdef class Poller:
    """An epoll instance.

    Raises:
        OSError: the system gives none.
    """

    def __cinit__(self):
        self._fd = poll_create()
        if self._fd < 0:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        self.close()

    cpdef int fileno(self) noexcept:
        """The descriptor, which is readable when any socket is ready; -1 once closed."""
        return self._fd

    cpdef watch(self, int fd, int before, int after):
        """Watch `fd` for `after` in place of `before`, each a sum of READABLE and WRITABLE; 0 is not to watch it.

        Raises:
            OSError: the system does not take that.
        """
        if before != after and poll_change(self._fd, fd, before, after, False) < 0:
            PyErr_SetFromErrno(OSError)

    cpdef watch_edges(self, int fd, int before, int after):
        """Do so, and be told of what is there now and of what is new, each time only once.

        Raises:
            OSError: the system does not take that.
        """
        if (before or after) and poll_change(self._fd, fd, before, after, True) < 0:
            PyErr_SetFromErrno(OSError)

    cpdef int wait(self) except -1:
        """Look what is ready now, and return the number of sockets that are."""
        self._count = poll_wait(self._fd, self._ready, ROOM)
        if self._count < 0:
            self._count = 0
            PyErr_SetFromErrno(OSError)
        return self._count

    cpdef int ready_fd(self, int index) noexcept:
        """The socket; -1 where there is no such one any more."""
        return event_socket(&self._ready[index]) if 0 <= index < self._count else -1

    cpdef int ready_events(self, int index) noexcept:
        """What it is ready for. Any other number than these means that something has happened to the connection."""
        return event_kinds(&self._ready[index]) if 0 <= index < self._count else 0

    cpdef close(self):
        """End it; nothing is watched any more."""
        if self._fd >= 0:
            poll_close(self._fd)
            self._fd = -1


cpdef bytes receive(int fd, Py_ssize_t size):
    """Return up to `size` bytes, none at the end of the input; None when nothing has come.

    Raises:
        OSError: the connection has failed.
    """
    cdef Py_ssize_t got = socket_receive(fd, read_space, size if size < ROOM_TO_READ else ROOM_TO_READ)
    if got >= 0:
        return PyBytes_FromStringAndSize(read_space, got)
    if got == -1:
        PyErr_SetFromErrno(OSError)
    return None


cpdef Py_ssize_t receive_into(int fd, buffer) except -2:
    """Read into a writable buffer; return the number of bytes, 0 at the end of the input, -1 when nothing has come.

    Raises:
        OSError: the connection has failed.
        ValueError: there is no room in the buffer, which would look like the end.
    """
    cdef Py_buffer view
    cdef Py_ssize_t got = 0
    cdef Py_ssize_t size
    PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
    size = view.len
    if size:
        got = socket_receive(fd, <char *>view.buf, size)
    PyBuffer_Release(&view)  # leaves errno alone: what it frees is no system call's
    if not size:
        raise ValueError("an empty buffer to read into")
    if got == -1:
        PyErr_SetFromErrno(OSError)
    return -1 if got == -2 else got


cpdef Py_ssize_t send(int fd, bytes data) except -1:
    """Return the number of bytes of `data` that were taken.

    Raises:
        OSError: the connection has failed.
    """
    cdef Py_ssize_t sent = socket_send(fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    if sent < 0:
        PyErr_SetFromErrno(OSError)
    return sent


cpdef Py_ssize_t send_last(int fd, bytes data) except -1:
    """Do so for bytes behind which the socket is closed at once: where it can be, they leave together with our end.

    Raises:
        OSError: the connection has failed.
    """
    cdef Py_ssize_t sent = socket_send_last(fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    if sent < 0:
        PyErr_SetFromErrno(OSError)
    return sent


cpdef Py_ssize_t send_pieces(int fd, list pieces, Py_ssize_t start) except -1:
    """Return the number of bytes that were taken of `pieces`, at most 64, the first one from `start` on.

    Raises:
        OSError: the connection has failed.
    """
    cdef Py_ssize_t sent = socket_send_pieces(fd, pieces, start)
    if sent < 0:
        PyErr_SetFromErrno(OSError)
    return sent


cpdef tuple accept(listener):
    """Take a connection that waits at `listener`; return its socket, which does not block, and its address.

    Raises:
        BlockingIOError: none waits.
        OSError: it could not be taken.
    """
    cdef sockaddr_storage address
    cdef int fd = socket_accept(listener.fileno(), &address)
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    try:
        peer = address_object(&address)
        return (fd, _unusual_address(fd, listener.family, True) if peer is None else peer)
    except BaseException:
        poll_close(fd)
        raise


cpdef local_address(int fd, int family):
    """Return our own address, as `socket` has it.

    Raises:
        OSError: there is none any more.
    """
    cdef sockaddr_storage address
    if socket_name(fd, &address, False) < 0:
        PyErr_SetFromErrno(OSError)
    ours = address_object(&address)
    return _unusual_address(fd, family, False) if ours is None else ours


cdef _unusual_address(int fd, family, bint is_peer):
    borrowed = socket.socket(family, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        return borrowed.getpeername() if is_peer else borrowed.getsockname()
    finally:
        borrowed.detach()
