"""HTTPS and wss with real clients: curl, openssl, httpx, websockets."""

from __future__ import annotations

import json
import re
import shutil
import signal
import ssl
import subprocess

import pytest

from .launcher import wait_for

PAYLOAD = bytes(range(256)) * 32768  # 8 MiB


@pytest.fixture(scope="session")
def authority(library, tmp_path_factory):
    library("trustme")
    from certificates import Certificates

    return Certificates(tmp_path_factory.mktemp("tls"))


def options(authority, *more):
    issued = authority.server
    return ["--ssl-certfile", issued.certificate, "--ssl-keyfile", issued.key, *more]


@pytest.fixture
def secure(ours, serve, authority):
    return serve("raw_app:app", *options(authority))


@pytest.fixture
def mutual(ours, serve, authority):
    return serve("raw_app:app", *options(authority, "--ssl-cert-reqs", "2", "--ssl-ca-certs", authority.path))


def url(server, target=""):
    return f"https://localhost:{server.port}{target}"


@pytest.fixture
def https(curl, authority):
    """https(server, target, *arguments): what curl wrote."""

    def run(server, target, *arguments, **keywords):
        return curl("--cacert", authority.path, "--ipv4", *arguments, url(server, target), **keywords)

    return run


# -- curl


def test_scope(secure, https, authority):
    scope = json.loads(https(secure, "/scope"))
    assert scope["scheme"] == "https"
    tls = scope["extensions"]["tls"]
    assert tls["server_cert"] == authority.server.pem
    assert tls["tls_version"] in (0x0303, 0x0304)
    assert isinstance(tls["cipher_suite"], int)
    assert (tls["client_cert_chain"], tls["client_cert_name"], tls["client_cert_error"]) == ([], None, None)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_versions(secure, https, version):
    scope = json.loads(https(secure, "/scope", f"--tlsv{version}", "--tls-max", version))
    assert scope["extensions"]["tls"]["tls_version"] == {"1.2": 0x0303, "1.3": 0x0304}[version]


def test_keep_alive(secure, https):
    out = https(secure, "/hello", "--write-out", "|%{num_connects}\n", url(secure, "/hello"))
    assert out.splitlines() == [b"Hello, world!|1", b"Hello, world!|0"]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_large_body_both_ways(secure, https, version):
    out = https(secure, "/echo", "--tls-max", version, "--data-binary", "@-", stdin=PAYLOAD)
    assert out == PAYLOAD


def test_http_1_0(secure, https):
    """Without a length, the end in TLS is the end of the body."""
    assert https(secure, "/stream?n=3&size=2", "--http1.0") == b"001122"


def test_ignored_upload(secure, https):
    """The app answers without reading 8 MiB; curl is told the answer, not a reset."""
    assert https(secure, "/ignore-body", "--data-binary", "@-", stdin=PAYLOAD) == b"not read"


def test_expect_continue(secure, https):
    arguments = ["--expect100-timeout", "60", "--header", "Expect: 100-continue", "--data-binary", "@-"]
    assert https(secure, "/echo", *arguments, stdin=b"expected") == b"expected"


def test_parallel(secure, https):
    out = https(secure, "/scope?n=[1-50]", "--parallel", "--parallel-max", "25")
    assert out.count(b'"type": "http"') == 50


def test_file(serve, library, https, authority, tmp_path):
    """What sendfile would send goes through TLS."""
    library("starlette")
    path = tmp_path / "file.bin"
    path.write_bytes(PAYLOAD)
    server = serve("starlette_app:app", *options(authority))
    assert https(server, f"/any-file?path={path}") == PAYLOAD


def test_client_that_does_not_trust_us(secure):
    """Python, as newer versions of curl complete the handshake before they look at the certificate."""
    start = len(secure.stderr())
    with secure.connect() as sock, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")
    line = wait_for(lambda: re.search(r".*TLS handshake failed.*", secure.stderr()[start:]), what="a log line")
    assert re.search(r"WARNING: +127\.0\.0\.1:\d+ - TLS handshake failed: the client says: unknown ca", line.group())


def test_plain_http(secure, curl):
    out = curl(f"http://127.0.0.1:{secure.port}/hello", "--include")
    assert out.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert out.endswith(b"\r\n\r\nplain HTTP was sent to a port that speaks TLS")


# -- client certificates


def test_client_certificate(mutual, https, authority):
    client = authority.client
    scope = json.loads(https(mutual, "/scope", "--cert", client.certificate, "--key", client.key))
    tls = scope["extensions"]["tls"]
    assert tls["client_cert_chain"][0] == client.pem
    assert tls["client_cert_name"].startswith("CN=Ann,OU=")
    assert tls["client_cert_name"].endswith("O=A\\, B & C")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_no_client_certificate(mutual, https, program, authority, version):
    """curl names the failure as it likes; the log says what it is."""
    start = len(mutual.stderr())
    argv = [program("curl"), "-s", "--ipv4", "--cacert", authority.path, "--tls-max", version, url(mutual, "/hello")]
    assert subprocess.run(argv, timeout=20, stdout=subprocess.PIPE).returncode != 0
    failure = "TLS handshake failed: peer did not return a certificate"
    wait_for(lambda: failure in mutual.stderr()[start:], what="a log line")


