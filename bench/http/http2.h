/* Speaking HTTP/2 as a client: requests that are made once, frames in pieces of any size, and comparing responses with
 * what must come.
 *
 * The fields of responses are not decoded, but for the status, which is the first one. */
#ifndef BENCH_HTTP2_H
#define BENCH_HTTP2_H

#include "response.h"

/* On a connection. After a few more than these, hypercorn ends it, and after 4096 uvicorn does, both without an answer to
 * requests that are under way; as a limit of servers it is common. */
#ifndef REQUESTS_EACH
#define REQUESTS_EACH 1000
#endif
#define FRAME_HEAD 9
#define FRAME_LIMIT 16384 /* bytes of content, unless a client allows more */
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define WINDOW (1u << 30)
#define CONTROL_SIZE 4096 /* room for what is no request: a preface, and answers to SETTINGS and PING */
#define TABLE_SIZE 4096   /* of fields to refer to, unless a server wants less */

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8 };
enum { HEADER_TABLE_SIZE = 1, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE };

struct stream {
    uint32_t id; /* 0 where there is none */
    uint8_t has_begun;
    uint8_t is_checked;
    size_t place; /* in the body */
};

struct http2 {
    uint32_t next_id;
    uint32_t in_flight;
    uint32_t taken;      /* bytes of DATA that the server has no new credit for */
    uint8_t is_ending;   /* there are no more requests on this connection */
    uint8_t was_checked; /* whether the body of the last response was compared */
    size_t out_size, part_size;
    uint8_t *out;                           /* what is not sent yet */
    uint8_t part[FRAME_HEAD + FRAME_LIMIT]; /* the beginning of a frame that has not come whole */
    struct stream streams[];
};

/* HEADERS frames without the stream's id: the first one on a connection, which fills the table, and all others. */
static const uint8_t *first_request, *next_request;
static size_t first_size, next_size, out_room;
static uint32_t most_streams; /* in flight on a connection */

static uint32_t get_number(const uint8_t *p, int size)
{
    uint32_t value = 0;
    while (size--)
        value = value << 8 | *p++;
    return value;
}

static void put_number(uint8_t *p, uint32_t value, int size)
{
    while (size--) {
        p[size] = (uint8_t)value;
        value >>= 8;
    }
}

/* Where so many bytes of output go. */
static uint8_t *extend(struct http2 *h, size_t size)
{
    if (h->out_size + size > out_room)
        fail("too much to answer");
    h->out_size += size;
    return h->out + h->out_size - size;
}

static void put_frame(struct http2 *h, uint8_t type, uint8_t flags, const uint8_t *content, size_t size)
{
    uint8_t *p = extend(h, FRAME_HEAD + size);
    put_number(p, (uint32_t)size, 3);
    p[3] = type;
    p[4] = flags;
    put_number(p + 5, 0, 4);
    if (size)
        memcpy(p + FRAME_HEAD, content, size);
}

/* Credit for more DATA on the connection. */
static void put_credit(struct http2 *h, uint32_t size)
{
    uint8_t content[4];
    put_number(content, size, 4);
    put_frame(h, WINDOW_UPDATE, 0, content, 4);
}

static void put_request(struct http2 *h)
{
    int is_first = h->next_id == 1;
    size_t size = is_first ? first_size : next_size;
    uint8_t *p = extend(h, size);
    memcpy(p, is_first ? first_request : next_request, size);
    put_number(p + 5, h->next_id, 4);
    struct stream *stream = h->streams;
    while (stream->id)
        stream++;
    *stream = (struct stream){.id = h->next_id};
    h->next_id += 2;
    h->in_flight++;
    h->is_ending = h->next_id > 2 * REQUESTS_EACH;
}

/* Splits a file of two HEADERS frames. */
static void prepare_http2(const uint8_t *frames, size_t size, uint32_t streams)
{
    first_request = frames;
    first_size = FRAME_HEAD + get_number(frames, 3);
    next_request = frames + first_size;
    next_size = size - first_size;
    most_streams = streams;
    out_room = CONTROL_SIZE + first_size + streams * next_size;
}

/* A connection from its beginning; `h` is what it had before, or NULL. */
static struct http2 *begin_http2(struct http2 *h)
{
    size_t size = sizeof *h + most_streams * sizeof *h->streams;
    uint8_t *out = h ? h->out : malloc(out_room), settings[12];
    if (!h)
        h = malloc(size);
    if (!h || !out)
        fail("no memory");
    memset(h, 0, size);
    h->out = out;
    h->next_id = 1;
    memcpy(extend(h, strlen(PREFACE)), PREFACE, strlen(PREFACE));
    put_number(settings, ENABLE_PUSH, 2);
    put_number(settings + 2, 0, 4);
    put_number(settings + 6, INITIAL_WINDOW_SIZE, 2);
    put_number(settings + 8, WINDOW, 4);
    put_frame(h, SETTINGS, 0, settings, sizeof settings);
    put_credit(h, WINDOW);
    return h;
}

