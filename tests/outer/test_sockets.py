"""Listening sockets: addresses of all kinds, and one clear line where there is none."""

from __future__ import annotations

import errno
import os
import socket
import stat

import pytest

from asgiserve import sockets
from asgiserve.sockets import BindError, open_listeners

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets on this platform")


def has_ipv6():
    if not socket.has_ipv6:
        return False
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


@pytest.fixture
def listen():
    opened = []

    def listen(*arguments, **more):
        listeners = open_listeners(*arguments, **more)
        opened.append(listeners)
        listeners.listen(16)
        return listeners

    yield listen
    for listeners in opened:
        listeners.close()
        listeners.remove()


def refused(*arguments, **more):
    with pytest.raises(BindError) as caught:
        open_listeners(*arguments, **more)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("Cannot listen on ")
    return text


def port_of(listeners):
    return listeners.sockets[0].getsockname()[1]


def reach(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(address)


def test_ipv4(listen):
    listeners = listen("127.0.0.1", 0)
    port = port_of(listeners)
    assert port > 0
    assert listeners.urls() == [f"http://127.0.0.1:{port}"]
    reach(socket.AF_INET, ("127.0.0.1", port))


@needs_ipv6
def test_ipv6(listen):
    listeners = listen("::1", 0)
    port = port_of(listeners)
    assert listeners.urls() == [f"http://[::1]:{port}"]
    reach(socket.AF_INET6, ("::1", port))


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "", None])
def test_dual_stack(listen, host):
    listeners = listen(host, 0)
    port = port_of(listeners)
    assert listeners.urls() == [f"http://[::]:{port}"]
    reach(socket.AF_INET6, ("::1", port))
    reach(socket.AF_INET, ("127.0.0.1", port))


@pytest.mark.parametrize("host", ["", None])
def test_every_address_without_ipv6(listen, host, monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    listeners = listen(host, 0)
    assert listeners.urls() == [f"http://0.0.0.0:{port_of(listeners)}"]
    reach(socket.AF_INET, ("127.0.0.1", port_of(listeners)))


def test_a_host_name(listen):
    listeners = listen("localhost", 0)
    ports = {sock.getsockname()[1] for sock in listeners.sockets}
    assert len(ports) == 1, "one port for all addresses of the name"
    assert listeners.urls() == [f"http://localhost:{ports.pop()}"]


def test_a_name_with_an_address_that_is_not_there(listen, monkeypatch):
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert len(listen("both.example", 0).sockets) == 1
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found[:1])
    assert "not one of this machine" in refused("gone.example", 0)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    assert "no address" in refused("empty.example", 0)


def test_a_free_port_that_is_taken_at_the_next_address(listen, monkeypatch):
    original = sockets._bind_one
    calls = []

    def bind(family, address, where, dual_stack=False):
        calls.append(address)
        if len(calls) == 2:
            failure = BindError("taken")
            failure.errno = errno.EADDRINUSE
            raise failure
        return original(family, address, where, dual_stack)

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(sockets, "_bind_one", bind)
    try:
        listeners = listen("two.example", 0)
    except BindError:
        pytest.skip("this system has one loopback address only")
    assert len(calls) == 4
    assert len({sock.getsockname()[1] for sock in listeners.sockets}) == 1


