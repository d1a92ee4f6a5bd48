"""Connections on transports of our own: real sockets, a fake loop, turns by hand. Nothing here waits for time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import random
import resource
import select
import socket
import sys
import weakref
from pathlib import Path

import pytest
from fakes import FakeLoop
from harness import Server, Settings, respond
from reactors import KIB, BufferedRecorder, Recorder, World, descriptors, is_ended, is_open, reset, take

from asgiserve.proxy_protocol import ProxyProtocol

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")

MIB = 1024 * KIB
FATAL = "Fatal error: protocol.%s() call failed."


@pytest.fixture
def world(part):
    """Whatever a test does, no descriptor is left."""
    before = descriptors()
    world = World(part)
    yield world
    world.close()
    assert descriptors() == before


@pytest.fixture(params=["unix", "tcp"])
def connect(request, world):
    """Makes a connection of either kind, for what depends on the kind; the one end is a protocol's, the other's is
    returned."""
    return world.pair if request.param == "unix" else world.tcp


def write_until_full(protocol, least=1):
    """Fill the socket and `least` bytes of the transport's own; return what was written."""
    written = b""
    while protocol.transport.get_write_buffer_size() < least and not protocol.transport.is_closing():
        piece = os.urandom(64 * KIB)
        protocol.transport.write(piece)
        written += piece
    return written


def drain(world, peer, size):
    """Read `size` bytes at the peer's end, with as many turns as that takes."""
    data = b""
    while len(data) < size:
        piece = take(peer)
        if piece:
            data += piece
        else:
            world.loop.turn_until(lambda: select.select([peer], [], [], 0)[0])
    return data


def take_all(world, peer, condition):
    """Read what there is at the peer's end, whatever it is, until `condition()`."""
    for _ in range(10_000):
        world.loop.settle()
        if condition():
            return
        with contextlib.suppress(ConnectionResetError):
            take(peer)
    raise AssertionError("it does not happen")


# -- what comes


def test_it_is_for_this_system(part):
    assert part("reactor").is_supported()


def test_from_the_first_to_the_last(world, connect):
    protocol = Recorder()
    peer = connect(protocol)
    assert protocol.events == ["connection_made"]
    assert protocol.transport.get_protocol() is protocol
    peer.send(b"hello")
    world.loop.turn()
    peer.send(b" world")
    world.loop.turn()
    assert protocol.data == b"hello world"
    protocol.transport.write(b"bye")
    peer.shutdown(socket.SHUT_WR)
    world.loop.turn()
    assert protocol.names == ["connection_made", *["data_received"] * 2, "eof_received", "connection_lost"]
    assert protocol.error is None
    assert take(peer) == b"bye"
    assert is_ended(peer)


def test_what_came_before_it_was_accepted_is_read_at_once(world):
    listener = world.listen()
    peer = world.connect(listener)
    peer.send(b"hello")
    protocol = Recorder()
    world.accept(listener, lambda: protocol)
    assert protocol.names == ["connection_made", "data_received"]


def test_who_comes_and_goes_is_never_watched(world):
    listener = world.listen()
    peer = world.connect(listener)
    peer.send(b"hello")
    protocol = Recorder(data_received=lambda size: protocol.transport.close())
    world.accept(listener, lambda: protocol)
    assert not world.loop.is_ready()
    assert not protocol.is_lost, "it is told in a turn"
    world.loop.run_until_idle()
    assert protocol.events == ["connection_made", ("data_received", 5), "connection_lost"]
    assert is_ended(peer)


def test_all_that_has_come_is_read(world, connect):
    """Nothing new comes, and so the system has nothing new to tell: one read does not bring all of it."""
    protocol = Recorder()
    peer = connect(protocol, room=MIB)
    other = Recorder()
    others_peer = connect(other, room=MIB)
    sent = b""
    with contextlib.suppress(BlockingIOError):
        for _ in range(16):
            piece = os.urandom(64 * KIB)
            sent += piece[: peer.send(piece)]
    world.loop.settle()
    assert protocol.data == sent
    # Two at once, which are read ahead.
    with contextlib.suppress(BlockingIOError):
        for _ in range(16):
            sent += piece[: peer.send(piece)]
    others_peer.send(b"hello")
    world.loop.settle()
    assert protocol.data == sent
    assert other.data == b"hello"
    if int(Path("/proc/sys/net/core/wmem_max").read_text()) > MIB:
        assert len(sent) > 2 * max(size for _, size in protocol.events[1:])


def test_all_that_waits_is_sent(world, connect):
    """The socket takes all that is offered to it at once, and so the system has nothing new to tell."""
    protocol = Recorder()
    peer = connect(protocol)
    data = write_until_full(protocol)
    for _ in range(300):
        piece = os.urandom(10)
        protocol.transport.write(piece)
        data += piece
    taken = b""
    while piece := take(peer):
        taken += piece
    world.loop.turn_until(lambda: not protocol.transport.get_write_buffer_size())
    while piece := take(peer):
        taken += piece
    assert taken == data


# -- what comes to several in one turn is read before any of it is worked on


class Pair:
    """Two connections that get something in the same turn; `act` is called with the second one's transport when the
    first one has got it."""

    def __init__(self, world, act, second=None):
        self.world = world
        self.first = Recorder(data_received=lambda size: act(self.second.transport))
        self.second = second or Recorder()
        self.peers = [world.pair(protocol) for protocol in (self.first, self.second)]

    def send(self, data):
        for peer in self.peers:
            peer.send(data)
        self.world.loop.turn()


def test_what_was_read_ahead_waits_while_reading_is_paused(world):
    pair = Pair(world, lambda second: second.pause_reading())
    pair.send(b"one")
    pair.peers[1].send(b"two")
    world.loop.settle()
    assert pair.first.data == b"one"
    assert pair.second.data == b""
    pair.second.transport.resume_reading()
    world.loop.settle()
    assert pair.second.data == b"onetwo"


def test_what_comes_behind_it_is_told_though_it_was_told_before(world):
    """The loop calls back for the second piece while the first one is still waiting for its turn."""
    pair = Pair(world, lambda second: second.pause_reading())
    pair.send(b"one")
    pair.second.transport.resume_reading()
    pair.peers[1].send(b"two")
    world.loop.turn()
    assert pair.second.data == b"one"
    world.loop.settle()
    assert pair.second.data == b"onetwo"


def test_it_comes_once_where_reading_is_resumed_in_the_same_turn(world):
    pair = Pair(world, lambda second: (second.pause_reading(), second.resume_reading()))
    pair.send(b"one")
    world.loop.settle()
    assert pair.second.events == ["connection_made", ("data_received", 3)]


def test_it_waits_where_reading_is_paused_again(world):
    pair = Pair(world, lambda second: second.pause_reading())
    pair.send(b"one")
    pair.second.transport.resume_reading()
    pair.second.transport.pause_reading()
    world.loop.settle()
    assert pair.second.data == b""
    pair.second.transport.resume_reading()
    world.loop.settle()
    assert pair.second.data == b"one"


@pytest.mark.parametrize("end", ["close", "abort"])
def test_it_is_dropped_where_the_connection_is_closed(world, end):
    pair = Pair(world, lambda second: getattr(second, end)())
    pair.send(b"one")
    world.loop.settle()
    assert pair.second.events == ["connection_made", "connection_lost"]
    assert is_ended(pair.peers[1])