# -- openssl


def test_openssl_pipelining_and_half_close(secure, program, authority):
    """s_client ends its side, in TLS and in TCP, right behind the requests."""
    one = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    argv = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{secure.port}", "-CAfile", authority.path]
    argv += ["-verify_return_error", "-verify_hostname", "localhost", "-quiet", "-alpn", "h2,http/1.1"]
    done = subprocess.run(argv, input=one * 9 + last, capture_output=True, timeout=20)
    assert done.stdout.count(b"HTTP/1.1 200 OK\r\n") == 10, done.stderr
    assert b"unexpected eof" not in done.stderr


def test_openssl_resumes(secure, program, authority, tmp_path):
    """A second connection with the ticket of the first needs no full handshake."""
    ticket = str(tmp_path / "session")
    argv = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{secure.port}", "-CAfile", authority.path]
    request = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    def connect(*more):
        return subprocess.run([*argv, "-ign_eof", *more], input=request, capture_output=True, timeout=20).stdout

    first = connect("-sess_out", ticket)
    assert b"\nNew, TLS" in first
    second = connect("-sess_in", ticket)
    assert b"\nReused, TLS" in second
    assert second.count(b"HTTP/1.1 200 OK\r\n") == 1


def test_old_versions_are_refused(secure, program):
    argv = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{secure.port}", "-tls1_1"]
    argv += ["-cipher", "ALL:@SECLEVEL=0"]
    assert subprocess.run(argv, input=b"", capture_output=True, timeout=20).returncode != 0
    wait_for(lambda: "TLS handshake failed: unsupported protocol" in secure.stderr(), what="a log line")


# -- httpx


def test_httpx(secure, library, authority):
    httpx = library("httpx")
    with httpx.Client(verify=authority.client_context(), trust_env=False, timeout=20) as client:
        assert client.post(url(secure, "/echo"), content=PAYLOAD).content == PAYLOAD
        with client.stream("GET", url(secure, "/stream?n=1000&size=1000")) as response:
            assert sum(len(chunk) for chunk in response.iter_bytes()) == 1_000_000
        assert client.get(url(secure, "/hello")).text == "Hello, world!"


# -- websockets


def test_websocket(ours, serve, connect, authority):
    server = serve("websocket_app:app", *options(authority))
    socket = connect(server, "/scope", ssl=authority.client_context())
    scope = json.loads(socket.recv())
    assert scope["scheme"] == "wss"
    assert "tls" in scope["extensions"]


def test_websocket_echo(ours, serve, connect, authority):
    server = serve("websocket_app:app", *options(authority))
    socket = connect(server, "/echo", ssl=authority.client_context(), max_size=None)
    for message in ("text", b"bytes", PAYLOAD[: 1 << 20]):
        socket.send(message)
        assert socket.recv() == message
    socket.close()


# -- the server


def replace(files, issued):
    for path, source in zip(files, (issued.certificate, issued.key)):
        shutil.copy(source, path)


def test_reload_and_stop_with_open_connections(ours, start, https, library, authority, tmp_path):
    """SIGHUP brings a new certificate, connections live on; SIGTERM ends the server in order."""
    httpx = library("httpx")
    renewed = authority.issue("renewed", "localhost", "127.0.0.1")
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    replace(files, authority.server)
    server = start("raw_app:app", "--ssl-certfile", str(files[0]), "--ssl-keyfile", str(files[1]))
    with httpx.Client(verify=authority.client_context(), trust_env=False, timeout=20) as client:
        before = client.get(url(server, "/scope")).json()["extensions"]["tls"]["server_cert"]
        assert before == authority.server.pem
        replace(files, renewed)
        server.signal(signal.SIGHUP)
        wait_for(lambda: "The TLS certificate was reloaded" in server.stderr(), what="the reload")
        assert client.get(url(server, "/scope")).json()["extensions"]["tls"]["server_cert"] == before
        assert json.loads(https(server, "/scope"))["extensions"]["tls"]["server_cert"] == renewed.pem
        server.stop()


def test_the_start_line(secure):
    assert f"asgiserve running on https://127.0.0.1:{secure.port} (Press CTRL+C to quit)" in secure.stderr()


def test_truncation_is_seen(ours, serve, authority, program):
    """An app that fails in the middle of a body without a length: the client must not take that for its end."""
    server = serve("raw_app:app", *options(authority), tracebacks=True)
    context = authority.client_context()
    # Without the option, Python before 3.13 takes even a reset for the end.
    strictly = {"server_hostname": "localhost", "suppress_ragged_eofs": False}
    with server.connect() as sock, context.wrap_socket(sock, **strictly) as tls:
        tls.sendall(b"GET /fail-late HTTP/1.0\r\nHost: x\r\n\r\n")
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            while tls.recv(65536):
                pass
