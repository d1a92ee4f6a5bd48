/* Reading HTTP/1.1 responses, in pieces of any size, and comparing them with what must come. */
#ifndef BENCH_RESPONSE_H
#define BENCH_RESPONSE_H

#include "../client.h"

#define HEAD_SIZE 8192

enum { HEAD, BODY, CHUNK_LINE, CHUNK, CHUNK_END, TRAILER };
enum { NOTHING, BEGUN, WHOLE }; /* what has happened: the head is there, the body is */

struct response {
    uint8_t phase;
    uint8_t is_chunked;
    uint8_t is_last;    /* the server closes behind it */
    uint8_t is_checked; /* whether its body is compared; to be set when it has begun */
    uint32_t text_size; /* of the line or head in `text` */
    uint64_t left;      /* of the body or chunk */
    uint64_t place;     /* in the body */
    char *text;         /* a head, or the line of a chunk, that came in parts */
};

static const uint8_t *body; /* what must come back */
static size_t body_size;

/* Takes a piece of text up to and with `stop`, which may have come in parts. Sets `whole`, which ends with a zero, when
 * that is all there, or else to NULL. */
static size_t take_text(struct response *r, const uint8_t *p, size_t n, const char *stop, char **whole)
{
    size_t size = strlen(stop), before = r->text_size, room = HEAD_SIZE - before, take = n < room ? n : room;
    const uint8_t *found = before ? NULL : memmem(p, take, stop, size);
    if (found)
        take = (size_t)(found - p) + size;
    if (!r->text && !(r->text = malloc(HEAD_SIZE + 1)))
        fail("no memory");
    memcpy(r->text + before, p, take);
    if (before) {
        size_t back = before < size ? before : size - 1;
        char *end = memmem(r->text + before - back, take + back, stop, size);
        if (end) {
            found = p;
            take = (size_t)(end - r->text) + size - before;
        }
    }
    r->text_size += (uint32_t)take;
    *whole = NULL;
    if (found) {
        r->text[r->text_size] = 0;
        r->text_size = 0;
        *whole = r->text;
    } else if (r->text_size == HEAD_SIZE)
        fail("wrong answer: a head without end");
    return take;
}

static int is_field(const char *line, const char *start)
{
    return !strncasecmp(line, start, strlen(start));
}

/* `text` is a whole head, which ends with an empty line and a zero. */
static void take_head(struct response *r, const char *text)
{
    int64_t length = -1;
    r->is_chunked = r->is_last = 0;
    if (strncmp(text, "HTTP/1.1 200 ", 13))
        fail("wrong answer: %.*s", (int)strcspn(text, "\r\n"), text);
    for (const char *line = strchr(text, '\n') + 1; *line != '\r'; line = strchr(line, '\n') + 1) {
        if (is_field(line, "content-length:"))
            length = strtoll(line + 15, NULL, 10);
        else if (is_field(line, "transfer-encoding: chunked"))
            r->is_chunked = 1;
        else if (is_field(line, "connection: close"))
            r->is_last = 1;
    }
    if (length < 0 && !r->is_chunked)
        fail("wrong answer: neither a Content-Length nor chunks");
    r->place = 0;
    r->phase = r->is_chunked ? CHUNK_LINE : BODY;
    r->left = r->is_chunked ? 0 : (uint64_t)length;
}

/* Ends the response. */
static int end_body(struct response *r)
{
    if (r->place != body_size)
        fail("wrong answer: a body of %llu bytes", (unsigned long long)r->place);
    r->phase = HEAD;
    return WHOLE;
}

/* Takes bytes of the body, which are not compared without `p`. */
static int take_body(struct response *r, const uint8_t *p, size_t n)
{
    if (r->place + n > body_size)
        fail("wrong answer: a body of more than %zu bytes", body_size);
    if (p && r->is_checked && memcmp(body + r->place, p, n))
        fail("wrong answer: other content");
    r->place += n;
    r->left -= n;
    if (r->left)
        return NOTHING;
    if (r->phase == BODY)
        return end_body(r);
    r->phase = CHUNK_END;
    return NOTHING;
}

/* Takes bytes up to the next event, and says how many. After BEGUN there may be another event without more bytes. */
static size_t take_response(struct response *r, const uint8_t *p, size_t n, int *event)
{
    char *text = NULL;
    size_t used;
    *event = NOTHING;
    switch (r->phase) {
    case HEAD:
        used = take_text(r, p, n, "\r\n\r\n", &text);
        if (text) {
            take_head(r, text);
            *event = BEGUN;
        }
        return used;
    case CHUNK_LINE:
        used = take_text(r, p, n, "\r\n", &text);
        if (text) {
            r->left = strtoull(text, NULL, 16);
            r->phase = r->left ? CHUNK : TRAILER;
        }
        return used;
    case CHUNK_END:
        used = take_text(r, p, n, "\r\n", &text);
        if (text)
            r->phase = CHUNK_LINE;
        return used;
    case TRAILER:
        used = take_text(r, p, n, "\r\n", &text);
        if (text && text[0] == '\r')
            *event = end_body(r);
        return used;
    default:
        used = r->left < n ? (size_t)r->left : n;
        if (used || !r->left)
            *event = take_body(r, p, used);
        return used;
    }
}

#endif