def test_the_end_that_was_read_ahead_waits_too(world):
    pair = Pair(world, lambda second: second.pause_reading())
    pair.peers[0].send(b"x")
    pair.peers[1].shutdown(socket.SHUT_WR)
    world.loop.turn()
    assert pair.second.events == ["connection_made"]
    pair.second.transport.resume_reading()
    world.loop.settle()
    assert pair.second.events == ["connection_made", "eof_received", "connection_lost"]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_it_goes_to_the_protocol_that_has_taken_over(world, size, turns):
    """Also where the loop first calls back for what came later."""
    other = BufferedRecorder(size)
    pair = Pair(world, lambda second: second.set_protocol(other))
    pair.send(b"one")
    pair.peers[1].send(b"two")
    for _ in range(turns):
        if world.loop.is_ready():
            world.loop.turn()
    pair.peers[1].shutdown(socket.SHUT_WR)
    world.loop.settle()
    assert other.data == b"onetwo"
    assert other.names[-2:] == ["eof_received", "connection_lost"]
    assert pair.second.events == ["connection_made"]


def test_one_that_has_taken_over_without_room(world):
    other = BufferedRecorder(0)
    pair = Pair(world, lambda second: second.set_protocol(other))
    pair.send(b"one")
    world.loop.settle()
    assert other.names == ["connection_lost"]
    assert [str(error["exception"]) for error in world.errors()] == ["an empty buffer to read into"]


class Failure(BaseException):
    """One that nobody expects."""


@pytest.mark.parametrize("error", [SystemExit, Failure])
def test_it_is_not_lost_where_the_turn_breaks_off(world, error):
    ours, theirs = (world.keep(sock) for sock in socket.socketpair())

    def leave():
        ours.recv(1)
        raise error

    world.reactor.add_reader(ours.fileno(), leave)
    protocols = [Recorder() for _ in range(3)]
    peers = [world.pair(protocol) for protocol in protocols]
    for sock in (peers[0], theirs, *peers[1:]):
        sock.send(b"x")
    with pytest.raises(error):
        world.loop.settle()
    for peer in peers:
        peer.send(b"y")
    world.loop.turn()
    world.loop.settle()
    assert [protocol.data for protocol in protocols] == [b"xy"] * 3
    world.reactor.remove_reader(ours.fileno())


def test_a_connection_that_is_lost_is_found_out_ahead(world):
    first = Recorder()
    second = Recorder()
    peers = [world.pair(first), world.tcp(second)]
    peers[0].send(b"x")
    reset(peers[1])
    world.loop.settle()
    assert first.data == b"x"
    assert second.names == ["connection_made", "connection_lost"]
    assert isinstance(second.error, ConnectionResetError)


def test_much_is_not_read_ahead(world):
    """Only so much of it is in memory as of a single connection."""
    sizes = []
    protocols = [Recorder(data_received=lambda size: sizes.append(sum(waiting()))) for _ in range(8)]

    def waiting():
        return [select.select([fd], [], [], 0)[0] == [fd] for fd in ends]

    ends = []
    peers = []
    for protocol in protocols:
        fd, peer = world.ends()
        ends.append(fd)
        peers.append(peer)
        world.begin(fd, protocol)
    sent = []
    for peer in peers:
        piece = os.urandom(150 * KIB)
        sent.append(piece[: peer.send(piece)])
    world.loop.turn()
    assert sizes[0] >= 5, "most was still in the sockets when the first one got something"
    world.loop.settle()
    assert [bytes(protocol.data) for protocol in protocols] == sent


def test_one_read_for_each_turn(world):
    """Nobody who sends without end keeps the others from their turn."""
    protocols = [Recorder(), Recorder()]
    peers = [world.pair(protocol) for protocol in protocols]
    for protocol, peer in zip(protocols, peers):
        protocol.on["data_received"] = lambda size, peer=peer: peer.send(b"more")
        peer.send(b"some")
    for turn in range(1, 4):
        world.loop.turn()
        assert [protocol.data for protocol in protocols] == [b"some" + b"more" * (turn - 1)] * 2


def test_more_connections_than_one_look_shows(world, part):
    protocols = [Recorder() for _ in range(part("poller").MAX_READY + 1)]
    for protocol in protocols:
        world.pair(protocol).send(b"x")
    world.loop.turn()
    assert sum(protocol.data == b"x" for protocol in protocols) == len(protocols) - 1
    world.loop.turn()
    assert all(protocol.data == b"x" for protocol in protocols)


# -- addresses, and what else is known


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_addresses(world, family):
    try:
        listener = world.listen(family)
    except OSError:
        pytest.skip("no IPv6 here")
    peer = world.connect(listener)
    protocol = Recorder()
    world.accept(listener, lambda: protocol)
    transport = protocol.transport
    assert transport.get_extra_info("peername") == peer.getsockname()
    assert transport.get_extra_info("sockname") == peer.getpeername() == listener.getsockname()
    sock = transport.get_extra_info("socket")
    assert (sock.family, sock.type, sock.gettimeout()) == (family, socket.SOCK_STREAM, 0.0)
    assert sock.getpeername() == peer.getsockname()
    assert transport.get_extra_info("socket") is sock
    assert transport.get_extra_info("sslcontext") is None
    assert transport.get_extra_info("throttle", 7) == 7

    address = peer.getsockname()
    transport.abort()
    assert transport.get_extra_info("sockname") == listener.getsockname(), "until the protocol was told"
    world.loop.run_until_idle()
    assert protocol.is_lost
    assert sock.fileno() == -1
    assert transport.get_extra_info("peername") == address
    assert transport.get_extra_info("sockname", 7) == 7
    assert transport.get_extra_info("socket") is None


def test_an_address_that_cannot_be_had(world):
    protocol = Recorder()
    world.pair(protocol)
    sock = protocol.transport.get_extra_info("socket")
    sock.close()
    assert protocol.transport.get_extra_info("sockname", 7) == 7


def test_it_knows_what_it_can(world):
    protocol = Recorder()
    world.pair(protocol)
    transport = protocol.transport
    assert transport.can_write_eof() is True
    assert transport.is_reading() is True
    assert transport.is_closing() is False
    assert transport.get_write_buffer_size() == 0
    assert transport.get_write_buffer_limits() == (16 * KIB, 64 * KIB)


# -- pausing


def test_nothing_is_told_while_reading_is_paused(world):
    protocol = Recorder()
    peer = world.pair(protocol)
    protocol.transport.pause_reading()
    protocol.transport.pause_reading()
    assert not protocol.transport.is_reading()
    peer.send(b"hello")
    world.loop.turn()
    assert not world.loop.is_ready(), "the loop would be busy with what nobody wants"
    assert protocol.events == ["connection_made"]
    protocol.transport.resume_reading()
    protocol.transport.resume_reading()
    assert protocol.transport.is_reading()
    assert protocol.events == ["connection_made"], "not from within the call"
    world.loop.turn()
    assert protocol.data == b"hello"


def test_a_pause_that_nobody_notices(world):
    """That which ends before anything comes costs the system nothing."""
    protocol = Recorder()
    peer = world.pair(protocol)
    protocol.transport.pause_reading()
    protocol.transport.resume_reading()
    peer.send(b"hello")
    world.loop.turn()
    assert protocol.data == b"hello"


@pytest.mark.parametrize("name", ["connection_made", "data_received"])
def test_pausing_from_within(world, name):
    protocol = Recorder()
    protocol.on[name] = lambda *args: protocol.transport.pause_reading()
    fd, peer = world.ends()
    peer.send(b"one")
    world.begin(fd, protocol)
    assert protocol.names[-1] == name
    peer.send(b"two")
    world.loop.settle()
    protocol.transport.resume_reading()
    del protocol.on[name]
    world.loop.settle()
    assert protocol.data == b"onetwo"


