/* The client side of the WebSocket comparison: one thread, epoll, frames that are made once.
 *
 * usage: load MODE PORT CONNECTIONS DEPTH WARM_UP SECONDS SENT EXPECTED COMPRESSED PIDS
 *
 * MODE is echo (every connection keeps DEPTH messages in flight), broadcast (the first connection keeps DEPTH
 * messages in flight, all connections get each) or idle (one echo per connection, then silence). SENT is a file with
 * a masked client frame, EXPECTED one with the frame that comes back. COMPRESSED is a file with what is sent instead
 * to a server that agrees to compress, which then decides itself about the bytes that come back; `-` offers no
 * compression. PIDS are the processes of the server, comma-separated, whose CPU time is read.
 *
 * Under load it never sleeps: it asks epoll again and again. A thread that sleeps has to be woken by the server's
 * writes, and how dear that is depends on the machine and not on the server.
 *
 * It prints JSON, one object per line; a line that starts with "error:" says what went wrong.
 */
#include "../client.h"

enum { ECHO, BROADCAST, IDLE };
enum { CONNECTING, OPENING, OPEN, CLOSING, GONE };

#define OPENING_AT_ONCE 32   /* fewer than any server's backlog */
#define ANSWER_LIMIT 30.0    /* seconds without progress while opening or draining */
#define CHECK_EVERY 64       /* in the window; before it every message is compared whole */
#define INPUT_SIZE (512 * 1024)
#define HEAD_SIZE 4096

struct connection {
    int fd;
    uint8_t state;
    uint8_t armed;             /* whether epoll watches for writability */
    uint8_t head_size;         /* bytes of the current frame's head in `head` */
    uint8_t checked;           /* whether the current frame is compared */
    uint8_t control_out;       /* bytes of `control` to send before the next data frame */
    uint8_t head[14];
    uint8_t body[128];         /* payload of a control frame */
    uint8_t control[136];
    uint16_t code;             /* of the close frame that came */
    uint32_t owed;             /* data frames to send */
    uint32_t text_size;        /* of the response head so far */
    size_t sent;               /* bytes of the first owed frame that are out */
    uint64_t payload, left;    /* of the current frame */
    char *text;                /* response head */
};

static const char *REQUEST_LINES =
    "GET / HTTP/1.1\r\nHost: bench.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
static const char *ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
static const uint8_t MASK[4] = {0x37, 0xfa, 0x21, 0x3d};

static int mode, port, count, depth, deflate, poller;
static double warm_up, seconds;
static struct connection *all;
static uint8_t *frames;                    /* DEPTH copies of the frame that is sent */
static size_t frame_size;
static uint8_t *compressed;                /* sent instead where compression was agreed */
static size_t compressed_size;
static uint8_t *expected;                  /* payload that must come back, or NULL */
static uint8_t first_byte;                 /* FIN, RSV and opcode that must come back */
static size_t expected_size;
static uint8_t input[INPUT_SIZE];
static char request[1024];
static const char *pids;

static int opened, opening, answered, started, gone, agreed, sending, in_window;
static uint64_t received, written, compared, polls, empty_polls;
static double last_close, last_end;
static unsigned codes[5000];

static void watch(struct connection *c, int operation, int writable)
{
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
    c->armed = (uint8_t)writable;
}

static void connect_next(void)
{
    struct connection *c = &all[started++];
    c->fd = start_connecting(port);
    c->state = CONNECTING;
    c->text = malloc(HEAD_SIZE + 1);
    opening++;
    watch(c, EPOLL_CTL_ADD, 1);
}

static void end(struct connection *c)
{
    if (c->state == GONE)
        return;
    if (c->state < OPEN)
        fail("a connection was lost in its opening handshake");
    if (sending)
        fail("a connection was lost under load, code %u", c->code ? c->code : 1006);
    c->state = GONE;
    gone++;
    last_end = now();
    codes[c->code ? c->code : 1006]++;
    close(c->fd);
    c->fd = -1;
}

