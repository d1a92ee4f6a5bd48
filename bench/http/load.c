/* The client side of the HTTP comparison: one thread, epoll, requests that are made once.
 *
 * usage: load MODE PORT CONNECTIONS DEPTH RATE WARM_UP SECONDS REQUEST BODY PIDS [AUTHORITY]
 *
 * MODE is one of
 *   flat   every connection sends DEPTH requests at once, again when all are answered
 *   http2  every connection has DEPTH requests under way, each on its stream: one that is answered is followed by another
 *   rate   RATE requests per second, whatever the server does; see run_rate()
 *   idle   every connection makes one request and is silent then, until stdin ends
 *   held   the same, with responses of which only the beginning comes
 *
 * REQUEST is a file with one request (for HTTP/2 with two HEADERS frames: the first one of a connection, and all others),
 * BODY one with the body that must come back, with status 200. PIDS are the processes of the server, comma-separated,
 * whose CPU time is read. With AUTHORITY, a file, the connections are TLS 1.3 and the certificate is checked; this needs
 * a build with -DWITH_TLS.
 *
 * A connection ends behind a response if that says so, or the request does; over HTTP/2, behind the last of those that
 * GOAWAY leaves, or of REQUESTS_EACH. A new one takes its place. This side closes it once the response is there, as most
 * clients do.
 *
 * Under load this never sleeps: it asks epoll again and again. A thread that sleeps has to be woken by the server's
 * writes, and how dear that is depends on the machine and not on the server.
 *
 * It prints JSON, one object per line; a line that starts with "error:" says what went wrong.
 */
#include "http2.h"
#include "response.h"
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

enum { FLAT, RATE, IDLE, HELD };
enum { CONNECTING, SHAKING, OPEN, ENDING, GONE };

#define OPENING_AT_ONCE 32 /* fewer than any server's backlog */
#define ANSWER_LIMIT 10.0  /* seconds without progress */
#define OVERTIME 5.0       /* seconds that answers may come late at a fixed rate */
#define CLOSE "\r\nConnection: close\r\n"
#define CHECK_EVERY 64     /* in the window; before it every body is compared whole */
#define INPUT_SIZE (512 * 1024)
#define DROP_SIZE (32 * 1024) /* a body of which more than this is to come is not copied if it is not compared */

struct connection {
    int fd;
    uint8_t state;
    uint8_t armed;    /* whether epoll watches for writability */
    uint32_t waiting; /* responses to come */
    size_t out;       /* bytes that are not sent yet; what is sent are copies of the request */
    uint64_t scheduled, answered; /* at a fixed rate */
    struct response response;
    struct http2 *http2;
#ifdef WITH_TLS
    SSL *tls;
#endif
};

static int mode, port, count, depth, poller, has_tls, is_http2, asks_to_close;
static double rate, warm_up, seconds;
static const char *pids;
static struct connection *all;
static uint8_t *requests; /* DEPTH copies */
static size_t request_size;
static uint8_t input[INPUT_SIZE];

static int opened, opening, started, lost, sending, in_window, told;
static uint64_t received, compared, reopened, polls, empty_polls;

static double began, period; /* at a fixed rate */
static float *latencies;
static size_t latency_count, latency_room;

#ifdef WITH_TLS
static SSL_CTX *context;
#endif

static void fill(struct connection *c);

static void watch(struct connection *c, int operation, int writable)
{
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
    c->armed = (uint8_t)writable;
}

static void connect_it(struct connection *c)
{
    c->fd = start_connecting(port);
    c->state = CONNECTING;
    c->waiting = 0;
    c->out = 0;
    c->response.phase = HEAD;
    c->response.text_size = 0;
    c->response.is_last = 0;
    if (is_http2)
        c->http2 = begin_http2(c->http2);
    watch(c, EPOLL_CTL_ADD, 1);
}

static void close_it(struct connection *c)
{
#ifdef WITH_TLS
    SSL_free(c->tls);
    c->tls = NULL;
#endif
    close(c->fd);
    c->fd = -1;
}

/* -- bytes. What these return is as from send() and recv(), with -1 for "later" only. */

