"""Listening sockets: addresses of all kinds, and one clear line where there is none."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import threading

import pytest

from asgiserve import sockets, unix_socket
from asgiserve.addresses import TCP, Inherited, Unix
from asgiserve.addresses import refused as refused_by
from asgiserve.sockets import BindError, addresses_of, open_configured, open_listeners

from .serving import config

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

    def listen(*addresses, **more):
        listeners = open_listeners(addresses, **more)
        opened.append(listeners)
        listeners.listen(16)
        return listeners

    yield listen
    for listeners in opened:
        listeners.remove()
        listeners.close()


def refused(*addresses, **more):
    with pytest.raises(BindError) as caught:
        open_listeners(addresses, **more)
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
    listeners = listen(TCP("127.0.0.1", 0))
    port = port_of(listeners)
    assert port > 0
    assert listeners.urls() == [f"http://127.0.0.1:{port}"]
    reach(socket.AF_INET, ("127.0.0.1", port))


@needs_ipv6
def test_ipv6(listen):
    listeners = listen(TCP("::1", 0))
    port = port_of(listeners)
    assert listeners.urls() == [f"http://[::1]:{port}"]
    reach(socket.AF_INET6, ("::1", port))


@needs_ipv6
@pytest.mark.parametrize("host", ["::", ""])
def test_dual_stack(listen, host):
    listeners = listen(TCP(host, 0))
    port = port_of(listeners)
    assert listeners.urls() == [f"http://[::]:{port}"]
    reach(socket.AF_INET6, ("::1", port))
    reach(socket.AF_INET, ("127.0.0.1", port))


@pytest.mark.skipif(sys.platform != "linux", reason="only there is it set")
def test_the_congestion_control_for_clients_on_this_machine(listen):
    def congestion_control(sock):
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")

    with socket.socket() as sock:
        usual = congestion_control(sock)
    near, far = listen(TCP("127.0.0.1", 0), TCP("0.0.0.0", 0)).sockets
    assert congestion_control(near) == sockets.LOCAL_CONGESTION_CONTROL
    assert congestion_control(far) == usual
    with socket.create_connection(near.getsockname()):
        near.setblocking(True)
        accepted, _ = near.accept()
        with accepted:
            assert congestion_control(accepted) == sockets.LOCAL_CONGESTION_CONTROL


def test_a_system_without_that_congestion_control(listen, monkeypatch):
    monkeypatch.setattr(sockets, "LOCAL_CONGESTION_CONTROL", b"none such")
    listeners = listen(TCP("127.0.0.1", 0))
    reach(socket.AF_INET, ("127.0.0.1", port_of(listeners)))


def test_every_address_without_ipv6(listen, monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    listeners = listen(TCP("", 0))
    assert listeners.urls() == [f"http://0.0.0.0:{port_of(listeners)}"]
    reach(socket.AF_INET, ("127.0.0.1", port_of(listeners)))


def test_a_host_name(listen):
    listeners = listen(TCP("localhost", 0))
    ports = {sock.getsockname()[1] for sock in listeners.sockets}
    assert len(ports) == 1, "one port for all addresses of the name"
    assert listeners.urls() == [f"http://localhost:{ports.pop()}"]


def test_a_name_with_an_address_that_is_not_there(listen, monkeypatch):
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert len(listen(TCP("both.example", 0)).sockets) == 1
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found[:1])
    assert "not one of this machine" in refused(TCP("gone.example", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    assert "no address" in refused(TCP("empty.example", 0))


def test_a_free_port_that_is_taken_at_the_next_address(listen, monkeypatch):
    original = sockets._bind_one
    calls = []

    def bind(family, address, where, reuse_port, dual_stack=False):
        calls.append(address)
        if len(calls) == 2:
            failure = BindError("taken")
            failure.errno = errno.EADDRINUSE
            raise failure
        return original(family, address, where, reuse_port, dual_stack)

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(sockets, "_bind_one", bind)
    try:
        listeners = listen(TCP("two.example", 0))
    except BindError:
        pytest.skip("this system has one loopback address only")
    assert len(calls) == 4
    assert len({sock.getsockname()[1] for sock in listeners.sockets}) == 1


def test_a_name_that_nobody_knows(monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert "nowhere.example:80" in refused(TCP("nowhere.example", 80))


def test_address_in_use(listen):
    port = port_of(listen(TCP("127.0.0.1", 0)))
    text = refused(TCP("127.0.0.1", port))
    assert text == f"Cannot listen on 127.0.0.1:{port}: the address is already in use"


def test_two_may_be_bound_but_one_listens(listen):
    first = open_listeners([TCP("127.0.0.1", 0)])
    try:
        try:
            second = open_listeners([TCP("127.0.0.1", port_of(first))])
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
    assert "permission denied" in refused(TCP("127.0.0.1", 1))


def test_permission_denied_is_said_plainly():
    error = refused_by("127.0.0.1:80", PermissionError(13, "whatever"))
    assert str(error) == "Cannot listen on 127.0.0.1:80: permission denied"


@needs_ipv6
def test_ipv6_literals_are_in_brackets(listen):
    port = port_of(listen(TCP("::1", 0)))
    assert refused(TCP("::1", port)).startswith(f"Cannot listen on [::1]:{port}: ")


# -- UNIX


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


@needs_unix
def test_unix(listen, path):
    listeners = listen(Unix(path))
    assert listeners.urls() == [f"unix:{path}"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    reach(socket.AF_UNIX, path)
    listeners.remove()
    listeners.close()
    assert not os.path.exists(path)


def leave_stale(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)


@needs_unix
def test_a_stale_socket_is_replaced_and_its_mode_kept(listen, path):
    leave_stale(path)
    os.chmod(path, 0o600)
    listen(Unix(path))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    reach(socket.AF_UNIX, path)


@needs_unix
def test_a_live_socket_is_left_alone(listen, path):
    listen(Unix(path))
    assert "already in use" in refused(Unix(path))
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
            assert "already in use" in refused(Unix(path))
            assert os.path.exists(path)
        finally:
            for client in waiting:
                client.close()


@needs_unix
def test_a_file_is_left_alone(path):
    with open(path, "w") as file:
        file.write("precious")
    assert "not a socket" in refused(Unix(path))
    with open(path) as file:
        assert file.read() == "precious"


@needs_unix
def test_a_symbolic_link_is_left_alone(path):
    os.symlink("/dev/null", path)
    assert "not a socket" in refused(Unix(path))
    assert os.path.islink(path)


@needs_unix
def test_no_such_directory(path):
    assert "no such directory" in refused(Unix(path + "/missing/s"))


@needs_unix
def test_a_path_that_is_too_long(path):
    assert "too long" in refused(Unix(path + "x" * 200))


@needs_unix
def test_the_socket_of_a_successor_is_not_removed(listen, path):
    first = listen(Unix(path))
    os.rename(path, path + ".old")  # keeps the inode busy, so that the successor has another one
    listen(Unix(path))
    first.remove()
    first.close()
    reach(socket.AF_UNIX, path)


def test_no_unix_sockets_on_this_platform(monkeypatch, path):
    monkeypatch.setattr(unix_socket, "AF_UNIX", None)
    assert "no UNIX sockets" in refused(Unix(path))


# -- inherited


def test_inherited_tcp(listen):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        listeners = listen(Inherited(sock.fileno()))
        assert listeners.urls() == [f"http://127.0.0.1:{sock.getsockname()[1]}"]
        reach(socket.AF_INET, sock.getsockname())
        listeners.close()
        assert sock.fileno() >= 0
        sock.getsockname()  # the inherited descriptor itself stays open


@needs_ipv6
def test_inherited_ipv6(listen):
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        assert listen(Inherited(sock.fileno())).urls() == [f"http://[::1]:{sock.getsockname()[1]}"]


@needs_unix
def test_inherited_unix(listen, path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        listeners = listen(Inherited(sock.fileno()))
        assert listeners.urls() == [f"unix:{path}"]
        reach(socket.AF_UNIX, path)
        listeners.remove()
        listeners.close()
        assert os.path.exists(path), "its file belongs to whoever made the socket"


def test_inherited_datagram():
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        assert "neither a TCP nor a UNIX stream socket" in refused(Inherited(sock.fileno()))


def test_inherited_file(tmp_path):
    with open(tmp_path / "file", "w") as file:
        assert "not a socket" in refused(Inherited(file.fileno()))


def test_inherited_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert f"file descriptor {writer}: " in refused(Inherited(writer))


def test_inherited_connection():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        with socket.create_connection(sock.getsockname()), sock.accept()[0] as accepted:
            assert "a connection, not a socket to accept" in refused(Inherited(accepted.fileno()))
            assert "(web): " in refused(Inherited(accepted.fileno(), "web"))


# -- several


@needs_unix
@needs_ipv6
def test_several_of_every_kind(listen, path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        addresses = TCP("127.0.0.1", 0), TCP("::1", 0), Unix(path), Inherited(sock.fileno())
        urls = listen(*addresses).urls()
        inherited = sock.getsockname()[1]
    assert [url.rpartition(":")[0] for url in urls[:2]] == ["http://127.0.0.1", "http://[::1]"]
    assert urls[2:] == [f"unix:{path}", f"http://127.0.0.1:{inherited}"]


@needs_unix
def test_nothing_stays_open_when_one_of_them_fails(listen, path):
    taken = listen(TCP("127.0.0.1", 0))
    assert "already in use" in refused(Unix(path), TCP("127.0.0.1", port_of(taken)))
    assert not os.path.exists(path)


@needs_ipv6
@pytest.mark.parametrize("order", [1, -1])
def test_ipv6_beside_ipv4_of_the_same_port(listen, order):
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        port = sock.getsockname()[1]
    listeners = listen(*[TCP("0.0.0.0", port), TCP("::", port)][::order])
    assert {sock.family for sock in listeners.sockets} == {socket.AF_INET, socket.AF_INET6}
    reach(socket.AF_INET, ("127.0.0.1", port))
    reach(socket.AF_INET6, ("::1", port))


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT on this platform")
def test_two_listen_on_one_port_where_both_agree(listen):
    first = listen(TCP("127.0.0.1", 0), reuse_port=True)
    second = listen(TCP("127.0.0.1", port_of(first)), reuse_port=True)
    assert first.urls() == second.urls()
    assert "already in use" in refused(TCP("127.0.0.1", port_of(first)))


def test_no_reuse_port_on_this_platform(monkeypatch):
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    assert "no SO_REUSEPORT" in refused(TCP("127.0.0.1", 0), reuse_port=True)


# -- the files of UNIX sockets


@needs_unix
@pytest.mark.parametrize("umask", [0, 0o077])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_mode_that_is_asked_for(listen, path, mode, umask):
    leave_stale(path)
    os.chmod(path, 0o644)
    earlier = os.umask(umask)
    try:
        listen(Unix(path), uds_permissions=mode)
    finally:
        os.umask(earlier)
    assert stat.S_IMODE(os.stat(path).st_mode) == mode


@needs_unix
def test_the_socket_of_a_server_that_has_yet_to_listen_is_left_alone(path):
    starting = open_listeners([Unix(path)])
    try:
        assert "already in use" in refused(Unix(path))
        starting.listen(1)
        reach(socket.AF_UNIX, path)
    finally:
        starting.remove()
        starting.close()


@needs_unix
def test_a_server_is_not_bothered_by_the_test_whether_it_lives(listen, path):
    (sock,) = listen(Unix(path)).sockets
    refused(Unix(path))
    with pytest.raises(BlockingIOError):
        sock.accept()


@needs_unix
def test_a_datagram_socket_is_left_alone(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        assert "already in use" in refused(Unix(path))
    assert os.path.exists(path)


@needs_unix
def test_the_file_is_removed_after_the_directory_was_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listeners = open_listeners([Unix("s")])
    os.mkdir("elsewhere")
    os.chdir("elsewhere")
    listeners.remove()
    listeners.close()
    assert not (tmp_path / "s").exists()


@needs_unix
def test_a_lock_of_others_on_the_directory_does_not_stop_the_server(listen, path, tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(unix_socket, "_PATIENCE", 0.05)
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        listen(Unix(path))
        reach(socket.AF_UNIX, path)
    finally:
        os.close(held)


@needs_unix
def test_one_of_two_takes_over_a_stale_socket(listen, path, monkeypatch):
    """The second looks while the first has yet to remove what it found to be stale."""
    leave_stale(path)
    original = unix_socket._is_alive
    others, said = [], []

    def is_alive(address):
        alive = original(address)
        if not others:
            others.append(threading.Thread(target=lambda: said.append(refused(Unix(path)))))
            others[0].start()
            others[0].join(0.2)
        return alive

    monkeypatch.setattr(unix_socket, "_is_alive", is_alive)
    listen(Unix(path))
    others[0].join()
    assert "already in use" in said[0]
    reach(socket.AF_UNIX, path)


# -- what the settings mean


def named(**options):
    return addresses_of(config(**options))


def test_which_of_the_settings_count():
    assert named(port=8000) == [TCP("127.0.0.1", 8000)]
    assert named(host=None, port=1) == [TCP("", 1)]
    assert named(host="", port=1) == [TCP("", 1)]
    assert named(host="::", uds="/s") == [Unix("/s")]
    assert named(uds="/s", fd=0) == [Inherited(0)]
    assert named(uds="/s", fd=0, bind=["127.0.0.1:1", "fd://7"]) == [TCP("127.0.0.1", 1), Inherited(7)]
    assert named(bind=":1") == [TCP("", 1)]
    assert named(port=2, bind=None) == [TCP("127.0.0.1", 2)]
    assert named(bind=81) == [TCP("127.0.0.1", 81)]


def test_settings_without_effect_are_named(caplog):
    open_configured(config(bind="127.0.0.1:0", host="::1", port=3)).close()
    (record,) = caplog.records
    assert record.getMessage() == "host, port has no effect: bind is set."
    caplog.clear()
    open_configured(config(bind="127.0.0.1:0", port=8000)).close()
    assert not caplog.records


@needs_unix
def test_the_mode_from_the_settings(path):
    for mode in ("0640", 0o640):
        listeners = open_configured(config(uds=path, uds_permissions=mode))
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
        listeners.remove()
        listeners.close()


@pytest.mark.skipif(not hasattr(os, "get_blocking"), reason="one mode for all who share a socket is a thing of POSIX")
def test_the_mode_of_a_shared_socket_does_not_change():
    """Another process may be in accept(), and would wait there for ever if somebody else took the connection."""
    with socket.socket() as sock:
        sock.setblocking(False)
        with sockets.from_fd(os.dup(sock.fileno())) as copy:
            assert not os.get_blocking(sock.fileno())
            assert copy.gettimeout() == 0
        assert not os.get_blocking(sock.fileno())
    assert socket.getdefaulttimeout() is None