/* Sends what is owed: a control frame between data frames, then as many data frames as the socket takes. */
static void flush_out(struct connection *c)
{
    for (;;) {
        const uint8_t *from;
        size_t size;
        int control = c->control_out && !c->sent;
        if (control) {
            from = c->control;
            size = c->control_out;
        } else if (c->owed) {
            from = frames + c->sent;
            size = (c->sent && c->control_out ? 1 : c->owed) * frame_size - c->sent;
        } else
            break;
        ssize_t n = send(c->fd, from, size, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) {
                end(c);
                return;
            }
            if (!c->armed)
                watch(c, EPOLL_CTL_MOD, 1);
            return;
        }
        if (control) {
            if ((size_t)n != size)
                fail("a control frame was cut");
            c->control_out = 0;
            continue;
        }
        c->sent += (size_t)n;
        uint32_t whole = (uint32_t)(c->sent / frame_size);
        c->owed -= whole;
        c->sent -= whole * frame_size;
        written += whole;
    }
    if (c->armed)
        watch(c, EPOLL_CTL_MOD, 0);
}

static void send_control(struct connection *c, uint8_t opcode, const uint8_t *payload, size_t size)
{
    c->control[0] = 0x80 | opcode;
    c->control[1] = (uint8_t)(0x80 | size);
    memcpy(c->control + 2, MASK, 4);
    for (size_t i = 0; i < size; i++)
        c->control[6 + i] = payload[i] ^ MASK[i & 3];
    c->control_out = (uint8_t)(6 + size);
    flush_out(c);
}

static void control_frame(struct connection *c)
{
    uint8_t opcode = c->head[0] & 15;
    size_t size = (size_t)c->payload;
    if (opcode == 9 && c->state == OPEN)
        send_control(c, 10, c->body, size);
    if (opcode == 8) {
        int answer = c->state == OPEN;
        unsigned code = size >= 2 ? (unsigned)(c->body[0] << 8 | c->body[1]) : 1005;
        if (sending)
            fail("a connection was closed under load, code %u", code);
        c->code = (uint16_t)(code < 5000 ? code : 1002);
        c->state = CLOSING;
        last_close = now();
        if (answer)
            send_control(c, 8, c->body, size >= 2 ? 2 : 0);
    }
}

static void open_done(void)
{
    opening--;
    opened++;
}

/* A whole data message came back. */
static void message(struct connection *c)
{
    received++;
    if (mode == IDLE) {
        open_done();
    } else if (mode == ECHO) {
        c->owed += (uint32_t)sending;
    } else if (received % (uint64_t)count == 0 && sending) {
        all[0].owed++;
        flush_out(&all[0]);
    }
}

static void frame_head(struct connection *c)
{
    uint8_t *h = c->head, opcode = h[0] & 15;
    unsigned small = h[1] & 127;
    c->payload = small;
    if (small >= 126) {
        c->payload = 0;
        for (int i = 2; i < (small == 126 ? 4 : 10); i++)
            c->payload = c->payload << 8 | h[i];
    }
    c->left = c->payload;
    if (h[1] & 128)
        fail("wrong answer: a masked frame");
    if (opcode >= 8) {
        if (c->payload > 125)
            fail("wrong answer: a control frame of %llu bytes", (unsigned long long)c->payload);
        return;
    }
    /* With compression the server may still send small messages as they are. */
    uint8_t ignored = expected ? 0 : 0x40;
    if ((h[0] & ~ignored) != first_byte || (expected && c->payload != expected_size))
        fail("wrong answer: a frame of %llu bytes that starts with %02x", (unsigned long long)c->payload, h[0]);
    c->checked = expected && (!in_window || received % CHECK_EVERY == 0);
}

static size_t head_length(const struct connection *c)
{
    if (c->head_size < 2)
        return 2;
    unsigned small = c->head[1] & 127;
    return small < 126 ? 2 : small == 126 ? 4 : 10;
}

