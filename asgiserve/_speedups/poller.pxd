cdef extern from *:
    """
    /* epoll is Linux's. Elsewhere this module compiles, and nothing makes a Poller. */
    #include <errno.h>
    #include <stdint.h>
    #include <string.h>
    #ifdef __linux__
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <unistd.h>
    #else
    struct epoll_event { uint32_t events; struct { int fd; } data; };
    #endif
    """
    struct epoll_event:
        pass

cdef enum:
    ROOM = 128

cdef class Poller:
    cdef int _fd
    cdef int _count
    cdef epoll_event _ready[ROOM]

    cpdef int fileno(self) noexcept
    cpdef watch(self, int fd, int before, int after)
    cpdef watch_edges(self, int fd, int before, int after)
    cpdef int wait(self) except -1
    cpdef int ready_fd(self, int index) noexcept
    cpdef int ready_events(self, int index) noexcept
    cpdef close(self)

cpdef bytes receive(int fd, Py_ssize_t size)
cpdef Py_ssize_t receive_into(int fd, buffer) except -2
cpdef Py_ssize_t send(int fd, bytes data) except -1
cpdef Py_ssize_t send_last(int fd, bytes data) except -1
cpdef Py_ssize_t send_pieces(int fd, list pieces, Py_ssize_t start) except -1
cpdef tuple accept(listener)
cpdef local_address(int fd, int family)