def test_a_name_that_nobody_knows(monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert "nowhere.example:80" in refused("nowhere.example", 80)


def test_address_in_use(listen):
    port = port_of(listen("127.0.0.1", 0))
    text = refused("127.0.0.1", port)
    assert text == f"Cannot listen on 127.0.0.1:{port}: the address is already in use"


def test_two_may_be_bound_but_one_listens(listen):
    first = open_listeners("127.0.0.1", 0)
    try:
        try:
            second = open_listeners("127.0.0.1", port_of(first))
        except BindError:
            return  # some systems say so at once
        try:
            first.listen(1)
            with pytest.raises(BindError, match="already in use"):
                second.listen(1)
        finally:
            second.close()
    finally:
        first.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs an ordinary user")
def test_permission_denied():
    assert "permission denied" in refused("127.0.0.1", 1)


def test_permission_denied_is_said_plainly():
    error = sockets._failure("127.0.0.1:80", PermissionError(13, "whatever"))
    assert str(error) == "Cannot listen on 127.0.0.1:80: permission denied"


@needs_ipv6
def test_ipv6_literals_are_in_brackets(listen):
    port = port_of(listen("::1", 0))
    assert refused("::1", port).startswith(f"Cannot listen on [::1]:{port}: ")


# -- UNIX


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


@needs_unix
def test_unix(listen, path):
    listeners = listen(None, 0, uds=path)
    assert listeners.urls() == [f"unix:{path}"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    reach(socket.AF_UNIX, path)
    listeners.close()
    listeners.remove()
    assert not os.path.exists(path)


def leave_stale(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)


@needs_unix
def test_a_stale_socket_is_replaced_and_its_mode_kept(listen, path):
    leave_stale(path)
    os.chmod(path, 0o600)
    listen(None, 0, uds=path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    reach(socket.AF_UNIX, path)


@needs_unix
def test_a_live_socket_is_left_alone(listen, path):
    listen(None, 0, uds=path)
    assert "already in use" in refused(None, 0, uds=path)
    reach(socket.AF_UNIX, path)


@needs_unix
def test_a_live_socket_with_a_full_backlog_is_left_alone(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(0)
        waiting = []
        try:
            for _ in range(8):
                client = socket.socket(socket.AF_UNIX)
                waiting.append(client)
                client.setblocking(False)
                try:
                    client.connect(path)
                except OSError:
                    break
            assert "already in use" in refused(None, 0, uds=path)
            assert os.path.exists(path)
        finally:
            for client in waiting:
                client.close()


@needs_unix
def test_a_file_is_left_alone(path):
    with open(path, "w") as file:
        file.write("precious")
    assert "not a socket" in refused(None, 0, uds=path)
    with open(path) as file:
        assert file.read() == "precious"


@needs_unix
def test_a_symbolic_link_is_left_alone(path):
    os.symlink("/dev/null", path)
    assert "not a socket" in refused(None, 0, uds=path)
    assert os.path.islink(path)


@needs_unix
def test_no_such_directory(path):
    assert "no such directory" in refused(None, 0, uds=path + "/missing/s")


@needs_unix
def test_a_path_that_is_too_long(path):
    assert "too long" in refused(None, 0, uds=path + "x" * 200)


@needs_unix
def test_the_socket_of_a_successor_is_not_removed(listen, path):
    first = listen(None, 0, uds=path)
    os.rename(path, path + ".old")  # keeps the inode busy, so that the successor has another one
    listen(None, 0, uds=path)
    first.close()
    first.remove()
    reach(socket.AF_UNIX, path)


def test_no_unix_sockets_on_this_platform(monkeypatch, path):
    monkeypatch.setattr(sockets, "_UNIX", None)
    assert "no UNIX sockets" in refused(None, 0, uds=path)


# -- inherited


def test_inherited_tcp(listen):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        listeners = listen(None, 0, fd=sock.fileno())
        assert listeners.urls() == [f"http://127.0.0.1:{sock.getsockname()[1]}"]
        reach(socket.AF_INET, sock.getsockname())
        listeners.close()
        assert sock.fileno() >= 0
        sock.getsockname()  # the inherited descriptor itself stays open


@needs_ipv6
def test_inherited_ipv6(listen):
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        assert listen(None, 0, fd=sock.fileno()).urls() == [f"http://[::1]:{sock.getsockname()[1]}"]


@needs_unix
def test_inherited_unix(listen, path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        listeners = listen(None, 0, fd=sock.fileno())
        assert listeners.urls() == [f"unix:{path}"]
        reach(socket.AF_UNIX, path)
        listeners.close()
        listeners.remove()
        assert os.path.exists(path), "its file belongs to whoever made the socket"


def test_inherited_datagram():
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        assert "neither a TCP nor a UNIX stream socket" in refused(None, 0, fd=sock.fileno())


def test_inherited_file(tmp_path):
    with open(tmp_path / "file", "w") as file:
        assert "not a socket" in refused(None, 0, fd=file.fileno())


def test_inherited_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert f"file descriptor {writer}: " in refused(None, 0, fd=writer)
