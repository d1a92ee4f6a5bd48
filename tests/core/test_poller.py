"""The twins that ask the system: what is ready, and the calls on sockets that do not block."""

from __future__ import annotations

import gc
import os
import select
import socket

import pytest

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")


@pytest.fixture
def poller(part):
    return part("poller")


@pytest.fixture
def pair():
    one, two = socket.socketpair()
    with one, two:
        one.setblocking(False)
        two.setblocking(False)
        yield one, two


@pytest.fixture
def polled(poller):
    instance = poller.Poller()
    yield instance
    instance.close()


def ready(polled):
    """What a look shows."""
    return {polled.ready_fd(index): polled.ready_events(index) for index in range(polled.wait())}


def fill(sock):
    """Write until the socket takes no more; return the number of bytes."""
    total = 0
    try:
        while True:
            total += sock.send(bytes(65536))
    except BlockingIOError:
        return total


def is_ready(fd):
    return bool(select.select([fd], [], [], 0)[0])


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# -- watching


def test_the_numbers_are_those_of_epoll(poller):
    assert poller.HAS_POLLER
    assert (poller.READABLE, poller.WRITABLE) == (select.EPOLLIN, select.EPOLLOUT)
    assert getattr(select, "EPOLLRDHUP", 0x2000) == poller.ENDING  # PyPy does not say


def test_a_socket_is_watched_for_what_was_said_last(poller, polled, pair):
    one, two = pair
    fd = one.fileno()
    assert ready(polled) == {}
    polled.watch(fd, 0, poller.READABLE)
    assert ready(polled) == {}
    assert not is_ready(polled.fileno())
    two.send(b"x")
    assert ready(polled) == {fd: poller.READABLE}
    assert is_ready(polled.fileno())
    assert ready(polled) == {fd: poller.READABLE}, "it is told again until it is read"
    polled.watch(fd, poller.READABLE, poller.READABLE + poller.WRITABLE)
    assert ready(polled) == {fd: poller.READABLE + poller.WRITABLE}
    polled.watch(fd, poller.READABLE + poller.WRITABLE, poller.WRITABLE)
    assert ready(polled) == {fd: poller.WRITABLE}
    polled.watch(fd, poller.WRITABLE, 0)
    assert ready(polled) == {}
    assert not is_ready(polled.fileno())


def test_edges_are_told_once(poller, polled, pair):
    one, two = pair
    fd = one.fileno()
    two.send(b"x")
    polled.watch_edges(fd, 0, poller.READABLE)
    assert ready(polled) == {fd: poller.READABLE}, "what is there already"
    assert ready(polled) == {}
    assert not is_ready(polled.fileno())
    polled.watch_edges(fd, poller.READABLE, poller.READABLE)
    assert ready(polled) == {fd: poller.READABLE}, "to watch it anew is to look again"
    two.send(b"y")
    assert ready(polled) == {fd: poller.READABLE}, "new bytes, though those before have not been read"
    one.recv(2)
    assert ready(polled) == {}
    two.shutdown(socket.SHUT_WR)
    assert ready(polled) == {fd: poller.READABLE + poller.ENDING}
    polled.watch_edges(fd, poller.READABLE, 0)
    polled.watch_edges(fd, 0, 0)
    two.close()
    assert ready(polled) == {}


def test_edges_of_room_to_write(poller, polled, pair):
    one, two = pair
    fill(one)
    polled.watch_edges(one.fileno(), 0, poller.WRITABLE)
    assert ready(polled) == {}
    while select.select([two], [], [], 0)[0]:
        two.recv(1 << 20)
    assert ready(polled) == {one.fileno(): poller.WRITABLE}
    assert ready(polled) == {}
    two.shutdown(socket.SHUT_WR)
    assert ready(polled) == {one.fileno(): poller.WRITABLE}, "nobody wants to know of the input"


def test_the_end_of_a_connection_is_told_with_other_numbers(poller, polled, pair):
    one, two = pair
    polled.watch(one.fileno(), 0, poller.READABLE)
    two.close()
    assert ready(polled)[one.fileno()] == select.EPOLLIN | select.EPOLLHUP


def test_no_change_is_no_call(poller, polled):
    polled.watch(-1, poller.READABLE, poller.READABLE)


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 4)])
def test_what_the_system_does_not_take(polled, tmp_path, before, after):
    with open(tmp_path / "file", "wb") as file, pytest.raises(OSError, match=r"\[Errno "):
        polled.watch(file.fileno(), before, after)


