"""HTTP/2: invented frames, most of them wrong, get the same bytes from both stacks, and crash neither."""

from __future__ import annotations

import random

import pytest
from harness import serve
from hpack import Encoder
from http2_peer import PREFACE, SETTINGS, fields, frame

from .apps import echo

ROUNDS = 20


def invented(seed):
    """The bytes of a client, in the pieces in which they come."""
    dice = random.Random(seed)
    encoder = Encoder()
    data = PREFACE + frame(SETTINGS)
    stream_id = -1
    for _ in range(dice.randrange(1, 25)):
        choice = dice.random()
        if choice < 0.45:
            stream_id += 2
            more = dice.choice([[], [("cookie", "a=b"), ("cookie", "c=d")], [("X", "y")], [("content-length", "5")]])
            method = dice.choice(["GET", "POST", "HEAD", "BREW", "CONNECT"])
            path = dice.choice(["/", "/a?b", "*", "", "x"])
            data += frame(1, dice.choice([4, 4, 5, 5, 0]), stream_id, encoder.encode(fields(method, path, more)))
        elif choice < 0.8:
            number = max(1, stream_id - 2 * dice.randrange(0, 3))
            kind, flags = dice.choice([(0, 0), (0, 0), (0, 1), (0, 8), (3, 0), (8, 0), (9, 4), (2, 0), (1, 5)])
            content = {3: 4, 8: 4, 2: 5}.get(kind, dice.randrange(0, 40))
            data += frame(kind, flags, number, bytes(dice.choice([0, 1, 5, 255]) for _ in range(content)))
        elif choice < 0.95:
            kind, size = dice.choice([(4, 6), (4, 12), (6, 8), (8, 4), (7, 8), (99, 3), (10, 4)])
            content = bytes(dice.choice([0, 0, 1, 3, 4, 100]) for _ in range(size))
            data += frame(kind, dice.choice([0, 0, 0, 1]), 0, content)
        else:
            data += bytes(dice.randrange(256) for _ in range(dice.randrange(1, 20)))
    pieces = []
    while data:
        size = dice.choice([1, 7, 50, 1000, 100000])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def answer(stack, pieces):
    """What the server says; it has to survive, and nothing may stay behind the connection."""
    client = serve(stack, echo, http2=True, record=False)
    client.feed_all(pieces)
    client.advance(400)
    assert client.transport.lost
    assert client.state.active == 0
    assert not client.state.tasks
    return client.output()


@pytest.mark.parametrize("block", range(6))
def test_both_stacks_say_the_same(stacks, server_log, block):
    for seed in range(block * ROUNDS, (block + 1) * ROUNDS):
        pieces = invented(seed)
        one, two = answer(stacks[0], pieces), answer(stacks[1], pieces)
        assert one == two, seed


@pytest.mark.parametrize("block", range(3))
def test_how_it_is_cut_into_pieces_does_not_matter(stack, server_log, block):
    """But for the order in which windows are opened, it is the same; so the least is compared: whether it goes well."""
    for seed in range(block * ROUNDS, (block + 1) * ROUNDS):
        data = b"".join(invented(seed))
        whole = answer(stack, [data])
        split = answer(stack, [data[at : at + 1] for at in range(len(data))])
        assert whole[:3] == split[:3]
        assert (b"\7\0\0\0\0\0" in whole) == (b"\7\0\0\0\0\0" in split), seed
