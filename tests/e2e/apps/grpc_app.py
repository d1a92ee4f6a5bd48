"""The protocol of gRPC by hand: messages behind a byte and their length, and the outcome in the trailers."""


def take_messages(buffer):
    """The complete messages at the start of `buffer`, with their prefixes, and what is behind them."""
    messages = []
    while len(buffer) >= 5:
        end = 5 + int.from_bytes(buffer[1:5], "big")
        if len(buffer) < end:
            break
        messages.append(buffer[:end])
        buffer = buffer[end:]
    return messages, buffer


left = 0  # calls whose client has gone


async def app(scope, receive, send):
    global left
    if scope["type"] == "lifespan":
        raise NotImplementedError
    method = scope["path"].rpartition("/")[2]

    async def end(status, text=b"", count=0):
        await send({"type": "http.response.body"})
        headers = [(b"grpc-status", b"%d" % status), (b"grpc-message", text), (b"x-count", b"%d" % count)]
        await send({"type": "http.response.trailers", "headers": headers})

    headers = [(b"content-type", b"application/grpc"), (b"x-method", method.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    if method == "Missing":
        await end(5, b"no such thing")
        return
    if method == "Left":
        answer = b"%d" % left
        body = b"\0" + len(answer).to_bytes(4, "big") + answer
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await end(0)
        return
    buffer = b""
    count = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            left += 1
            return
        messages, buffer = take_messages(buffer + message["body"])
        for one in messages:
            count += 1
            await send({"type": "http.response.body", "body": one, "more_body": True})
        if not message["more_body"]:
            await end(0, count=count)
            return