def test_no_more_than_there_is_room_for(poller, polled):
    pairs = [socket.socketpair() for _ in range(poller.MAX_READY + 2)]
    try:
        for one, two in pairs:
            polled.watch(one.fileno(), 0, poller.READABLE)
            two.send(b"x")
        seen = set()
        for _ in range(2):
            now = ready(polled)
            assert len(now) == poller.MAX_READY
            seen |= set(now)
        assert seen == {one.fileno() for one, _ in pairs}, "those that were left out come first in the next look"
    finally:
        for one, two in pairs:
            one.close()
            two.close()


def test_what_is_not_there(poller, polled, pair):
    """A look within a look has shown less than the first one."""
    one, two = pair
    polled.watch(one.fileno(), 0, poller.READABLE)
    two.send(b"x")
    assert polled.wait() == 1
    one.recv(1)
    assert polled.wait() == 0
    assert (polled.ready_fd(0), polled.ready_events(0)) == (-1, 0)


def test_the_instance_is_closed_once(poller):
    polled = poller.Poller()
    fd = polled.fileno()
    assert not os.get_inheritable(fd)
    polled.close()
    assert polled.fileno() == -1
    assert not is_open(fd)
    other = os.open(os.devnull, os.O_RDONLY)  # has the number now
    try:
        polled.close()
        del polled
        assert is_open(other)
    finally:
        os.close(other)


def test_a_closed_instance_watches_nothing(poller, pair):
    polled = poller.Poller()
    polled.close()
    with pytest.raises(OSError, match="Errno 9"):
        polled.watch(pair[0].fileno(), 0, poller.READABLE)


def test_an_instance_that_is_dropped_is_closed(poller):
    polled = poller.Poller()
    fd = polled.fileno()
    del polled
    gc.collect()  # for PyPy
    assert not is_open(fd)


# -- reading


def test_receive(poller, pair):
    one, two = pair
    assert poller.receive(one.fileno(), 100) is None
    two.send(b"hello")
    assert poller.receive(one.fileno(), 2) == b"he"
    assert poller.receive(one.fileno(), 100) == b"llo"
    two.close()
    assert poller.receive(one.fileno(), 100) == b""


def test_receive_more_than_is_read_at_once(poller, pair):
    one, two = pair
    size = fill(two)
    data = b""
    while len(data) < size:
        piece = poller.receive(one.fileno(), 1 << 30) if len(data) < 1000 else poller.receive(one.fileno(), 1000)
        data += piece
    assert data == bytes(size)


def test_receive_into(poller, pair):
    one, two = pair
    buffer = bytearray(b"-" * 8)
    assert poller.receive_into(one.fileno(), buffer) == -1
    two.send(b"hello")
    assert poller.receive_into(one.fileno(), memoryview(buffer)[:3]) == 3
    assert poller.receive_into(one.fileno(), memoryview(buffer)[4:]) == 2
    assert buffer == b"hel-lo--"
    two.close()
    assert poller.receive_into(one.fileno(), buffer) == 0
    buffer.append(0)  # nobody holds it any more


def test_a_buffer_without_room_is_no_end(poller, pair):
    one, two = pair
    two.send(b"x")
    with pytest.raises(ValueError, match="empty buffer"):
        poller.receive_into(one.fileno(), bytearray())
    assert poller.receive(one.fileno(), 1) == b"x"


@pytest.mark.parametrize("buffer", [b"123", memoryview(b"123")])
def test_a_buffer_that_cannot_be_written_to(poller, pair, buffer):
    pair[1].send(b"x")
    with pytest.raises((TypeError, BufferError, OSError)):
        poller.receive_into(pair[0].fileno(), buffer)
    assert buffer == b"123"


@pytest.mark.parametrize("call", ["receive", "receive_into"])
def test_reading_fails(poller, call):
    with pytest.raises(OSError, match=r"Errno 9\b"):
        getattr(poller, call)(-1, 1 if call == "receive" else bytearray(1))


# -- writing


def test_send(poller, pair):
    one, two = pair
    assert poller.send(one.fileno(), b"hello") == 5
    assert two.recv(100) == b"hello"
    fill(one)
    assert poller.send(one.fileno(), b"hello") == 0