def test_the_end_while_reading_is_paused(world, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.pause_reading()
    peer.send(b"last words")
    peer.close()
    world.loop.turn()
    assert not world.loop.is_ready(), "the end is an event that does not go away"
    assert protocol.events == ["connection_made"]
    protocol.transport.resume_reading()
    world.loop.settle()
    assert protocol.data == b"last words"
    assert protocol.names[-2:] == ["eof_received", "connection_lost"]


def test_a_reset_while_reading_is_paused(world):
    protocol = Recorder()
    peer = world.tcp(protocol)
    protocol.transport.pause_reading()
    reset(peer)
    world.loop.turn()
    assert not world.loop.is_ready()
    assert protocol.events == ["connection_made"]
    protocol.transport.resume_reading()
    world.loop.settle()
    assert protocol.events == ["connection_made", "connection_lost"]
    assert isinstance(protocol.error, ConnectionResetError)


def test_a_reset_while_reading_is_paused_is_seen_by_who_writes(world):
    protocol = Recorder()
    peer = world.tcp(protocol)
    protocol.transport.pause_reading()
    reset(peer)
    world.loop.settle()
    protocol.transport.write(b"hello")
    assert protocol.transport.is_closing()
    world.loop.settle()
    assert isinstance(protocol.error, ConnectionError)


def test_a_reset_while_reading(world):
    protocol = Recorder()
    reset(world.tcp(protocol))
    world.loop.turn()
    assert protocol.events == ["connection_made", "connection_lost"]
    assert isinstance(protocol.error, ConnectionResetError)


# -- one side ends


def test_a_client_that_has_said_all_is_answered(world, connect):
    protocol = Recorder(eof_received=lambda: True)
    peer = connect(protocol)
    peer.shutdown(socket.SHUT_WR)
    world.loop.turn()
    assert not world.loop.is_ready(), "the end is an event that does not go away"
    assert not protocol.transport.is_closing()
    assert not protocol.transport.is_reading()
    protocol.transport.pause_reading()
    protocol.transport.resume_reading()
    assert not world.loop.is_ready()
    data = write_until_full(protocol)
    assert drain(world, peer, len(data)) == data
    protocol.transport.close()
    world.loop.settle()
    assert is_ended(peer)
    assert protocol.names.count("eof_received") == protocol.names.count("connection_lost") == 1


def test_a_client_that_has_said_all_gets_what_waits(world, connect):
    """eof_received() has returned nothing: the connection ends, but not before everything is sent."""
    protocol = Recorder()
    peer = connect(protocol)
    data = write_until_full(protocol)
    peer.shutdown(socket.SHUT_WR)
    world.loop.turn()
    assert "eof_received" in protocol.names
    assert protocol.transport.is_closing()
    assert not protocol.is_lost
    assert drain(world, peer, len(data)) == data
    world.loop.turn_until(lambda: protocol.is_lost)
    assert is_ended(peer)


def test_our_side_ends_alone(world, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.write(b"bye")
    protocol.transport.write_eof()
    protocol.transport.write_eof()
    assert take(peer) == b"bye"
    assert is_ended(peer)
    for call in (protocol.transport.write, protocol.transport.writelines):
        with pytest.raises(RuntimeError, match="after write_eof"):
            call([b"x"] if call == protocol.transport.writelines else b"x")
    peer.send(b"hello")
    world.loop.turn()
    assert protocol.data == b"hello"
    peer.shutdown(socket.SHUT_WR)
    world.loop.settle()
    assert protocol.names[-2:] == ["eof_received", "connection_lost"]


def test_our_side_ends_behind_what_waits(world, connect):
    protocol = Recorder()
    peer = connect(protocol)
    data = write_until_full(protocol)
    protocol.transport.write_eof()
    with pytest.raises(RuntimeError, match="after write_eof"):
        protocol.transport.write(b"x")
    assert drain(world, peer, len(data)) == data
    world.loop.turn_until(lambda: protocol.transport.get_write_buffer_size() == 0)
    assert is_ended(peer)
    assert not protocol.transport.is_closing()
    peer.send(b"hello")
    world.loop.turn()
    assert protocol.data == b"hello"


def test_both_sides_have_ended(world, connect):
    """Which is told again and again of a socket that is watched for anything at all."""
    protocol = Recorder(eof_received=lambda: True)
    peer = connect(protocol)
    peer.shutdown(socket.SHUT_WR)
    world.loop.turn()
    protocol.transport.write_eof()
    assert not world.loop.is_ready()
    assert not protocol.transport.is_closing()
    assert is_ended(peer)


def test_both_sides_have_ended_while_reading_is_paused(world, connect):
    protocol = Recorder()
    peer = connect(protocol)
    protocol.transport.pause_reading()
    protocol.transport.write_eof()
    peer.shutdown(socket.SHUT_WR)
    world.loop.settle()
    assert protocol.events == ["connection_made"]


def test_our_side_cannot_end_any_more(world):
    protocol = Recorder()
    peer = world.tcp(protocol)
    protocol.transport.pause_reading()
    reset(peer)
    world.loop.settle()
    with pytest.raises(OSError, match="Errno"):
        protocol.transport.write_eof()


def test_what_waits_behind_which_our_side_was_to_end_is_lost(world):
    protocol = Recorder()
    peer = world.tcp(protocol)
    write_until_full(protocol)
    protocol.transport.pause_reading()
    protocol.transport.write_eof()
    reset(peer)
    world.loop.turn_until(lambda: protocol.is_lost)
    assert isinstance(protocol.error, ConnectionError)


def test_an_end_of_our_side_behind_the_end(world):
    protocol = Recorder()
    world.pair(protocol)
    protocol.transport.close()
    protocol.transport.write_eof()
    world.loop.settle()
    protocol.transport.write_eof()
    assert protocol.is_lost


# -- writing


def test_what_can_be_written(world):
    protocol = Recorder()
    peer = world.pair(protocol)
    text = bytearray(b"three")
    for data in (b"one", b"", bytearray(b"two"), bytearray(), memoryview(text)[1:], memoryview(b"")):
        protocol.transport.write(data)
    assert take(peer) == b"onetwohree"
    protocol.transport.writelines(iter([b"one", b"", bytearray(b"two"), memoryview(text)]))
    assert take(peer) == b"onetwothree"
    for nothing in ([], [b""], (b"", bytearray())):
        protocol.transport.writelines(nothing)
    assert not is_ended(peer)
    for wrong in ("text", 1.5, object()):
        with pytest.raises(TypeError):
            protocol.transport.write(wrong)
    assert not protocol.transport.is_closing()


def test_what_waits_is_not_what_becomes_of_it(world):
    """The caller may use its memory again, whether the socket took all of it or not."""
    protocol = Recorder()
    peer = world.pair(protocol)
    data = write_until_full(protocol)
    for write in (protocol.transport.write, lambda text: protocol.transport.writelines([text])):
        text = bytearray(b"hello")
        write(text)
        text[:] = b"-----"
    assert drain(world, peer, len(data) + 10) == data + b"hello" * 2


def test_a_client_that_reads_nothing(world, connect):
    """The protocol is told once; what waits is what was written, and nothing of it is sent twice or lost."""
    protocol = Recorder()
    peer = connect(protocol)
    data = os.urandom(MIB) * 16  # more than the system keeps of a TCP connection
    protocol.transport.write(data)
    waits = protocol.transport.get_write_buffer_size()
    assert 64 * KIB < waits < len(data)
    assert protocol.events == ["connection_made", "pause_writing"]
    protocol.transport.write(b"and more")
    assert protocol.transport.get_write_buffer_size() == waits + 8
    world.loop.settle()
    assert protocol.events == ["connection_made", "pause_writing"]
    assert drain(world, peer, len(data) + 8) == data + b"and more"
    world.loop.settle()
    assert protocol.events == ["connection_made", "pause_writing", "resume_writing"]
    assert protocol.transport.get_write_buffer_size() == 0
    assert not world.loop.is_ready()


@pytest.mark.parametrize("count", [2, 63, 64, 65, 200])
def test_pieces_of_which_the_socket_takes_some(world, count):
    protocol = Recorder()
    peer = world.pair(protocol, room=16 * KIB)
    pieces = [os.urandom(random.Random(number).randrange(4000)) for number in range(count)] + [os.urandom(32 * KIB)]
    protocol.transport.writelines(pieces)
    assert protocol.transport.get_write_buffer_size() > 0
    protocol.transport.writelines(pieces)
    data = b"".join(pieces) * 2
    assert drain(world, peer, len(data)) == data


def test_many_small_pieces_wait(world):
    protocol = Recorder()
    peer = world.pair(protocol)
    data = write_until_full(protocol)
    for number in range(1000):
        protocol.transport.write(b"%d," % number)
    data += b"".join(b"%d," % number for number in range(1000))
    assert drain(world, peer, len(data)) == data


def test_writing_while_reading_is_paused(world):
    protocol = Recorder()
    peer = world.pair(protocol)
    protocol.transport.pause_reading()
    peer.send(b"unwanted")
    data = write_until_full(protocol)
    world.loop.settle()
    assert drain(world, peer, len(data)) == data
    world.loop.settle()
    protocol.transport.resume_reading()
    world.loop.settle()
    assert protocol.data == b"unwanted"


def test_the_protocol_is_told_behind_the_last_piece(world):
    """It may count what waits when it is told to pause."""
    sizes = []
    protocol = Recorder(pause_writing=lambda: sizes.append(protocol.transport.get_write_buffer_size()))
    peer = world.pair(protocol, room=16 * KIB)
    pieces = [bytes(100 * KIB)] * 3
    protocol.transport.writelines(pieces)
    assert sizes == [protocol.transport.get_write_buffer_size()]
    assert sizes[0] > 200 * KIB
    drain(world, peer, 300 * KIB)


@pytest.mark.parametrize("how", ["write", "writelines"])
def test_writing_from_within_pause_writing(world, how):
    protocol = Recorder(pause_writing=lambda: protocol.transport.write(b"paused"))
    peer = world.pair(protocol)
    pieces = [bytes(MIB), os.urandom(100), os.urandom(MIB)]
    if how == "write":
        protocol.transport.write(b"".join(pieces))
    else:
        protocol.transport.writelines(pieces)
    assert drain(world, peer, 2 * MIB + 106) == b"".join(pieces) + b"paused"
    assert protocol.names.count("pause_writing") == 1


def test_writing_from_within_resume_writing(world):
    """A stream's usual way: each time there is room, some more, until everything is written."""
    left = [os.urandom(MIB) for _ in range(10)]
    data = b"".join(left)

    def go_on():
        if left:
            protocol.transport.write(left.pop(0))

    protocol = Recorder(resume_writing=go_on)
    peer = world.pair(protocol)
    go_on()
    assert drain(world, peer, len(data)) == data
    assert protocol.names.count("pause_writing") == 10


@pytest.mark.parametrize("name", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_writing_from_within(world, name):
    protocol = Recorder()
    protocol.on[name] = lambda *args: protocol.transport.write(b"written")
    peer = world.pair(protocol)
    peer.send(b"hello")
    peer.shutdown(socket.SHUT_WR)
    world.loop.settle()
    assert protocol.is_lost
    assert take(peer) == (b"" if name == "connection_lost" else b"written")


@pytest.mark.parametrize("how", ["write", "writelines"])
def test_writing_to_nobody(world, how):
    protocol = Recorder()
    world.pair(protocol).close()
    for _ in range(3):
        if how == "write":
            protocol.transport.write(b"hello")
        else:
            protocol.transport.writelines([b"hello", b"world"])
        assert protocol.transport.is_closing(), "at once: who writes on and on has to be told"
        assert not protocol.is_lost
    world.loop.settle()
    assert protocol.events == ["connection_made", "connection_lost"]
    assert isinstance(protocol.error, BrokenPipeError)


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_reset_while_something_waits(world, connect, is_paused):
    protocol = Recorder()
    peer = connect(protocol)
    write_until_full(protocol, 100 * KIB)
    if is_paused:
        protocol.transport.pause_reading()
    reset(peer)
    world.loop.turn_until(lambda: protocol.is_lost)
    assert protocol.names[:2] == ["connection_made", "pause_writing"]
    assert protocol.names[2:] in (["connection_lost"], ["eof_received", "connection_lost"])
    if is_paused:  # otherwise a UNIX socket may show the end before anything is sent
        assert isinstance(protocol.error, ConnectionError)
    assert protocol.transport.get_write_buffer_size() == 0
    assert not world.loop.is_ready()


# -- how much may wait


def test_limits(world):
    protocol = Recorder()
    world.pair(protocol)
    transport = protocol.transport
    for limits, low_and_high in [
        ({"high": 100}, (25, 100)),
        ({"high": 100, "low": 100}, (100, 100)),
        ({"low": 100}, (100, 400)),
        ({"high": 0}, (0, 0)),
        ({}, (16 * KIB, 64 * KIB)),
    ]:
        transport.set_write_buffer_limits(**limits)
        assert transport.get_write_buffer_limits() == low_and_high
    for wrong in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(**wrong)
    assert transport.get_write_buffer_limits() == (16 * KIB, 64 * KIB)


def test_nothing_may_wait(world):
    """What sending a file past the transport needs: to be told when everything is handed over."""
    protocol = Recorder()
    peer = world.pair(protocol)
    data = write_until_full(protocol)
    protocol.transport.set_write_buffer_limits(0)
    assert protocol.names[-1] == "pause_writing"
    sizes = []
    protocol.on["resume_writing"] = lambda: sizes.append(protocol.transport.get_write_buffer_size())
    assert drain(world, peer, len(data)) == data
    world.loop.settle()
    assert sizes == [0]
    protocol.transport.write(b"hello")
    assert protocol.names[-1] == "resume_writing", "nothing waits"
    protocol.transport.set_write_buffer_limits()
    assert take(peer) == b"hello"


def test_it_resumes_at_the_low_mark(world):
    protocol = Recorder()
    peer = world.pair(protocol)
    protocol.transport.set_write_buffer_limits(high=300 * KIB, low=200 * KIB)
    data = write_until_full(protocol, 400 * KIB)
    assert protocol.names.count("pause_writing") == 1
    waits = []
    protocol.on["resume_writing"] = lambda: waits.append(protocol.transport.get_write_buffer_size())
    assert drain(world, peer, len(data)) == data
    (size,) = waits
    assert size <= 200 * KIB


# -- protocols that have memory to read into


def test_a_buffered_protocol(world, connect):
    protocol = BufferedRecorder(size=8)
    peer = connect(protocol)
    peer.send(b"hello world")
    world.loop.settle()
    assert protocol.events == ["connection_made", ("buffer_updated", 8), ("buffer_updated", 3)]
    assert protocol.data == b"hello world"
    peer.close()
    world.loop.settle()
    assert protocol.names[-2:] == ["eof_received", "connection_lost"]


def test_a_buffered_protocol_loses_its_connection(world):
    protocol = BufferedRecorder()
    reset(world.tcp(protocol))
    world.loop.settle()
    assert protocol.events == ["connection_made", "connection_lost"]
    assert isinstance(protocol.error, ConnectionResetError)


def test_a_buffer_without_room(world):
    protocol = BufferedRecorder(size=0)
    peer = world.pair(protocol)
    world.loop.settle()
    assert protocol.events == ["connection_made", "connection_lost"], "it is not taken for the end of the input"
    (reported,) = world.errors()
    assert isinstance(reported["exception"], ValueError)
    assert is_ended(peer)


def test_no_memory_to_read_into(world):
    """Nothing was read: a protocol that gets on with it would miss bytes if something had been."""

    def fail():
        raise MemoryError

    protocol = BufferedRecorder(get_buffer=fail)
    world.pair(protocol)
    world.loop.settle()
    (reported,) = world.errors()
    assert reported["message"] == FATAL % "get_buffer"
    assert protocol.events == ["connection_made", "connection_lost"]


@pytest.mark.parametrize("kinds", ["rb", "br", "bb", "rr", "rbrbr"])
def test_protocols_that_follow_each_other(world, kinds):
    """From within what the one before it is told, as all of ours do; the rest is for the next one."""
    protocols = [Recorder() if kind == "r" else BufferedRecorder(4) for kind in kinds]

    def follow(protocol, successor):
        def on_data(size):
            protocol.transport.set_protocol(successor)
            successor.transport = protocol.transport
            assert protocol.transport.get_protocol() is successor

        protocol.on["data_received"] = protocol.on["buffer_updated"] = on_data

    for protocol, successor in zip(protocols, protocols[1:]):
        follow(protocol, successor)
    peer = world.pair(protocols[0])
    for number in range(len(protocols)):
        peer.send(b"%d" % number)
        world.loop.turn()
    assert [bytes(protocol.data) for protocol in protocols] == [b"%d" % number for number in range(len(protocols))]
    data = write_until_full(protocols[-1], 100 * KIB)
    assert [protocol.names.count("pause_writing") for protocol in protocols] == [0] * (len(kinds) - 1) + [1]
    assert drain(world, peer, len(data)) == data
    peer.close()
    world.loop.settle()
    assert [protocol.is_lost for protocol in protocols] == [False] * (len(kinds) - 1) + [True]


def test_the_next_protocol_at_the_end(world):
    """It came between the loss and the word of it."""
    first, second = Recorder(), Recorder()
    world.pair(first)
    first.transport.abort()
    first.transport.set_protocol(second)
    world.loop.settle()
    assert (first.is_lost, second.is_lost) == (False, True)


# -- the end, from wherever it comes


CALLBACKS = ["connection_made", "data_received", "buffer_updated", "eof_received", "pause_writing", "resume_writing"]


@pytest.mark.parametrize("method", ["close", "abort"])
@pytest.mark.parametrize("name", CALLBACKS)
def test_the_end_from_within(world, connect, name, method):
    """Whatever is going on, nothing is told behind it but the loss, and that at the end of the turn."""
    protocol = BufferedRecorder() if name == "buffer_updated" else Recorder()
    is_within = []

    def end(*args):
        getattr(protocol.transport, method)()
        assert protocol.transport.is_closing()
        is_within.append(protocol.is_lost)

    protocol.on[name] = end
    peer = connect(protocol)
    if "writing" in name:
        write_until_full(protocol, 100 * KIB)
    elif name != "connection_made":
        peer.send(b"hello")
        peer.shutdown(socket.SHUT_WR)
    take_all(world, peer, lambda: protocol.is_lost)
    assert is_within == [False]
    assert protocol.names[-2:] == [name, "connection_lost"] or name == "pause_writing"
    assert protocol.error is None
    assert protocol.names.count("connection_lost") == 1
    take_all(world, peer, lambda: is_ended(peer))


@pytest.mark.parametrize("how", ["write", "writelines"])
def test_an_abort_from_within_pause_writing_ends_it(world, how):
    """Nothing of what is being written may wait behind that: the socket is about to be somebody else's."""
    protocol = Recorder(pause_writing=lambda: protocol.transport.abort())
    world.pair(protocol)
    if how == "write":
        protocol.transport.write(bytes(4 * MIB))
    else:
        protocol.transport.writelines([bytes(2 * MIB)] * 2)
    assert protocol.transport.get_write_buffer_size() == 0
    assert not world.loop.is_ready()
    world.loop.run_until_idle()
    assert protocol.is_lost


def test_closing_sends_what_waits(world, connect):
    protocol = Recorder()
    peer = connect(protocol)
    data = write_until_full(protocol)
    protocol.transport.close()
    protocol.transport.close()
    assert protocol.transport.is_closing()
    protocol.transport.write(b"not this")
    protocol.transport.writelines([b"nor", b"that"])
    if peer.family == socket.AF_UNIX:  # TCP resets a connection of which something is unread, whatever was yet to leave
        peer.send(b"nobody reads that")
    world.loop.settle()
    assert not protocol.is_lost
    assert drain(world, peer, len(data)) == data
    world.loop.turn_until(lambda: protocol.is_lost)
    assert "data_received" not in protocol.names
    assert protocol.error is None
    assert take_the_end(peer) == b""


def take_the_end(peer):
    """What is read behind what was expected. Who closes with something unread resets the connection."""
    try:
        return peer.recv(100)
    except ConnectionResetError:
        return b""


def test_aborting_sends_nothing_more(world):
    protocol = Recorder()
    peer = world.pair(protocol)
    data = write_until_full(protocol)
    waits = protocol.transport.get_write_buffer_size()
    protocol.transport.close()
    protocol.transport.abort()
    protocol.transport.abort()
    assert protocol.transport.get_write_buffer_size() == 0
    assert not protocol.is_lost, "not from within the call"
    world.loop.run_until_idle()
    assert protocol.is_lost
    assert drain(world, peer, len(data) - waits) == data[:-waits]
    assert is_ended(peer)


def test_what_is_called_behind_the_end(world):
    protocol = Recorder()
    world.pair(protocol)
    transport = protocol.transport
    transport.abort()
    world.loop.settle()
    for call in (
        transport.close,
        transport.abort,
        transport.pause_reading,
        transport.resume_reading,
        transport.write_eof,
        transport.set_write_buffer_limits,
    ):
        call()
    transport.write(b"hello")
    transport.writelines([b"hello"])
    assert transport.is_closing()
    assert not transport.is_reading()
    assert transport.get_protocol() is None
    assert transport.get_write_buffer_size() == 0
    world.loop.settle()
    assert protocol.names.count("connection_lost") == 1


def test_one_ends_another_in_the_same_turn(world):
    """That one is told nothing more, though something has come for it."""
    protocols = [Recorder(), Recorder()]
    for protocol, other in zip(protocols, reversed(protocols)):
        protocol.on["data_received"] = lambda size, other=other: other.transport.abort()
        world.pair(protocol).send(b"hello")
    world.loop.turn()
    assert sorted(protocol.names for protocol in protocols) == [
        ["connection_made", "connection_lost"],
        ["connection_made", "data_received"],
    ]


def test_one_ends_another_when_it_is_told_of_its_end(world):
    second = Recorder()
    first = Recorder(connection_lost=lambda: second.transport.abort())
    world.pair(first)
    world.pair(second)
    first.transport.abort()
    world.loop.run_until_idle()
    assert first.is_lost
    assert second.is_lost


def test_ends_outside_of_a_turn_are_told_together(world):
    protocols = [Recorder() for _ in range(3)]
    for protocol in protocols:
        world.pair(protocol)
    for protocol in protocols:
        protocol.transport.abort()
    assert not any(protocol.is_lost for protocol in protocols)
    assert world.loop.run_once()
    assert all(protocol.is_lost for protocol in protocols)
    assert world.loop.idle


# -- descriptors


def test_a_descriptor_is_not_used_again_in_the_same_turn(world):
    """What the system has told of the one is not for the next."""
    later = Recorder()

    def replace(size):
        old = ours.transport.get_extra_info("socket").fileno()
        ours.transport.abort()
        fd, peer = world.ends()
        assert fd != old
        world.begin(fd, later)
        peers.append(peer)

    ours = Recorder(data_received=replace)
    peers = [world.pair(ours)]
    peers[0].send(b"hello")
    world.loop.turn()
    assert ours.is_lost
    assert later.events == ["connection_made"]
    peers[1].send(b"hello")
    world.loop.turn()
    assert later.data == b"hello"


def test_descriptors_that_are_used_again(world):
    seen = set()
    for number in range(20):
        protocol = Recorder()
        fd, peer = world.ends()
        seen.add(fd)
        world.begin(fd, protocol)
        peer.send(b"%d" % number)
        world.loop.turn()
        assert protocol.data == b"%d" % number
        if number % 2:
            protocol.transport.pause_reading()
        protocol.transport.abort()
        world.loop.settle()
        assert not is_open(fd)
        peer.close()
    assert len(seen) < 10


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_duplicate_outlives_the_connection(world, is_paused):
    """As when a thread still sends a file: the system goes on watching what is not closed, if it is not told."""
    protocol = Recorder()
    fd, peer = world.ends()
    world.begin(fd, protocol)
    duplicate = os.dup(fd)
    try:
        if is_paused:
            protocol.transport.pause_reading()
        else:
            write_until_full(protocol)
        protocol.transport.abort()
        world.loop.settle()
        peer.send(b"hello")
        assert not world.loop.is_ready()
        next_one = Recorder()
        other = world.pair(next_one)
        assert next_one.events == ["connection_made"]
        other.send(b"hello")
        world.loop.turn()
        assert next_one.data == b"hello"
    finally:
        os.close(duplicate)


def test_a_socket_object_is_closed_with_the_connection(world):
    protocol = Recorder()
    fd, _ = world.ends()
    world.begin(fd, protocol)
    sock = protocol.transport.get_extra_info("socket")
    assert sock.fileno() == fd
    protocol.on["connection_lost"] = lambda: seen.append(is_open(fd))
    seen = []
    protocol.transport.abort()
    world.loop.settle()
    assert seen == [True], "closed behind the last word"
    assert (sock.fileno(), is_open(fd)) == (-1, False)


def test_a_descriptor_that_somebody_else_has_closed(world):
    """Nothing to be done about it, but whoever looks for the reason is to know."""
    protocol, other = Recorder(), Recorder()
    world.pair(other)
    fd, _ = world.ends()
    world.begin(fd, protocol)
    os.close(fd)
    protocol.transport.abort()
    other.transport.abort()
    world.loop.run_until_idle()
    assert protocol.is_lost
    assert other.is_lost
    assert [error["message"] for error in world.errors()] == ["a connection could not be closed"]


def test_what_cannot_be_watched(world, tmp_path):
    """A file stands in for a socket while the system has no memory: it is no socket, and it cannot be watched."""
    protocol = Recorder(connection_made=lambda: protocol.transport.pause_reading())
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    transport = world.begin(fd, protocol)
    world.loop.settle()
    assert not transport.is_closing()
    transport.resume_reading()
    assert transport.is_closing()
    world.loop.settle()
    assert protocol.events == ["connection_made", "connection_lost"]
    assert isinstance(protocol.error, PermissionError)
    (reported,) = world.errors()
    assert reported["message"] == "a connection cannot be watched"
    assert not is_open(fd)


def test_no_descriptor_is_left_to_accept_with(world):
    listener = world.listen()
    peer = world.connect(listener)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(descriptors()) + 2, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(listener.fileno()))
        with pytest.raises(OSError, match="Errno 24"):
            world.accept(listener, Recorder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in held:
            os.close(fd)
    protocol = Recorder()
    world.accept(listener, lambda: protocol)
    peer.send(b"hello")
    world.loop.turn_until(lambda: protocol.data == b"hello")


# -- protocols that fail


class Odd(BaseException):
    """Neither an Exception nor what ends a process."""


@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError, Odd])
@pytest.mark.parametrize("name", ["connection_made", "data_received", "get_buffer", "buffer_updated", "eof_received"])
def test_a_protocol_that_fails_loses_its_connection(world, name, error):
    def fail(*args):
        raise failure

    failure = error("no")
    protocol = (BufferedRecorder if "buffer" in name else Recorder)(**{name: fail})
    other = Recorder()
    others = world.pair(other)
    others.send(b"hello")
    peer = world.pair(protocol)
    peer.send(b"hello")
    peer.shutdown(socket.SHUT_WR)
    world.loop.settle()
    (reported,) = world.errors()
    assert reported["message"] == FATAL % name
    assert (reported["exception"], reported["protocol"]) == (failure, protocol)
    assert protocol.is_lost
    assert protocol.error is failure
    assert other.data == b"hello", "that is nobody else's"
    assert is_ended(peer)


@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError])
def test_a_protocol_that_fails_to_pause_stays(world, error):
    """As on asyncio: what it was told is no more than advice."""

    def fail():
        raise error("no")

    protocol = Recorder(pause_writing=fail, resume_writing=fail)
    peer = world.pair(protocol)
    data = write_until_full(protocol, 100 * KIB)
    assert drain(world, peer, len(data)) == data
    world.loop.settle()
    assert [(reported["message"], type(reported["exception"])) for reported in world.errors()] == [
        ("protocol.pause_writing() failed", error),
        ("protocol.resume_writing() failed", error),
    ]
    assert not protocol.transport.is_closing()


