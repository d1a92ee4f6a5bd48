"""Numbers and names that both stacks share. Plain ints: compiled modules type them in their .pxd."""

import os
from http import HTTPStatus

#: The log level below DEBUG.
TRACE = 5

# What RequestReader.next_event() returns.
NEED_DATA = 0  # nothing more until feed()
REQUEST = 1  # `head` is set and a body follows
REQUEST_END = 2  # `head` is set and there is no body
BODY = 3  # `chunk` is set and more of the body follows
BODY_END = 4  # `chunk` is set and it was the last
END = 5  # the body ended without further bytes

# What RequestHead.note() is told about a field; 0 is any other field.
FIELD_HOST = 1
FIELD_CONTENT_LENGTH = 2
FIELD_TRANSFER_ENCODING = 3
FIELD_CONNECTION = 4
FIELD_EXPECT = 5
FIELD_TE = 6
FIELD_UPGRADE = 7
FIELD_FORWARDING = 8

#: Fields that decide the framing of a message or the fate of its connection, and those with which a proxy says whom
#: the request is from.
NOTED_FIELDS = {
    b"host": FIELD_HOST,
    b"content-length": FIELD_CONTENT_LENGTH,
    b"transfer-encoding": FIELD_TRANSFER_ENCODING,
    b"connection": FIELD_CONNECTION,
    b"expect": FIELD_EXPECT,
    b"te": FIELD_TE,
    b"upgrade": FIELD_UPGRADE,
    b"forwarded": FIELD_FORWARDING,
    b"x-forwarded-for": FIELD_FORWARDING,
    b"x-forwarded-host": FIELD_FORWARDING,
    b"x-forwarded-port": FIELD_FORWARDING,
    b"x-forwarded-prefix": FIELD_FORWARDING,
    b"x-forwarded-proto": FIELD_FORWARDING,
}

#: Field names that most requests use: the compiled parser hands out one shared object for each.
COMMON_FIELDS = (
    *NOTED_FIELDS,
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"access-control-request-headers",
    b"access-control-request-method",
    b"authorization",
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-type",
    b"cookie",
    b"date",
    b"dnt",
    b"from",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"keep-alive",
    b"max-forwards",
    b"origin",
    b"pragma",
    b"priority",
    b"proxy-authorization",
    b"range",
    b"referer",
    b"sec-ch-ua",
    b"sec-ch-ua-mobile",
    b"sec-ch-ua-platform",
    b"sec-fetch-dest",
    b"sec-fetch-mode",
    b"sec-fetch-site",
    b"sec-fetch-user",
    b"sec-gpc",
    b"sec-websocket-extensions",
    b"sec-websocket-key",
    b"sec-websocket-protocol",
    b"sec-websocket-version",
    b"traceparent",
    b"tracestate",
    b"trailer",
    b"upgrade-insecure-requests",
    b"user-agent",
    b"via",
    b"x-api-key",
    b"x-csrf-token",
    b"x-real-ip",
    b"x-request-id",
    b"x-requested-with",
)