def test_send_as_much_as_there_is_room_for(poller, pair):
    one, two = pair
    data = os.urandom(1 << 20)
    sent = poller.send(one.fileno(), data)
    assert 0 < sent < len(data)
    got = b""
    while len(got) < sent:
        got += two.recv(1 << 20)
    assert got == data[:sent]


def test_send_pieces(poller, pair):
    one, two = pair
    assert poller.send_pieces(one.fileno(), [b"abc"], 0) == 3
    assert poller.send_pieces(one.fileno(), [b"abc", b"", b"d"], 2) == 2
    assert two.recv(100) == b"abccd"
    fill(one)
    assert poller.send_pieces(one.fileno(), [b"abc", b"d"], 0) == 0


@pytest.mark.parametrize("count", [64, 65, 5000])
def test_send_no_more_than_64_pieces(poller, pair, count):
    one, two = pair
    pieces = [bytes([number % 256]) for number in range(count)]
    assert poller.send_pieces(one.fileno(), pieces, 0) == 64
    assert two.recv(10000) == b"".join(pieces[:64])


def test_writing_to_nobody(poller, pair):
    one, two = pair
    two.close()
    with pytest.raises(BrokenPipeError):
        poller.send(one.fileno(), b"x")
    with pytest.raises(BrokenPipeError):
        poller.send_pieces(one.fileno(), [b"x"], 0)


# -- accepting, and addresses


def listen(family, address):
    listener = socket.socket(family)
    listener.bind(address)
    listener.listen(5)
    listener.setblocking(False)
    return listener


def tcp(family, host):
    try:
        return listen(family, (host, 0))
    except OSError:
        pytest.skip(f"{host} is not an address of this machine")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_accept_tcp(poller, family, host):
    with tcp(family, host) as listener:
        with pytest.raises(BlockingIOError):
            poller.accept(listener)
        with socket.create_connection(listener.getsockname()[:2]) as client:
            fd, address = poller.accept(listener)
            with socket.socket(fileno=fd) as served:
                assert address == client.getsockname() == served.getpeername()
                assert poller.local_address(fd, family) == client.getpeername() == served.getsockname()
                assert not os.get_blocking(fd)
                assert not os.get_inheritable(fd)


def test_an_ipv4_client_of_an_ipv6_socket(poller):
    with tcp(socket.AF_INET6, "::") as listener:
        if listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            pytest.skip("this system keeps the two apart")
        with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as client:
            fd, address = poller.accept(listener)
            with socket.socket(fileno=fd) as served:
                assert address == served.getpeername()
                assert address[:2] == ("::ffff:127.0.0.1", client.getsockname()[1])
                assert poller.local_address(fd, socket.AF_INET6) == served.getsockname()


@pytest.mark.parametrize("name", [None, "client", b"\0asgiserve-test-client"])
def test_accept_unix(poller, tmp_path, name):
    """A client without a name, as nearly all are, one with a file, and one in Linux's abstract name space."""
    path = str(tmp_path / "listener")
    with listen(socket.AF_UNIX, path) as listener, socket.socket(socket.AF_UNIX) as client:
        if name is not None:
            client.bind(name + b"-%d" % os.getpid() if isinstance(name, bytes) else str(tmp_path / name))
        client.connect(path)
        fd, address = poller.accept(listener)
        with socket.socket(fileno=fd) as served:
            assert address == client.getsockname() == served.getpeername()
            assert poller.local_address(fd, socket.AF_UNIX) == path
            assert not os.get_blocking(fd)


def test_the_one_who_has_left_is_accepted(poller, tmp_path):
    path = str(tmp_path / "listener")
    with listen(socket.AF_UNIX, path) as listener:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        fd, address = poller.accept(listener)
        assert address == ""
        assert poller.receive(fd, 10) == b""
        os.close(fd)


def test_accept_at_what_does_not_listen(poller, pair):
    closed = socket.socket()
    closed.close()
    for sock in (pair[0], closed):
        with pytest.raises(OSError, match=r"Errno (9|22)\b"):
            poller.accept(sock)


def test_the_address_of_nothing(poller):
    fd = os.dup(0)
    os.close(fd)
    with pytest.raises(OSError, match=r"Errno 9\b"):
        poller.local_address(fd, socket.AF_INET)