@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError, Odd])
def test_a_protocol_that_fails_at_the_end(world, error):
    def fail():
        raise error("no")

    protocols = [Recorder(connection_lost=fail) for _ in range(3)]
    for protocol in protocols:
        world.pair(protocol)
    for protocol in protocols:
        protocol.transport.abort()
    world.loop.settle()
    assert all(protocol.is_lost for protocol in protocols)
    reported = world.errors()
    assert [each["message"] for each in reported] == ["protocol.connection_lost() failed"] * 3
    assert [each["protocol"] for each in reported] == protocols


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("name", [*CALLBACKS, "get_buffer", "connection_lost"])
def test_what_ends_the_process_reaches_the_loop(world, name, error):
    """Out of a callback of the loop's own: uvloop only reports what comes out of those on readers."""

    def leave(*args):
        raise error(7)

    protocol = (BufferedRecorder if "buffer" in name else Recorder)(**{name: leave})
    other = Recorder()
    others = world.pair(other)
    others.send(b"hello")
    peer = world.pair(protocol)
    if "writing" in name:
        write_until_full(protocol, 100 * KIB)
    else:
        peer.send(b"hello")
        peer.shutdown(socket.SHUT_WR)
    with pytest.raises(error) as raised:
        take_all(world, peer, lambda: False)
    assert raised.value.args == (7,)
    world.loop.settle()
    assert other.data == b"hello"
    assert world.errors() == []


