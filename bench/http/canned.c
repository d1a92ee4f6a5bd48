/* The floor of every server on this kernel: epoll, recv and send, and nothing between them.
 *
 * usage: canned PORT RESPONSE CLOSE
 *
 * Every empty line that comes is answered with the bytes of the file RESPONSE; with CLOSE = 1 the connection is closed
 * then. Requests are not looked at, so they have to be without a body.
 */
#include "../client.h"

#include <signal.h>

#define INPUT_SIZE (64 * 1024)
#define AT_ONCE 16 /* copies of the response that one send() can take */

struct connection {
    int fd;
    int line;      /* how much of the empty line the last read ended with */
    uint64_t left; /* bytes that the socket did not take */
};

static uint8_t *responses;
static size_t size;
static int poller, closes;

static void end(struct connection *c)
{
    close(c->fd);
    free(c);
}

static void watch(struct connection *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

/* Sends what is left. Reading stops while the socket takes no more. */
static void answer(struct connection *c, int is_waiting)
{
    while (c->left) {
        /* What is sent ends where a response ends. */
        uint64_t most = (uint64_t)size * AT_ONCE, part = c->left % size;
        size_t n = (size_t)(c->left <= most ? c->left : part ? part : most);
        ssize_t done = send(c->fd, responses + (size - n % size) % size, n, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN) {
            end(c);
            return;
        }
        if (done < 0) {
            if (!is_waiting)
                watch(c, EPOLL_CTL_MOD, EPOLLOUT);
            return;
        }
        c->left -= (uint64_t)done;
    }
    if (closes)
        end(c);
    else if (is_waiting)
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

/* How many empty lines there are; one may be spread over several reads. */
static uint64_t count_ends(struct connection *c, const uint8_t *p, const uint8_t *stop)
{
    static const char line[] = "\r\n\r\n";
    uint64_t found = 0;
    while (p < stop) {
        if (c->line == 0 && !(p = memchr(p, '\r', (size_t)(stop - p))))
            break;
        c->line = *p == line[c->line] ? c->line + 1 : *p == '\r';
        p++;
        if (c->line == 4) {
            found++;
            c->line = 0;
        }
    }
    return found;
}

static void readable(struct connection *c)
{
    static uint8_t input[INPUT_SIZE];
    ssize_t n = recv(c->fd, input, sizeof input, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        end(c);
        return;
    }
    c->left = count_ends(c, input, input + n) * size;
    if (c->left)
        answer(c, 0);
}

static void accept_all(int listener)
{
    for (;;) {
        int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            fail("no memory");
        c->fd = fd;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static int open_listener(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 2048))
        fail("port %d: %s", port, strerror(errno));
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        fail("three arguments are needed");
    uint8_t *response = read_file(argv[2], &size);
    closes = atoi(argv[3]);
    responses = malloc(size * (AT_ONCE + 1));
    if (!responses || !size)
        fail("no response");
    for (int i = 0; i <= AT_ONCE; i++)
        memcpy(responses + (size_t)i * size, response, size);
    raise_file_limit();
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = open_listener(atoi(argv[1]));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr)
                accept_all(listener);
            else if (events[i].events & EPOLLOUT)
                answer(events[i].data.ptr, 1);
            else
                readable(events[i].data.ptr);
        }
    }
}