static void frames_in(struct connection *c, const uint8_t *p, size_t n)
{
    while (n || (c->head_size && c->head_size == head_length(c) && !c->left)) {
        if (c->head_size < head_length(c)) {
            c->head[c->head_size++] = *p++;
            n--;
            if (c->head_size < head_length(c))
                continue;
            frame_head(c);
        }
        size_t take = c->left < n ? (size_t)c->left : n, done = (size_t)(c->payload - c->left);
        int control = (c->head[0] & 8) != 0;
        if (control)
            memcpy(c->body + done, p, take);
        else if (c->checked && memcmp(expected + done, p, take))
            fail("wrong answer: other content");
        p += take;
        n -= take;
        c->left -= take;
        if (c->left)
            continue;
        c->head_size = 0;
        if (control)
            control_frame(c);
        else {
            compared += c->checked;
            message(c);
        }
    }
}

/* The response to the opening handshake; what follows it are frames. */
static void response_in(struct connection *c, const uint8_t *p, size_t n)
{
    size_t room = HEAD_SIZE - c->text_size, take = n < room ? n : room, before = c->text_size;
    memcpy(c->text + before, p, take);
    c->text[before + take] = 0;
    c->text_size += (uint32_t)take;
    char *stop = strstr(c->text, "\r\n\r\n");
    if (!stop) {
        if (c->text_size == HEAD_SIZE)
            fail("wrong answer: no end of the response head");
        return;
    }
    *stop = 0;
    if (strncmp(c->text, "HTTP/1.1 101 ", 13) || !strstr(c->text, ACCEPT))
        fail("wrong answer: %.40s", c->text);
    int compresses = strcasestr(c->text, "permessage-deflate") != NULL;
    if (compresses && !deflate)
        fail("wrong answer: compression that was not offered");
    agreed += compresses;
    answered++;
    if (agreed != (compresses ? answered : 0))
        fail("wrong answer: compression on some connections only");
    if (compresses && frames != compressed) {
        frames = compressed;
        frame_size = compressed_size;
        expected = NULL;
    }
    size_t used = (size_t)(stop + 4 - c->text) - before;
    free(c->text);
    c->text = NULL;
    c->state = OPEN;
    if (mode == IDLE) {
        c->owed = 1;
        flush_out(c);
    } else
        open_done();
    frames_in(c, p + used, n - used);
}

static void readable(struct connection *c)
{
    ssize_t n = recv(c->fd, input, sizeof input, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        end(c);
    else if (c->state == OPENING)
        response_in(c, input, (size_t)n);
    else {
        frames_in(c, input, (size_t)n);
        if (c->owed && c->state == OPEN)
            flush_out(c);
    }
}

static void writable(struct connection *c)
{
    if (c->state != CONNECTING) {
        flush_out(c);
        return;
    }
    check_connected(c->fd);
    size_t length = strlen(request);
    if (send(c->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length)
        fail("the request was cut");
    c->state = OPENING;
    watch(c, EPOLL_CTL_MOD, 0);
}

static int turn(int timeout)
{
    struct epoll_event events[256];
    int n = epoll_wait(poller, events, 256, timeout);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->state != GONE && events[i].events & EPOLLOUT)
            writable(c);
        if (c->state != GONE && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
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
        while (started < count && opening < OPENING_AT_ONCE)
            connect_next();
        if (turn(0) > 0)
            moved = now();
        else if (now() - moved > ANSWER_LIMIT)
            fail("%d of %d connections opened, then nothing for %.0f s", opened, count, ANSWER_LIMIT);
        if (gone)
            fail("a connection was lost while others opened");
    }
}

static void spin(double limit)
{
    double until = now() + limit;
    do {
        for (int i = 0; i < 16; i++)
            turn(0);
    } while (now() < until);
}

/* Takes what is still in flight, then closes every connection. */
static void drain(void)
{
    double limit = now() + ANSWER_LIMIT;
    uint64_t copies = mode == BROADCAST ? (uint64_t)count : 1;
    for (;;) {
        int owed = 0;
        for (int i = 0; i < count; i++)
            owed |= all[i].owed != 0;
        if (!owed && received == written * copies)
            break;
        if (now() > limit)
            fail("%llu of %llu messages came back", (unsigned long long)received,
                 (unsigned long long)(written * copies));
        turn(10);
    }
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 255};
    for (int i = 0; i < count; i++)
        if (all[i].state == OPEN)
            all[i].state = CLOSING, send_control(&all[i], 8, normal, 2);
    for (limit = now() + 2.0; gone < count && now() < limit;)
        turn(10);
}