def test_what_ends_the_process_comes_from_elsewhere(world):
    """As a signal's handler may raise it anywhere, or an acceptor that is called back in a turn."""

    def leave():
        raise SystemExit(7)

    one, two = socket.socketpair()
    with one, two:
        two.send(b"x")
        world.reactor.add_reader(one.fileno(), leave)
        protocol = Recorder()
        world.pair(protocol).close()
        world.loop.turn()
        with pytest.raises(SystemExit):
            world.loop.run_until_idle()
        world.reactor.remove_reader(one.fileno())
        world.loop.settle()
        assert protocol.is_lost


# -- the reactor


class Plain(FakeLoop):
    def add_reader(self, fd, callback, *args):
        raise NotImplementedError


def test_a_loop_that_watches_nothing(part):
    before = descriptors()
    with pytest.raises(NotImplementedError):
        part("reactor").Reactor(Plain(), None)
    gc.collect()
    assert descriptors() == before


def test_none_waits_to_be_accepted(world):
    with pytest.raises(BlockingIOError):
        world.accept(world.listen(), Recorder)


@pytest.mark.parametrize("error", [ValueError, OSError, SystemExit])
def test_no_protocol_for_a_connection(world, error):
    def connect():
        raise error("no")

    listener = world.listen()
    peer = world.connect(listener)
    with pytest.raises(error, match="no"):
        world.accept(listener, connect)
    assert is_ended(peer)