static void take_settings(struct http2 *h, const uint8_t *p, size_t size)
{
    for (; size >= 6; p += 6, size -= 6) {
        uint32_t name = get_number(p, 2), value = get_number(p + 2, 4);
        if (name == HEADER_TABLE_SIZE && value < TABLE_SIZE)
            fail("a table of %u bytes, for which the requests are not made", value);
        if (name == MAX_CONCURRENT_STREAMS && value < most_streams)
            fail("no more than %u streams", value);
    }
    put_frame(h, SETTINGS, ACK, NULL, 0);
}

/* What lies beyond the last stream is not answered, and may be asked for elsewhere. */
static void take_goaway(struct http2 *h, uint32_t last_id, uint32_t error)
{
    if (error)
        fail("GOAWAY with error %u", error);
    h->is_ending = 1;
    for (struct stream *stream = h->streams; stream < h->streams + most_streams; stream++)
        if (stream->id > last_id) {
            stream->id = 0;
            h->in_flight--;
        }
}

static struct stream *find_stream(struct http2 *h, uint32_t id)
{
    for (struct stream *stream = h->streams; stream < h->streams + most_streams; stream++)
        if (id && stream->id == id)
            return stream;
    fail("wrong answer: a frame on stream %u, which is not open", id);
}

/* Whether fields begin with ":status: 200", which has a place in the static table and needs no other; some servers take
 * only the name from there. */
static int is_200(const uint8_t *p, size_t size)
{
    static const char text[] = "\003200";
    if (size && *p == 0x88)
        return 1;
    return size >= 5 && (*p == 0x08 || *p == 0x18 || *p == 0x48) && !memcmp(p + 1, text, 4);
}

static void take_fields(struct stream *stream, uint8_t flags, const uint8_t *p, size_t size, int is_checked)
{
    if (stream->has_begun) { /* trailers */
        if (!(flags & END_STREAM))
            fail("wrong answer: two heads");
        return;
    }
    if (!is_200(p, size))
        fail("wrong answer: the status is not 200");
    stream->has_begun = 1;
    stream->is_checked = (uint8_t)is_checked;
}

static void take_data(struct http2 *h, struct stream *stream, const uint8_t *p, size_t size)
{
    if (!stream->has_begun)
        fail("wrong answer: a body without a head");
    if (stream->place + size > body_size)
        fail("wrong answer: a body of more than %zu bytes", body_size);
    if (stream->is_checked && memcmp(body + stream->place, p, size))
        fail("wrong answer: other content");
    stream->place += size;
    h->taken += (uint32_t)size;
    if (h->taken > WINDOW / 2) {
        put_credit(h, h->taken);
        h->taken = 0;
    }
}

static int end_stream(struct http2 *h, struct stream *stream)
{
    if (stream->place != body_size)
        fail("wrong answer: a body of %zu bytes", stream->place);
    h->was_checked = stream->is_checked;
    stream->id = 0;
    h->in_flight--;
    return WHOLE;
}

static int take_part(struct http2 *h, const uint8_t *frame, const uint8_t *content, size_t size, int is_checked)
{
    uint8_t type = frame[3], flags = frame[4];
    struct stream *stream = find_stream(h, get_number(frame + 5, 4));
    if (flags & PADDED)
        fail("wrong answer: it is padded");
    if (type == DATA)
        take_data(h, stream, content, size);
    else if (flags & END_HEADERS)
        take_fields(stream, flags, content, size, is_checked);
    else
        fail("wrong answer: a head in parts");
    return flags & END_STREAM ? end_stream(h, stream) : NOTHING;
}

/* Takes a frame, and says how many bytes it has; 0 as long as it is not there whole. The event is WHOLE at the end of a
 * response. With `is_checked`, the body of a response that begins here is compared. */
static size_t take_frame(struct http2 *h, const uint8_t *p, size_t n, int is_checked, int *event)
{
    static const uint8_t least[] = {[RST_STREAM] = 4, [PING] = 8, [GOAWAY] = 8, [CONTINUATION] = 0};
    size_t size = n < FRAME_HEAD ? 0 : get_number(p, 3);
    const uint8_t *content = p + FRAME_HEAD;
    *event = NOTHING;
    if (size > FRAME_LIMIT)
        fail("wrong answer: a frame of %zu bytes", size);
    if (n < FRAME_HEAD + size)
        return 0;
    uint8_t type = p[3], flags = p[4];
    if (type <= CONTINUATION && size < least[type])
        fail("wrong answer: a frame of %zu bytes", size);
    if (type == DATA || type == HEADERS)
        *event = take_part(h, p, content, size, is_checked);
    else if (type == SETTINGS && !(flags & ACK))
        take_settings(h, content, size);
    else if (type == PING && !(flags & ACK))
        put_frame(h, PING, ACK, content, size);
    else if (type == GOAWAY)
        take_goaway(h, get_number(content, 4), get_number(content + 4, 4));
    else if (type == RST_STREAM)
        fail("wrong answer: a stream was reset, error %u", get_number(content, 4));
    else if (type == PUSH_PROMISE || type == CONTINUATION)
        fail("wrong answer: a frame of type %u", type);
    return FRAME_HEAD + size;
}

#endif