#ifdef WITH_TLS
static ssize_t tls_result(struct connection *c, int n)
{
    if (n > 0)
        return n;
    switch (SSL_get_error(c->tls, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        if (c->response.is_last) /* some servers close without saying so over TLS */
            return 0;
        fail("TLS: %s", ERR_error_string(ERR_get_error(), NULL));
    }
}
#endif

static ssize_t put(struct connection *c, const uint8_t *from, size_t size)
{
#ifdef WITH_TLS
    if (c->tls)
        return tls_result(c, SSL_write(c->tls, from, (int)size));
#endif
    ssize_t n = send(c->fd, from, size, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        fail("a connection was lost: %s", strerror(errno));
    return n;
}

static ssize_t get(struct connection *c, uint8_t *to, size_t size, int flags)
{
#ifdef WITH_TLS
    if (c->tls)
        return tls_result(c, SSL_read(c->tls, to, (int)size));
#endif
    ssize_t n = recv(c->fd, to, size, flags);
    if (n < 0 && errno == ECONNRESET && c->response.is_last)
        return 0;
    if (n < 0 && errno != EAGAIN)
        fail("a connection was lost: %s", strerror(errno));
    return n;
}

/* Sends what can be sent now, and says how much that is. */
static size_t send_some(struct connection *c, const uint8_t *from, size_t size)
{
    size_t sent = 0;
    for (ssize_t n; sent < size && (n = put(c, from + sent, size - sent)) > 0;)
        sent += (size_t)n;
    if (c->armed != (sent < size))
        watch(c, EPOLL_CTL_MOD, sent < size);
    return sent;
}

static void flush_out(struct connection *c)
{
    struct http2 *h = c->http2;
    if (!h) {
        c->out -= send_some(c, requests + request_size * (size_t)depth - c->out, c->out);
        return;
    }
    size_t sent = send_some(c, h->out, h->out_size);
    h->out_size -= sent;
    memmove(h->out, h->out + sent, h->out_size);
}

/* -- what to send, and when a response is whole */

static void ask(struct connection *c)
{
    c->waiting = (uint32_t)depth;
    c->out = request_size * (size_t)depth;
    flush_out(c);
}

/* Sends a request for each one that was answered, and what else is due, in one write. */
static void fill_streams(struct connection *c)
{
    struct http2 *h = c->http2;
    while (sending && !h->is_ending && h->in_flight < most_streams)
        put_request(h);
    c->waiting = h->in_flight;
    if (h->out_size)
        flush_out(c);
}

/* Sends requests if the connection is free and there is reason to. */
static void fill(struct connection *c)
{
    if (c->state != OPEN)
        return;
    if (is_http2) {
        fill_streams(c);
        return;
    }
    if (c->waiting || c->response.is_last)
        return;
    if (mode == RATE ? c->scheduled > c->answered : mode == FLAT && sending)
        ask(c);
}

static void answered(struct connection *c)
{
    received++;
    c->waiting--;
    if (mode == RATE) {
        double due = began + (double)(c - all) * period + (double)c->answered++ * (double)count * period;
        if (due >= began + warm_up && latency_count < latency_room)
            latencies[latency_count++] = (float)(now() - due);
    } else if (mode == IDLE) {
        opening--;
        opened++;
    }
    if (c->response.is_last) {
        c->state = ENDING;
        c->waiting = 0; /* what was pipelined behind it goes unanswered */
    }
}

/* Whether the body of a response that begins now is compared. */
static int is_compared(void)
{
    return !in_window || received % CHECK_EVERY == 0;
}

static void begun(struct connection *c)
{
    c->response.is_checked = (uint8_t)is_compared();
    c->response.is_last |= (uint8_t)asks_to_close;
    if (mode == HELD) {
        opening--;
        opened++;
    }
}

static void whole(struct connection *c)
{
    if (c->out)
        fail("wrong answer: it came before the request was sent");
    if (!c->waiting)
        fail("wrong answer: one more than was asked for");
    compared += c->response.is_checked;
    answered(c);
}

static void data_in(struct connection *c, size_t n)
{
    int event = NOTHING;
    for (size_t used = 0; used < n || event == BEGUN;) {
        if (c->state != OPEN)
            fail("wrong answer: data behind the last response");
        used += take_response(&c->response, input + used, n - used, &event);
        if (event == BEGUN)
            begun(c);
        else if (event == WHOLE)
            whole(c);
    }
}

/* Takes frames from the start of the input, and keeps the beginning of the last one for the next time. */
static void frames_in(struct connection *c, size_t n)
{
    struct http2 *h = c->http2;
    size_t used = 0;
    int event;
    for (size_t size; (size = take_frame(h, input + used, n - used, is_compared(), &event)); used += size)
        if (event == WHOLE) {
            received++;
            compared += h->was_checked;
        }
    h->part_size = n - used;
    memcpy(h->part, input + used, h->part_size);
    c->response.is_last = h->is_ending;
    if (h->is_ending && !h->in_flight)
        c->state = ENDING;
}

/* -- the life of a connection */

static void ended(struct connection *c)
{
    int was_last = c->state == ENDING;
    close_it(c);
    if (was_last && (mode == FLAT || mode == RATE)) {
        reopened++;
        connect_it(c);
        return;
    }
    c->state = GONE;
    if (sending || mode == RATE || opened < count)
        fail("a connection was lost");
    lost++;
}

/* Takes all that is there before it sends: over TLS, several records can hold what came in one write. */
static void frames_readable(struct connection *c)
{
    ssize_t n;
    do {
        size_t before = c->http2->part_size;
        memcpy(input, c->http2->part, before);
        n = get(c, input + before, INPUT_SIZE - before, 0);
        if (n > 0)
            frames_in(c, before + (size_t)n);
    } while (has_tls && n > 0 && c->state == OPEN);
    if (!n || c->state == ENDING)
        ended(c);
    else
        fill(c);
}

static void readable(struct connection *c)
{
    if (is_http2) {
        frames_readable(c);
        return;
    }
    do {
        struct response *r = &c->response;
        int drops = r->phase == BODY && !r->is_checked && r->left > DROP_SIZE && !has_tls;
        ssize_t n = get(c, input, drops ? (size_t)r->left : INPUT_SIZE, drops ? MSG_TRUNC : 0);
        if (n < 0)
            return;
        if (n == 0) {
            ended(c);
            return;
        }
        if (!drops)
            data_in(c, (size_t)n);
        else if (take_body(r, NULL, (size_t)n) == WHOLE)
            whole(c);
        if (c->state == ENDING && (mode == FLAT || mode == RATE)) {
            ended(c);
            return;
        }
        fill(c);
    } while (has_tls);
}

static void connected(struct connection *c)
{
    c->state = OPEN;
    if (c->armed)
        watch(c, EPOLL_CTL_MOD, 0);
    if (mode == IDLE || mode == HELD)
        ask(c);
    else {
        if (opened < count) {
            opening--;
            opened++;
        }
        fill(c);
    }
}

#ifdef WITH_TLS
static void shake(struct connection *c)
{
    const uint8_t *chosen;
    unsigned size;
    if (tls_result(c, SSL_connect(c->tls)) <= 0)
        return;
    SSL_get0_alpn_selected(c->tls, &chosen, &size);
    if (is_http2 && (size != 2 || memcmp(chosen, "h2", 2)))
        fail("the server does not choose HTTP/2");
    connected(c);
}
#endif

static void writable(struct connection *c)
{
    if (c->state == OPEN) {
        flush_out(c);
        return;
    }
    if (c->state != CONNECTING)
        return;
    check_connected(c->fd);
#ifdef WITH_TLS
    if (has_tls) {
        c->tls = SSL_new(context);
        SSL_set_fd(c->tls, c->fd);
        c->state = SHAKING;
        watch(c, EPOLL_CTL_MOD, 0);
        shake(c);
        return;
    }
#endif
    connected(c);
}

static int turn(int timeout)
{
    struct epoll_event events[256];
    int n = epoll_wait(poller, events, 256, timeout);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (!c) {
            told = 1;
            continue;
        }
        if (events[i].events & EPOLLOUT)
            writable(c);
#ifdef WITH_TLS
        if (c->state == SHAKING && events[i].events & EPOLLIN) {
            shake(c);
            continue;
        }
#endif
        if ((c->state == OPEN || c->state == ENDING) && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            readable(c);
    }
    polls++;
    empty_polls += n == 0;
    return n;
}

static void open_all(void)
{
    double moved = now();
    while (opened < count) {
        while (started < count && opening < OPENING_AT_ONCE) {
            opening++;
            connect_it(&all[started++]);
        }
        if (turn(0) > 0)
            moved = now();
        else if (now() - moved > ANSWER_LIMIT)
            fail("%d of %d connections answered, then nothing for %.0f s", opened, count, ANSWER_LIMIT);
    }
}

static void spin(double until)
{
    do
        for (int i = 0; i < 16; i++)
            turn(0);
    while (now() < until);
}

/* Takes what is still in flight. */
static void drain(void)
{
    sending = 0;
    for (double limit = now() + ANSWER_LIMIT;;) {
        uint64_t due = 0;
        for (int i = 0; i < count; i++)
            due += all[i].waiting;
        if (!due)
            return;
        if (now() > limit)
            fail("%llu requests were never answered", (unsigned long long)due);
        turn(10);
    }
}

/* -- the modes */

static void run_flat(void)
{
    open_all();
    sending = 1;
    for (int i = 0; i < count; i++)
        fill(&all[i]);
    spin(now() + warm_up);
    in_window = 1;
    uint64_t requests_then = received, polls_then = polls, empty_then = empty_polls;
    double cpu = cpu_time(pids), from = now();
    spin(from + seconds);
    double wall = now() - from;
    cpu = cpu_time(pids) - cpu;
    uint64_t answers = received - requests_then;
    double idle = (double)(empty_polls - empty_then) / (double)(polls - polls_then);
    in_window = 0;
    drain();
    printf("{\"requests\": %llu, \"wall\": %.6f, \"cpu\": %.9f, \"waiting\": %.4f, \"compared\": %llu, "
           "\"reopened\": %llu}\n",
           (unsigned long long)answers, wall, cpu, idle, (unsigned long long)compared, (unsigned long long)reopened);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The latency in microseconds that a share of the requests did not exceed. */
static double percentile(double share)
{
    if (!latency_count)
        return 0;
    size_t place = (size_t)(share * (double)latency_count);
    return (double)latencies[place < latency_count ? place : latency_count - 1] * 1e6;
}

/* Requests fall due at a constant rate, on one connection after the other, before anything is known of their answers.
 * A connection takes one at a time; a request that falls due while the last one is not answered waits, and its latency
 * counts from when it was due, not from when it could be sent. A server that stands still for 100 ms is so charged with
 * all requests of these 100 ms, not with one per connection. */
static void run_rate(void)
{
    uint64_t before = 0, next = 0, total = (uint64_t)(rate * (warm_up + seconds)), first = (uint64_t)(rate * warm_up);
    double cpu = 0, last = 0, stall = 0;
    latency_room = (size_t)(total - first) + 1;
    latencies = malloc(latency_room * sizeof *latencies);
    if (!latencies)
        fail("no memory");
    open_all();
    period = 1 / rate;
    began = now();
    while (next < total) {
        double t = now();
        if (next >= first) {
            if (!in_window) {
                in_window = 1;
                before = received;
                cpu = cpu_time(pids);
                last = t;
            }
            stall = t - last > stall ? t - last : stall;
            last = t;
        }
        for (; next < total && began + (double)next * period <= t; next++) {
            struct connection *c = &all[next % (uint64_t)count];
            c->scheduled++;
            fill(c);
        }
        turn(0);
    }
    cpu = cpu_time(pids) - cpu;
    uint64_t in_time = latency_count, answers = received - before;
    for (double limit = now() + OVERTIME; latency_count < total - first && now() < limit;)
        turn(0);
    size_t late = (size_t)(total - first) - latency_count;
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    printf("{\"due\": %llu, \"in_time\": %llu, \"unanswered\": %zu, \"requests\": %llu, \"wall\": %.6f, "
           "\"cpu\": %.9f, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"highest\": %.1f, \"stall\": %.1f}\n",
           (unsigned long long)(total - first), (unsigned long long)in_time, late, (unsigned long long)answers,
           seconds, cpu, percentile(0.5), percentile(0.99), percentile(0.999), percentile(1), stall * 1e6);
}

static void run_silent(void)
{
    double from = now(), cpu = cpu_time(pids);
    open_all();
    printf("{\"open\": %d, \"wall\": %.6f, \"cpu\": %.9f}\n", opened, now() - from, cpu_time(pids) - cpu);
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event))
        fail("stdin: %s", strerror(errno));
    while (!told)
        turn(-1);
    printf("{\"lost\": %d}\n", lost);
}

static void prepare_tls(const char *authority)
{
    has_tls = 1;
#ifdef WITH_TLS
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_locations(context, authority, NULL) != 1)
        fail("%s: %s", authority, ERR_error_string(ERR_get_error(), NULL));
    if (is_http2)
        SSL_CTX_set_alpn_protos(context, (const uint8_t *)"\2h2", 3);
#else
    fail("%s: built without TLS", authority);
#endif
}