def test_a_protocol_that_is_none(world):
    """Whatever it lacks, the connection is not left open."""

    class Deaf:
        def connection_lost(self, error):
            lost.append(error)

    lost = []
    fd, peer = world.ends()
    world.begin(fd, Deaf())
    world.loop.settle()
    (reported,) = world.errors()
    assert isinstance(reported["exception"], AttributeError)
    assert lost == [reported["exception"]]
    assert is_ended(peer)


def test_readers(world):
    one, two = socket.socketpair()
    called = []
    with one, two:
        fd = one.fileno()
        world.reactor.remove_reader(fd)  # which is none
        world.reactor.add_reader(fd, lambda: called.append(take(one)))
        two.send(b"hello")
        world.loop.turn()
        assert called == [b"hello"]
        world.reactor.remove_reader(fd)
        world.reactor.remove_reader(fd)
        two.send(b"hello")
        assert not world.loop.is_ready()
        world.reactor.add_reader(fd, lambda: called.append(take(one)))
        world.loop.turn()
        assert called == [b"hello"] * 2
        world.reactor.remove_reader(fd)


def test_a_reader_that_fails(world):
    """Each time, and the others are served all the same."""

    def fail():
        raise ValueError("no")

    one, two = socket.socketpair()
    with one, two:
        world.reactor.add_reader(one.fileno(), fail)
        two.send(b"hello")
        protocol = Recorder()
        peer = world.pair(protocol)
        for _ in range(2):
            peer.send(b"x")
            world.loop.turn()
        assert protocol.data == b"xx"
        assert [str(error["exception"]) for error in world.errors()] == ["no", "no"]
        world.reactor.remove_reader(one.fileno())