static void run_load(void)
{
    sending = 1;
    for (int i = 0; i < (mode == ECHO ? count : 1); i++) {
        all[i].owed = (uint32_t)depth;
        flush_out(&all[i]);
    }
    spin(warm_up);
    in_window = 1;
    uint64_t messages = received, whole = polls, idle = empty_polls;
    double cpu = cpu_time(pids), began = now();
    spin(seconds);
    double wall = now() - began;
    cpu = cpu_time(pids) - cpu;
    messages = received - messages;
    whole = polls - whole;
    idle = empty_polls - idle;
    in_window = sending = 0;
    drain();
    printf("{\"messages\": %llu, \"wall\": %.6f, \"cpu\": %.6f, \"waiting\": %.4f, \"compared\": %llu}\n",
           (unsigned long long)messages, wall, cpu, whole ? (double)idle / (double)whole : 0.0,
           (unsigned long long)compared);
}

static void run_idle(double began, double cpu)
{
    printf("{\"open\": %d, \"deflate\": %d, \"wall\": %.6f, \"cpu\": %.6f}\n", opened, agreed, now() - began,
           cpu_time(pids) - cpu);
    fflush(stdout);
    /* Whoever started this ends the server, by force if need be, and then all connections end. */
    while (gone < count)
        turn(-1);
    printf("{\"last_close\": %.6f, \"last_end\": %.6f, \"codes\": {", last_close, last_end);
    const char *comma = "";
    for (int i = 0; i < 5000; i++)
        if (codes[i])
            printf("%s\"%d\": %u", comma, i, codes[i]), comma = ", ";
    printf("}}\n");
}

static void arguments(char **v)
{
    mode = !strcmp(v[1], "echo") ? ECHO : !strcmp(v[1], "broadcast") ? BROADCAST : IDLE;
    port = atoi(v[2]);
    count = atoi(v[3]);
    depth = atoi(v[4]);
    warm_up = atof(v[5]);
    seconds = atof(v[6]);
    pids = v[10];
    uint8_t *frame = read_file(v[7], &frame_size);
    size_t copies = depth > 0 ? (size_t)depth : 1;
    frames = malloc(copies * frame_size);
    all = calloc((size_t)count, sizeof *all);
    if (!frames || !all)
        fail("no memory");
    for (size_t i = 0; i < copies; i++)
        memcpy(frames + i * frame_size, frame, frame_size);
    uint8_t *whole = read_file(v[8], &expected_size);
    size_t skip = whole[1] < 126 ? 2 : whole[1] == 126 ? 4 : 10;
    first_byte = whole[0];
    expected = whole + skip;
    expected_size -= skip;
    deflate = strcmp(v[9], "-") != 0;
    if (deflate)
        compressed = read_file(v[9], &compressed_size);
    snprintf(request, sizeof request, "%s%s\r\n", REQUEST_LINES,
             deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "");
}

int main(int argc, char **argv)
{
    if (argc != 11)
        fail("ten arguments are needed");
    arguments(argv);
    raise_file_limit();
    poller = epoll_create1(EPOLL_CLOEXEC);
    double began = now(), cpu = cpu_time(pids);
    open_all();
    if (mode == IDLE)
        run_idle(began, cpu);
    else
        run_load();
    return 0;
}