static void arguments(char **v)
{
    static const char *modes[] = {"flat", "rate", "idle", "held"};
    is_http2 = !strcmp(v[1], "http2");
    for (mode = 0; mode < 4 && !is_http2 && strcmp(v[1], modes[mode]);)
        mode++;
    port = atoi(v[2]);
    count = atoi(v[3]);
    depth = atoi(v[4]);
    rate = atof(v[5]);
    warm_up = atof(v[6]);
    seconds = atof(v[7]);
    uint8_t *request = read_file(v[8], &request_size);
    body = read_file(v[9], &body_size);
    pids = v[10];
    requests = malloc((size_t)depth * request_size);
    all = calloc((size_t)count, sizeof *all);
    if (mode == 4 || count < 1 || depth < 1)
        fail("arguments that make no sense");
    if (!requests || !all)
        fail("no memory");
    if (is_http2)
        prepare_http2(request, request_size, (uint32_t)depth);
    asks_to_close = !is_http2 && memmem(request, request_size, CLOSE, strlen(CLOSE)) != NULL;
    for (int i = 0; i < depth; i++)
        memcpy(requests + (size_t)i * request_size, request, request_size);
}

int main(int argc, char **argv)
{
    if (argc != 11 && argc != 12)
        fail("ten or eleven arguments are needed");
    arguments(argv);
    if (argc == 12)
        prepare_tls(argv[11]);
    raise_file_limit();
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (mode == FLAT)
        run_flat();
    else if (mode == RATE)
        run_rate();
    else
        run_silent();
    return 0;
}