def test_a_reader_that_is_removed_in_the_turn(world):
    pairs = [socket.socketpair() for _ in range(2)]
    called = []

    def remove(mine, other):
        called.append(mine)
        world.reactor.remove_reader(other)
        world.reactor.remove_reader(mine)

    numbers = [one.fileno() for one, _ in pairs]
    for mine, other in zip(numbers, reversed(numbers)):
        world.reactor.add_reader(mine, lambda mine=mine, other=other: remove(mine, other))
    for _, two in pairs:
        two.send(b"x")
    world.loop.turn()
    assert len(called) == 1
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_a_reader_that_cannot_be_watched(world, tmp_path):
    with open(tmp_path / "file", "wb") as file:
        with pytest.raises(PermissionError):
            world.reactor.add_reader(file.fileno(), print)
        world.reactor.remove_reader(file.fileno())


def test_closing_it_ends_all_connections(world):
    """Those too that wait for nothing just now."""
    watched, paused, writing, ended, gone = (Recorder(eof_received=lambda: True) for _ in range(5))
    peers = [world.pair(protocol) for protocol in (watched, paused, writing, ended, gone)]
    paused.transport.pause_reading()
    peers[1].send(b"x")
    peers[3].shutdown(socket.SHUT_WR)
    write_until_full(writing)
    world.loop.settle()
    gone.transport.abort()
    world.loop.call(world.reactor.close)
    assert [protocol.is_lost for protocol in (watched, paused, writing, ended, gone)] == [True] * 5
    assert not world.loop.readers
    world.loop.call(world.reactor.close)
    world.loop.run_until_idle()
    listener = world.listen()
    peer = world.connect(listener)
    late = Recorder()
    world.accept(listener, lambda: late)
    world.loop.run_until_idle()
    assert late.is_lost, "there is nobody to watch it"
    assert len(world.errors()) == 1
    assert is_ended(peer)


def test_closing_it_in_the_middle_of_a_turn(world):
    protocols = [Recorder(data_received=lambda size: world.reactor.close()) for _ in range(3)]
    for peer in [world.pair(protocol) for protocol in protocols]:
        peer.send(b"x")
    world.loop.turn()
    world.loop.settle()
    assert [protocol.names.count("data_received") for protocol in protocols] == [1, 0, 0]
    assert [protocol.is_lost for protocol in protocols] == [True] * 3


def test_the_context_is_that_of_the_start(part):
    """And not that of an application's task in which a connection happens to end."""
    from contextvars import ContextVar

    variable = ContextVar("variable", default="start")
    world = World(part)
    seen = []
    protocol = Recorder(connection_lost=lambda: seen.append(variable.get()))
    world.pair(protocol)
    variable.set("application")
    protocol.transport.abort()
    world.loop.run_until_idle()
    world.close()
    assert seen == ["start"]


# -- memory


class Address(str):
    """One that can be referred to weakly, as no tuple can; what has it has not gone."""


@pytest.mark.parametrize("how", ["close", "abort", "eof", "error", "failure"])
def test_nothing_waits_for_the_garbage_collector(world, how):
    def fail(size):
        raise ValueError("no")

    address = Address("")
    protocol = Recorder(**({"data_received": fail} if how == "failure" else {}))
    fd, peer = world.ends()
    transport = world.module.Transport(world.reactor, fd, socket.AF_UNIX, address)
    alive = [weakref.ref(address), weakref.ref(protocol)]
    world.loop.call(transport.begin, protocol)
    transport.get_extra_info("socket")
    gc.collect()
    gc.disable()
    try:
        write_until_full(protocol)
        if how == "error":
            peer.close()
            world.loop.settle()
        elif how == "eof":
            peer.shutdown(socket.SHUT_WR)
        elif how == "failure":
            peer.send(b"x")
        else:
            getattr(transport, how)()
        if how != "error":
            take_all(world, peer, lambda: alive[1]().is_lost)
        world.errors()
        protocol.error = None  # its traceback knows the protocol
        del transport, protocol, address
        if sys.implementation.name == "cpython":  # elsewhere everything waits
            assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts references")
def test_what_waits_is_let_go_of(world):
    """Piece by piece, and all of it at the end, also while somebody holds on to the transport."""
    protocol = Recorder()
    peer = world.pair(protocol)
    size = len(write_until_full(protocol))
    sent, unsent = os.urandom(MIB), os.urandom(MIB)
    before = sys.getrefcount(sent), sys.getrefcount(unsent)
    protocol.transport.write(sent)
    protocol.transport.writelines([unsent])
    assert (sys.getrefcount(sent), sys.getrefcount(unsent)) == (before[0] + 1, before[1] + 1)
    drain(world, peer, size + MIB)
    world.loop.settle()
    assert (sys.getrefcount(sent), sys.getrefcount(unsent)) == (before[0], before[1] + 1)
    protocol.transport.abort()
    assert sys.getrefcount(unsent) == before[1]


