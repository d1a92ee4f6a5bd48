from asgiserve._speedups.batch cimport Batch
from asgiserve._speedups.exchange cimport Exchange, SpareExchange
from asgiserve._speedups.figures cimport Figures
from asgiserve._speedups.launch cimport Launcher, is_done
from asgiserve._speedups.lines cimport Lines
from asgiserve._speedups.reader cimport Limits
from asgiserve._speedups.scope cimport ConnectionScope, Paths
from asgiserve._speedups.wire cimport CommonFields

cdef class ServerState:
    cdef public object app
    cdef public object loop
    cdef public Lines access_log
    cdef public object clock
    cdef public bint times_requests
    cdef public Figures figures
    cdef public bint logs_headers
    cdef public bint is_tracing
    cdef public object forwarding
    cdef public object http2
    cdef public dict lifespan_state
    cdef public set connections
    cdef public set tasks
    cdef public long long active
    cdef public long long total_requests
    cdef public double now
    cdef public bint stopping
    cdef public Launcher launcher
    cdef public SpareExchange spare
    cdef public Batch batch
    cdef public Limits limits
    cdef public CommonFields common
    cdef public Paths paths
    cdef public ConnectionScope last_scope
    cdef public long long limit_concurrency
    cdef public bint serves_websockets
    cdef public long long ws_max_size
    cdef public Py_ssize_t ws_max_queue
    cdef public double ws_ping_interval
    cdef public double ws_ping_timeout
    cdef public bint ws_per_message_deflate
    cdef public double timeout_keep_alive
    cdef public double timeout_headers
    cdef public double timeout_body
    cdef public double timeout_write
    cdef public double timeout_request
    cdef bint _has_date
    cdef long long _second

    cpdef tick(self, double now, double wall)

    cpdef run(self, Exchange exchange, dict scope)