#: Common fields whose values come again and again and are no secret: the compiled parser hands out one shared pair of
#: name and value while it meets the same one, and over HTTP/2 it is not judged again. Nothing here identifies or
#: authorises a person.
REPEATED_FIELDS = frozenset(
    (b"host", b"connection", b"te", b"accept", b"accept-charset", b"accept-encoding", b"accept-language")
    + (b"cache-control", b"content-type", b"dnt", b"keep-alive", b"origin", b"pragma", b"priority", b"sec-ch-ua")
    + (b"sec-ch-ua-mobile", b"sec-ch-ua-platform", b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site")
    + (b"sec-fetch-user", b"sec-gpc", b"upgrade-insecure-requests", b"user-agent", b"via", b"x-forwarded-host")
    + (b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-proto", b"x-requested-with")
)

#: The methods that are served; any other token is answered with 501. A test keeps them equal to llhttp's table.
METHODS = (
    "DELETE",
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "COPY",
    "LOCK",
    "MKCOL",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "SEARCH",
    "UNLOCK",
    "BIND",
    "REBIND",
    "UNBIND",
    "ACL",
    "REPORT",
    "MKACTIVITY",
    "CHECKOUT",
    "MERGE",
    "M-SEARCH",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "PATCH",
    "PURGE",
    "MKCALENDAR",
    "LINK",
    "UNLINK",
    "SOURCE",
    "QUERY",
)

# States of an HTTP cycle.
WAIT_START = 0  # nothing from the application yet
START_HELD = 1  # http.response.start came; it waits for the first body message
STREAMING = 2  # the head is on the wire
WAIT_TRAILERS = 3  # the last body message came; http.response.trailers is due
DONE = 4  # the response is complete
DISCONNECTED = 5  # the client left, or was cut off, before that
SENDING_FILE = 6  # a file of the response is being opened or sent

# How the end of a response body is marked on the wire.
FRAMING_LENGTH = 0  # Content-Length
FRAMING_CHUNKED = 1  # Transfer-Encoding: chunked
FRAMING_CLOSE = 2  # the end of the connection (HTTP/1.0)
FRAMING_NONE = 3  # no body: HEAD, 204, 304

#: The status line for each status that an application can send.
STATUS_LINES = {status: b"HTTP/1.1 %d \r\n" % status for status in range(100, 1000)}
STATUS_LINES.update((known.value, b"HTTP/1.1 %d %s\r\n" % (known.value, known.phrase.encode())) for known in HTTPStatus)

#: Fields that a trailer section must not bring (RFC 9110 section 6.5.1): framing, routing, control, content.
FORBIDDEN_TRAILERS = frozenset(
    (b"connection", b"content-encoding", b"content-length", b"content-range", b"content-type", b"date", b"host")
    + (b"keep-alive", b"set-cookie", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)

#: Upper bounds of the latency histogram, in seconds.
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# What FrameCodec.next_event() returns; but for the first, these are the opcodes of RFC 6455 section 5.2.
WS_NEED_DATA = 0  # nothing more until feed()
WS_TEXT = 1  # `payload` is a whole text message (str)
WS_BINARY = 2  # `payload` is a whole binary message (bytes)
WS_CLOSE = 8  # `code` and `reason` are the peer's
WS_PING = 9  # `payload` is to be sent back
WS_PONG = 10

# Close codes (RFC 6455 section 7.4.1).
CLOSE_NORMAL = 1000
CLOSE_PROTOCOL_ERROR = 1002
CLOSE_NO_STATUS = 1005  # the peer's close frame had none; never sent
CLOSE_ABNORMAL = 1006  # the connection was lost without a close frame; never sent
CLOSE_INVALID_DATA = 1007
CLOSE_TOO_BIG = 1009
CLOSE_INTERNAL_ERROR = 1011
CLOSE_SERVICE_RESTART = 1012

# Types of HTTP/2 frames (RFC 9113 section 6).
FRAME_DATA = 0
FRAME_HEADERS = 1
FRAME_PRIORITY = 2
FRAME_RST_STREAM = 3
FRAME_SETTINGS = 4
FRAME_PUSH_PROMISE = 5
FRAME_PING = 6
FRAME_GOAWAY = 7
FRAME_WINDOW_UPDATE = 8
FRAME_CONTINUATION = 9

# Flags of HTTP/2 frames.
FLAG_ACK = 0x1
FLAG_END_STREAM = 0x1
FLAG_END_HEADERS = 0x4
FLAG_PADDED = 0x8
FLAG_PRIORITY = 0x20

# What HTTP2Engine.take() returns.
H2_NOTHING = 0  # there is nothing to be done
H2_REQUEST = 1  # a stream was opened; `fields` are those of its request
H2_DATA = 2  # `data` is a part of a body
H2_TRAILERS = 3  # `fields` stand behind a body
H2_RESET = 4  # the client has given up a stream
H2_WINDOW = 5  # the client has opened a window, that of the connection where the stream is 0
H2_WINDOWS = 6  # it has opened or closed those of all streams

# Error codes of HTTP/2 (RFC 9113 section 7).
NO_ERROR = 0
PROTOCOL_ERROR = 1
INTERNAL_ERROR = 2
FLOW_CONTROL_ERROR = 3
STREAM_CLOSED = 5
FRAME_SIZE_ERROR = 6
REFUSED_STREAM = 7
CANCEL = 8
COMPRESSION_ERROR = 9
ENHANCE_YOUR_CALM = 11

#: Streams that a client may have open on an HTTP/2 connection.
MAX_STREAMS = 100
#: Bytes of a request body that a client may send on an HTTP/2 stream before the application has received any.
STREAM_WINDOW = 128 * 1024
#: The same for all streams of a connection together.
CONNECTION_WINDOW = 1024 * 1024
#: Bytes of the head of an HTTP/2 frame.
FRAME_HEAD_SIZE = 9
#: Bytes in an HTTP/2 frame, without its head: what every peer takes, and the most that is taken.
FRAME_LIMIT = 16 * 1024
#: Fields that say something about an HTTP/1.1 connection and must not be in HTTP/2 (RFC 9113 section 8.2.2).
CONNECTION_FIELDS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))

#: What goes out behind a head, of a response or of a frame, is copied behind it up to this size, so that both are one
#: buffer.
COPY_LIMIT = 16 * 1024

#: What `scope["asgi"]` says of the interface.
ASGI_VERSION = "3.0"
SPEC_VERSION = "2.5"
#: Whether bytes can go from a file to a socket inside the kernel.
HAS_SENDFILE = hasattr(os, "sendfile")

# What a part of an access log line says; see `lines.Part`.
(
    PART_TEXT,
    PART_CLIENT,
    PART_HOST,
    PART_METHOD,
    PART_REQUEST_LINE,
    PART_SCHEME,
    PART_STATUS,
    PART_STATUS_TEXT,
    PART_LENGTH,
    PART_LENGTH_OR_DASH,
    PART_DURATION,
    PART_TIME,
    PART_REQUEST_FIELD,
    PART_RESPONSE_FIELD,
    PART_USER,
    PART_OTHER,
) = range(16)