# -- at random


@pytest.mark.parametrize("seed", range(12))
def test_what_is_sent_is_what_is_received(world, seed):
    """Both ways at the same time, with little room, whatever pauses, whatever has the memory, however it is written;
    also where the one does that to the other between what was read of that and its turn."""
    chance = random.Random(seed)
    sizes = [1, 10, 1000, 5000, 70_000]
    protocols, left = [], []
    fds = socket.socketpair() if seed % 2 else tcp_pair(world)
    for fd in fds:
        fd.setblocking(False)
        with contextlib.suppress(OSError):
            fd.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, chance.choice([2304, 8192, 65536]))
        protocol = Recorder(eof_received=lambda: True)
        protocols.append(protocol)
        left.append([chance.randbytes(chance.choice(sizes)) for _ in range(chance.randrange(50, 150))])
        world.begin(fd.detach(), protocol)
    sent = [hashlib.sha256(b"".join(pieces)).hexdigest() for pieces in left]
    total = [sum(map(len, pieces)) for pieces in left]
    ends_early = seed % 3 == 0  # if not, all has to arrive without an end behind it
    paused = [False, False]
    ended = [False, False]

    def disturb(way):
        transport = protocols[way].transport
        if chance.randrange(2):
            paused[way] = not paused[way]
            transport.pause_reading() if paused[way] else transport.resume_reading()
        else:
            transport.set_protocol(chance.choice(readers[way]))

    def happen(*args):
        if not chance.randrange(8):
            disturb(chance.randrange(2))

    on = {"data_received": happen, "buffer_updated": happen, "eof_received": lambda: True}
    readers = [[Recorder(**on), BufferedRecorder(4096, **on), BufferedRecorder(700, **on)] for _ in fds]
    for group, protocol in zip(readers, protocols):
        for reader in group:
            reader.data = protocol.data
            reader.transport = protocol.transport
    while any(left) or (ends_early and not all(ended)):
        way = chance.randrange(2)
        transport = protocols[way].transport
        action = chance.randrange(7)
        if action == 0:
            disturb(way)
        elif action == 1:
            world.loop.run_until_idle()
        elif action == 2 and left[way]:
            transport.write(left[way].pop(0))
        elif action == 3 and left[way]:
            count = chance.randrange(1, 6)
            transport.writelines(left[way][:count])
            del left[way][:count]
        elif action == 4 and ends_early and not left[way] and not ended[way]:
            ended[way] = True
            transport.write_eof()
        elif world.loop.is_ready():
            world.loop.turn()
    told = [[protocol, *group] for protocol, group in zip(protocols, readers)]
    for reader in (reader for group in readers for reader in group):
        reader.on = {"eof_received": lambda: True}
    for protocol in protocols:
        protocol.transport.resume_reading()
    if not ends_early:
        world.loop.turn_until(lambda: [len(protocol.data) for protocol in protocols] == total[::-1])
        for protocol in protocols:
            protocol.transport.write_eof()
    world.loop.turn_until(lambda: all(any("eof_received" in reader.events for reader in group) for group in told))
    got = [hashlib.sha256(protocol.data).hexdigest() for protocol in protocols]
    assert got == sent[::-1]
    assert [sum(reader.events.count("eof_received") for reader in group) for group in told] == [1, 1]
    for protocol in protocols:
        protocol.transport.abort()


def tcp_pair(world):
    listener = world.listen()
    peer = socket.socket()
    peer.connect(listener.getsockname())
    return listener.accept()[0], peer


# -- with what the server serves


@pytest.fixture
def visit(world, stack, server_log):
    """Connects to an application, and gives the client's socket and the transport."""

    def visit(app, wrap=None):
        server = Server(stack, app, Settings(), False, None, None, world.loop)
        made = []

        def connect():
            made.append(stack.HTTPConnection(server.state))
            return made[0] if wrap is None else wrap(server.state, lambda: made[0])

        listener = world.listen(room=64 * KIB)
        peer = world.connect(listener)
        world.accept(listener, connect)
        (transport,) = world.transports
        return peer, transport

    return visit


def exchange(world, peer, data, end):
    """Send all of `data`, as far as the server reads; return what comes back, up to `end`."""
    got = b""
    while not got.endswith(end):
        if data:
            with contextlib.suppress(BlockingIOError):
                data = data[peer.send(data) :]
        got += take(peer)
        world.loop.settle()
    assert not data
    return got


def post(body):
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_a_large_body_goes_into_the_memory_of_its_protocol(world, visit, part):
    """And back: more than the socket takes, in one piece."""
    kinds = set()

    async def app(scope, receive, send):
        body, more = [], True
        while more:
            message = await receive()
            body.append(message["body"])
            more = message["more_body"]
            kinds.add(type(transport.get_protocol()).__name__ if transports else "")
        await respond(send, b"".join(body) + end)

    end = b"that is all"  # not to be met by chance
    transports = []
    peer, transport = visit(app)
    transports.append(transport)
    for body in (os.urandom(MIB), b"small", os.urandom(2 * MIB)):
        head, _, got = exchange(world, peer, post(body), end).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert got == body + end
    assert kinds == {"Intake", "HTTPConnection"}


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_file_goes_past_the_transport(world, visit, tmp_path, is_slow):
    """In order with what the transport still holds, to a client that takes its time."""
    content = os.urandom(5 * MIB)
    (tmp_path / "file").write_bytes(content)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        if is_slow:
            await send({"type": "http.response.body", "body": before, "more_body": True})
            with open(tmp_path / "file", "rb") as file:
                await send({"type": "http.response.zerocopysend", "file": file, "more_body": True})
            await send({"type": "http.response.body", "body": b"end"})
        else:
            await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})

    before = os.urandom(2 * MIB)
    expected = before + content + b"end" if is_slow else content
    size = len(expected)
    peer, transport = visit(app)
    for _ in range(2):
        got = exchange(world, peer, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", expected[-20:])
        assert got.partition(b"\r\n\r\n")[2] == expected
    assert transport.get_write_buffer_limits() == (16 * KIB, 64 * KIB)


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + b"A" * 22 + b"==\r\n\r\n"
)


def test_a_websocket_takes_over(world, visit):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            await send({"type": "websocket.send", "text": message["text"].upper()})

    peer, transport = visit(app)
    first = transport.get_protocol()
    got = exchange(world, peer, HANDSHAKE + b"\x81\x85\0\0\0\0hello", b"HELLO")
    assert got.startswith(b"HTTP/1.1 101 ")
    assert transport.get_protocol() is not first
    exchange(world, peer, b"\x88\x82\0\0\0\0\x03\xe8", b"\x03\xe8")
    world.loop.settle()
    assert is_ended(peer)


def test_a_header_of_the_proxy_protocol_comes_first(world, visit):
    async def app(scope, receive, send):
        await respond(send, b"%s!" % scope["client"][0].encode())

    class Everybody:
        def trusts_peer(self, client, server):
            return True

    def wrap(state, connect):
        return ProxyProtocol(state, Everybody(), connect)

    peer, _ = visit(app, wrap)
    peer.send(b"PROXY TCP4 192.0.2.7 192.0.")
    world.loop.settle()
    got = exchange(world, peer, b"2.9 1234 80\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", b"!")
    assert got.endswith(b"\r\n\r\n192.0.2.7!")
