"""TLS around the core: the options, the context, the reload, and the server with it on real loops and sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import socket
import ssl

import pytest

pytest.importorskip("trustme", reason="the tests of TLS need trustme")

import trustme
from certificates import PASSWORD, Certificates

from asgiserve import tls as module
from asgiserve.config import Config
from asgiserve.errors import ConfigError
from asgiserve.tls import TLS

from .serving import HTTP, Client, Process, config, hello, loop_names, port_of, run, serving, until

NO_RENEGOTIATION = getattr(ssl, "OP_NO_RENEGOTIATION", 0x40000000)
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(params=loop_names())
def loop(request):
    return request.param


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.INFO, "asgiserve.error")
    return caplog


def messages(log, level=logging.INFO):
    return [record.getMessage() for record in log.records if record.levelno >= level]


@pytest.fixture
def files(certificates, tmp_path):
    """A copy of the server's files, which a test may spoil."""
    shutil.copy(certificates.server.certificate, tmp_path / "cert.pem")
    shutil.copy(certificates.server.key, tmp_path / "key.pem")
    return tmp_path


def paths(folder):
    return {"ssl_certfile": folder / "cert.pem", "ssl_keyfile": folder / "key.pem"}


async def open_tls(server, context, **options):
    """A connection to a server; the certificate is checked as one of localhost."""
    streams = asyncio.open_connection(
        "127.0.0.1", port_of(server), ssl=context, **{"server_hostname": "localhost", **options}
    )
    return Client(*await streams)


async def get(server, context, path="/"):
    client = await open_tls(server, context)
    try:
        return (await client.get(path))[1]
    finally:
        await client.close()


# -- options


def load(**options):
    """The context that these options make."""
    config = Config(hello, **options)
    config.load_tls()
    return config.ssl


def mistake(**options):
    """The one line that these options get."""
    with pytest.raises(ConfigError, match=r"\A[^\n]+\Z") as caught:
        load(**options)
    return str(caught.value)


def test_no_tls_unless_asked_for():
    config = Config(hello)
    config.load_tls()
    assert not config.is_ssl
    assert config.ssl is None


def test_defaults_are_of_today(certificates):
    context = load(**certificates.server.options)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & NO_RENEGOTIATION


def test_defaults_are_uvicorns():
    config = Config("main:app")
    assert (config.ssl_keyfile, config.ssl_certfile, config.ssl_keyfile_password) == (None, None, None)
    assert (config.ssl_version, config.ssl_cert_reqs) == (int(ssl.PROTOCOL_TLS_SERVER), int(ssl.CERT_NONE))
    assert (config.ssl_ca_certs, config.ssl_ciphers, config.ssl_context_factory) == (None, None, None)
    assert not config.is_ssl


def test_values_of_the_ssl_module():
    config = Config(hello, ssl_version=ssl.PROTOCOL_TLS_SERVER, ssl_cert_reqs=ssl.CERT_OPTIONAL)
    assert (type(config.ssl_version), config.ssl_version) == (int, 17)
    assert (type(config.ssl_cert_reqs), config.ssl_cert_reqs) == (int, 1)


def test_key_in_the_certificates_file(certificates):
    assert load(ssl_certfile=certificates.server.both)


def test_password(certificates):
    files = {"ssl_certfile": certificates.server.certificate, "ssl_keyfile": certificates.server.locked}
    assert load(**files, ssl_keyfile_password=PASSWORD)
    assert mistake(**files) == (
        f"ssl_keyfile_password: missing, the private key in {certificates.server.locked} is encrypted"
    )
    assert mistake(**files, ssl_keyfile_password="wrong") == (
        f"ssl_keyfile_password: it does not open the private key in {certificates.server.locked}"
    )


def test_the_password_is_not_shown(certificates):
    assert PASSWORD not in repr(Config(hello, ssl_keyfile_password=PASSWORD))


def test_versions(certificates):
    options = certificates.server.options
    assert load(**options, ssl_minimum_version="tls1.3").minimum_version == ssl.TLSVersion.TLSv1_3
    assert load(**options, ssl_version=5).maximum_version == ssl.TLSVersion.TLSv1_2
    assert load(**options, ssl_version=2).maximum_version != ssl.TLSVersion.TLSv1_2
    assert mistake(**options, ssl_version=5, ssl_minimum_version="tls1.3") == (
        "ssl_version: 5 is TLS 1.2, and ssl_minimum_version is tls1.3"
    )


def test_ciphers(certificates):
    context = load(**certificates.server.options, ssl_ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    names = [cipher["name"] for cipher in context.get_ciphers()]
    assert [name for name in names if not name.startswith("TLS_")] == ["ECDHE-ECDSA-AES128-GCM-SHA256"]
    assert mistake(**certificates.server.options, ssl_ciphers="ROT13") == (
        "ssl_ciphers: 'ROT13' names no cipher that OpenSSL has"
    )


@pytest.mark.parametrize("wanted", [1, "optional", 2, "required"])
def test_client_certificates_need_an_authority(certificates, wanted):
    options = {**certificates.server.options, "ssl_cert_reqs": wanted}
    assert mistake(**options) == ("ssl_ca_certs: missing, ssl_cert_reqs needs it to verify the certificates of clients")
    context = load(**options, ssl_ca_certs=certificates.path)
    assert context.verify_mode == (ssl.CERT_OPTIONAL if wanted in (1, "optional") else ssl.CERT_REQUIRED)
    assert len(context.get_ca_certs()) == 1


def test_directory_of_authorities(certificates):
    assert load(**certificates.server.options, ssl_cert_reqs=1, ssl_ca_certs=certificates.folder)


def test_key_without_certificate(certificates):
    assert mistake(ssl_keyfile=certificates.server.key) == "ssl_certfile: missing, ssl_keyfile needs it"


def test_certificate_without_key(certificates):
    path = certificates.server.certificate
    assert mistake(ssl_certfile=path) == (
        f"ssl_keyfile: missing, and {path}: there is no private key in it, in PEM form"
    )


def test_key_of_another_certificate(certificates):
    options = {"ssl_certfile": certificates.server.certificate, "ssl_keyfile": certificates.client.key}
    assert mistake(**options) == (
        f"ssl_keyfile: the private key in {certificates.client.key}"
        f" does not belong to the certificate in {certificates.server.certificate}"
    )


def test_key_of_another_kind(certificates, tmp_path):
    path = tmp_path / "rsa.key"
    path.write_bytes(trustme.CA(key_type=trustme.KeyType.RSA).private_key_pem.bytes())
    certificate = certificates.server.certificate
    assert mistake(ssl_certfile=certificate, ssl_keyfile=path) == (
        f"ssl_keyfile: the private key in {path} does not belong to the certificate in {certificate}"
    )


@pytest.mark.parametrize(("option", "name"), [("ssl_certfile", "cert.pem"), ("ssl_keyfile", "key.pem")])
def test_bad_files(files, option, name):
    path = files / name
    good = path.read_text()

    path.write_text(re.sub(r"(?m)^(?!-)....", "AAAA", good))
    line = mistake(**paths(files))
    assert line.startswith(f"{option}: {path}: the ")
    what = {"ssl_certfile": "certificate", "ssl_keyfile": "private key"}[option]
    path.write_text("nothing in it")
    assert mistake(**paths(files)) == f"{option}: {path}: there is no {what} in it, in PEM form"
    path.write_bytes(bytes(range(256)))
    assert mistake(**paths(files)).startswith(f"{option}: {path}: there is no ")
    path.unlink()
    assert mistake(**paths(files)) == f"{option}: {path}: no such file or directory"
    path.mkdir()
    assert mistake(**paths(files)) == f"{option}: {path}: is a directory"


def test_bad_authorities(certificates, tmp_path):
    path = tmp_path / "ca.pem"
    options = {**certificates.server.options, "ssl_ca_certs": path}
    assert mistake(**options) == f"ssl_ca_certs: {path}: no such file or directory"
    path.write_text("nothing in it")
    assert mistake(**options) == f"ssl_ca_certs: {path}: there is no certificate in it, in PEM form"
    with open(certificates.path) as file:
        path.write_text(re.sub(r"(?m)^(?!-)....", "AAAA", file.read()))
    assert mistake(**options) == f"ssl_ca_certs: {path}: a certificate in it is damaged"


# -- a context of the user's own


def test_factory_that_changes_the_default(certificates):
    asked = []

    def factory(config, default_factory):
        asked.append(config.ssl_certfile)
        context = default_factory()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    context = load(**certificates.server.options, ssl_context_factory=factory)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert asked == [certificates.server.certificate]


def own_context(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server.certificate, certificates.server.key)
    return context


def test_factory_that_makes_its_own(certificates):
    context = own_context(certificates)
    config = Config(hello, ssl_context_factory=lambda config, default_factory: context)
    assert config.is_ssl
    config.load_tls()
    assert config.ssl is context
    assert context.options & NO_RENEGOTIATION


@pytest.mark.parametrize(
    ("factory", "line"),
    [
        (lambda config, default: None, "TypeError: it returned None, which is not an ssl.SSLContext"),
        (
            lambda config, default: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            "TypeError: it returned a context for clients",
        ),
        (lambda config, default: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda config: None, "TypeError: [^\n]+"),
    ],
)
def test_factory_that_fails(factory, line):
    assert re.fullmatch(f"ssl_context_factory: {line}", mistake(ssl_context_factory=factory))


def test_factory_that_asks_for_a_default_there_is_not():
    assert mistake(ssl_context_factory=lambda config, default: default()) == (
        "ssl_certfile: missing, the default context needs it"
    )


def test_factory_that_is_no_function():
    with pytest.raises(ConfigError, match="ssl_context_factory: 5 is not a function"):
        Config(hello, ssl_context_factory=5)


def test_a_context_of_an_own_kind_has_no_known_certificate(certificates):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["extensions"]["tls"])
        await hello(scope, receive, send)

    async def main():
        factory = lambda config, default: own_context(certificates)  # noqa: E731
        async with serving(app, ssl_context_factory=factory) as server:
            await get(server, certificates.client_context())

    run(main())
    assert seen[0]["server_cert"] is None
    assert seen[0]["tls_version"] == 0x0304


def test_certificates_by_host_name(certificates):
    """A context of its own kind has no known certificate, whoever chose it."""
    other = certificates.issue("other", "other.example.org")
    second = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    second.load_cert_chain(other.certificate, other.key)
    seen = []

    def factory(config, default_factory):
        def choose(connection, name, context):
            if name == "other.example.org":
                connection.context = second

        context = default_factory()
        context.sni_callback = choose
        return context

    async def app(scope, receive, send):
        seen.append(scope["extensions"]["tls"]["server_cert"])
        await hello(scope, receive, send)

    async def main():
        options = {**certificates.server.options, "ssl_context_factory": factory, "lifespan": "off"}
        async with serving(app, **options) as server:
            for name in ("localhost", "other.example.org"):
                client = await open_tls(server, certificates.client_context(), server_hostname=name)
                await client.get()
                await client.close()

    run(main())
    assert seen == [certificates.server.pem, None]


# -- mistakes on the command line


def test_a_mistake_is_one_line_before_anything_is_bound(certificates, tmp_path):
    """The port is taken: that would be the next thing to be said."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = ["--port", port, "--ssl-certfile", certificates.server.certificate, "--ssl-keyfile", "missing.key"]
        with Process("nowhere:app", *arguments, cwd=tmp_path) as process:
            assert process.wait() == 2
    assert process.log == "asgiserve: error: missing.key: no such file or directory (--ssl-keyfile)"


def test_a_mistake_from_the_environment_names_the_option(certificates, tmp_path):
    environment = {
        "ASGISERVE_SSL_CERTFILE": certificates.server.certificate,
        "ASGISERVE_SSL_KEYFILE": certificates.server.locked,
        "ASGISERVE_SSL_KEYFILE_PASSWORD": "wrong",
    }
    with Process("nowhere:app", cwd=tmp_path, env=environment) as process:
        assert process.wait() == 2
    assert re.fullmatch(r"asgiserve: error: it does not open the private key in [^\n]+", process.log)


# -- serving


def test_it_serves(stack, loop, certificates, log):
    async def main():
        async with serving(http=HTTP[stack.name], **certificates.server.options) as server:
            assert await get(server, certificates.client_context(), "/hello") == b"/hello"
            return port_of(server)

    port = run(main(), loop)
    assert f"asgiserve running on https://127.0.0.1:{port} (Press CTRL+C to quit)" in messages(log)
    assert messages(log, logging.WARNING) == []


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets on this platform")
def test_it_serves_on_a_unix_socket(loop, certificates, tmp_path):
    path = str(tmp_path / "s")

    async def main():
        async with serving(uds=path, **certificates.server.options):
            streams = asyncio.open_unix_connection(path, ssl=certificates.client_context(), server_hostname="localhost")
            client = Client(*await streams)
            assert (await client.get("/hello"))[1] == b"/hello"
            await client.close()

    run(main(), loop)


def test_large_bodies_both_ways(stack, loop, certificates):
    """Through real sockets, with a client that begins to read late."""
    size = 8 * 1024 * 1024

    async def echo(scope, receive, send):
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async def main():
        async with serving(echo, http=HTTP[stack.name], lifespan="off", **certificates.server.options) as server:
            client = await open_tls(server, certificates.client_context())
            body = os.urandom(1 << 16) * (size >> 16)
            client.writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % size + body)
            _, answer = await client.answer()
            assert answer == body
            await client.close()

    run(main(), loop)


def test_close_reaches_the_client_as_an_end(stack, loop, certificates):
    async def main():
        async with serving(http=HTTP[stack.name], **certificates.server.options) as server:
            client = await open_tls(server, certificates.client_context())
            client.writer.write(b"GET /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            await client.answer()
            assert await client.reader.read() == b""
            await client.close()
            await until(lambda: not server.state.connections)

    run(main(), loop)


def test_limit_connections(stack, loop, certificates, log):
    """Handshakes count: more clients wait to be accepted."""

    async def main():
        options = {**certificates.server.options, "limit_connections": 1, "http": HTTP[stack.name]}
        async with serving(**options) as server:
            context = certificates.client_context()
            silent = Client(*await asyncio.open_connection("127.0.0.1", port_of(server)))
            await until(lambda: len(server.state.connections) == 1)
            waiting = asyncio.ensure_future(get(server, context, "/one"))
            await until(lambda: any("The limit of 1 connections" in line for line in messages(log)))
            assert not waiting.done()
            await silent.close()
            assert await waiting == b"/one"
            assert await get(server, context, "/two") == b"/two"

    run(main(), loop)


def test_failed_handshakes_are_one_line_each(stack, loop, certificates, log):
    async def main():
        options = {**certificates.server.options, "http": HTTP[stack.name]}
        async with serving(**options) as server:
            with pytest.raises(ssl.SSLError):
                await open_tls(server, ssl.create_default_context())
            plain = Client(*await asyncio.open_connection("127.0.0.1", port_of(server)))
            head, _ = await plain.get("/")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert await plain.reader.read() == b""
            await plain.close()
            await until(lambda: not server.state.connections)
        # The others are not to be too slow for this on a busy machine.
        async with serving(**options, timeout_ssl_handshake=0.2) as server:
            silent = Client(*await asyncio.open_connection("127.0.0.1", port_of(server)))
            assert await silent.reader.read() == b""
            await silent.close()
            slow = Client(*await asyncio.open_connection("127.0.0.1", port_of(server)))
            slow.writer.write(b"\x16\x03\x01")
            assert await slow.reader.read() == b""
            await slow.close()
            await until(lambda: not server.state.connections)

    run(main(), loop)
    lines = [re.sub(r"^127\.0\.0\.1:\d+ - ", "", line) for line in messages(log, logging.WARNING)]
    # asyncio's client does not say why it leaves.
    assert re.fullmatch("TLS handshake failed: the (client closed the connection|connection was reset)", lines[0])
    assert lines[1:] == [
        "400 Bad Request: plain HTTP was sent to a port that speaks TLS",
        "TLS handshake failed: not done within 0.2 s",
    ]


def test_proxy_protocol(stack, loop, certificates):
    """The header comes before TLS, perhaps in one segment with its beginning."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["client"], scope["scheme"], "tls" in scope["extensions"]))
        await hello(scope, receive, send)

    def ask(port):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = certificates.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with socket.create_connection(("127.0.0.1", port), 20) as sock:

            def step(act):
                while True:
                    try:
                        return act()
                    except ssl.SSLWantReadError:
                        sock.sendall(outgoing.read())
                        incoming.write(sock.recv(65536))

            outgoing.write(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n")
            step(tls.do_handshake)
            tls.write(b"GET /proxied HTTP/1.1\r\nHost: t\r\n\r\n")
            return step(lambda: tls.read(65536))

    async def main():
        options = {**certificates.server.options, "proxy_protocol": True, "http": HTTP[stack.name], "lifespan": "off"}
        async with serving(app, **options) as server:
            answer = await asyncio.get_running_loop().run_in_executor(None, ask, port_of(server))
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")

    run(main(), loop)
    assert seen == [(("192.0.2.7", 4711), "https", True)]


def test_stop_with_a_handshake_under_way(stack, loop, certificates, log):
    async def main():
        async with serving(http=HTTP[stack.name], **certificates.server.options) as server:
            silent = Client(*await asyncio.open_connection("127.0.0.1", port_of(server)))
            silent.writer.write(b"\x16\x03\x01")
            await until(lambda: len(server.state.connections) == 1)
        assert await silent.reader.read() == b""
        await silent.close()

    run(main(), loop)
    assert messages(log, logging.WARNING) == []


# -- reloading


def served_certificate(context, port):
    """The certificate that a new connection gets, as DER."""
    with (
        socket.create_connection(("127.0.0.1", port)) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        return tls.getpeercert(True)


async def served_by(server, context):
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, served_certificate, context, port_of(server))


def replace(folder, issued):
    """As a renewal does: the new files take the places of the old ones."""
    for source, name in ((issued.certificate, "cert.pem"), (issued.key, "key.pem")):
        shutil.copy(source, folder / "new")
        os.replace(folder / "new", folder / name)


def der(issued):
    return ssl.PEM_cert_to_DER_cert(issued.pem)


@pytest.fixture
def renewed(certificates):
    return certificates.issue("renewed", "localhost")


def test_reload_when_the_files_change(stack, loop, certificates, files, renewed, log, monkeypatch):
    monkeypatch.setattr(module, "CHECK_INTERVAL", 0)

    async def main():
        async with serving(http=HTTP[stack.name], **paths(files)) as server:
            context = certificates.client_context()
            old = await open_tls(server, context)
            assert (await old.get("/before"))[1] == b"/before"
            assert await served_by(server, context) == der(certificates.server)
            replace(files, renewed)
            await until(lambda: "The TLS certificate was reloaded" in messages(log))
            assert await served_by(server, context) == der(renewed)
            assert (await old.get("/after"))[1] == b"/after"
            await old.close()

    run(main(), loop)
    assert messages(log).count("The TLS certificate was reloaded") == 1


def test_broken_renewals_keep_the_old_certificate(certificates, files, renewed, log, monkeypatch):
    made = TLS(Config(hello, **paths(files)))
    first = made.current
    now = 0.0

    def look(times=3):
        nonlocal now
        for _ in range(times):
            now += module.CHECK_INTERVAL
            made.check(now)
        taken = messages(log)
        log.clear()
        return taken

    assert look() == []
    replace(files, renewed)
    (files / "key.pem").write_text("half written")
    assert look(1) == []  # it may be about to be finished
    old_stays = "The TLS certificate was not reloaded, the old one stays: ssl_keyfile: "
    assert look() == [f"{old_stays}{files / 'key.pem'}: there is no private key in it, in PEM form"]
    assert made.current is first
    (files / "key.pem").unlink()
    assert look() == [f"{old_stays}{files / 'key.pem'}: no such file or directory"]
    shutil.copy(renewed.key, files / "key.pem")
    assert look() == ["The TLS certificate was reloaded"]
    assert made.current is not first


def test_a_change_is_taken_up_when_it_is_complete(files, renewed, log):
    made = TLS(Config(hello, **paths(files)))
    shutil.copy(renewed.certificate, files / "cert.pem")
    made.check(1)
    shutil.copy(renewed.key, files / "key.pem")
    made.check(2)
    assert messages(log) == []
    made.check(2.5)  # too early for another look
    assert messages(log) == []
    made.check(3)
    assert messages(log) == ["The TLS certificate was reloaded"]


def test_a_reload_asks_the_factory_again(certificates, log):
    made = []

    def factory(config, default_factory):
        made.append(own_context(certificates))
        return made[-1]

    tls = TLS(Config(hello, ssl_context_factory=factory))
    tls.check(5)
    assert len(made) == 1
    assert tls.reload()
    assert tls.current.context is made[1]


@posix
def test_sighup_reloads(certificates, files, renewed, tmp_path):
    (tmp_path / "main.py").write_text("from tests_hello import app\n")
    (tmp_path / "tests_hello.py").write_text(
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': scope['path'].encode()})\n"
    )
    options = ["--port", 0, "--ssl-certfile", files / "cert.pem", "--ssl-keyfile", files / "key.pem"]
    context = certificates.client_context()
    with Process("main:app", *options, cwd=tmp_path) as process:
        port = int(process.wait_for(r"asgiserve running on https://127\.0\.0\.1:(\d+)").group(1))
        assert served_certificate(context, port) == der(certificates.server)
        replace(files, renewed)
        process.popen.send_signal(signal.SIGHUP)
        process.wait_for("The TLS certificate was reloaded")
        assert served_certificate(context, port) == der(renewed)
        (files / "cert.pem").write_text("broken")
        process.popen.send_signal(signal.SIGHUP)
        process.wait_for("ERROR: .*The TLS certificate was not reloaded, the old one stays: ssl_certfile: ")
        assert served_certificate(context, port) == der(renewed)
        process.popen.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert "Traceback" not in process.log


def test_reload_by_call(certificates, files, renewed, log):
    async def main():
        async with serving(**paths(files)) as server:
            replace(files, renewed)
            server.reload_certificates()
            assert await served_by(server, certificates.client_context()) == der(renewed)
        async with serving() as server:
            server.reload_certificates()  # nothing to reload

    run(main())


@posix
def test_sighup_is_left_alone_without_tls():
    async def main():
        before = signal.getsignal(signal.SIGHUP)
        async with serving():
            assert signal.getsignal(signal.SIGHUP) is before

    run(main())


@posix
def test_the_handler_of_sighup_comes_back(certificates):
    async def main():
        before = signal.getsignal(signal.SIGHUP)
        async with serving(**certificates.server.options):
            assert signal.getsignal(signal.SIGHUP) is not before
        assert signal.getsignal(signal.SIGHUP) is before

    run(main())


def test_two_authorities_do_not_mix(certificates, tmp_path):
    """Clients of one authority are refused by a server that trusts another."""
    other = Certificates(tmp_path)

    async def main():
        options = {**certificates.server.options, "ssl_cert_reqs": 2, "ssl_ca_certs": other.path}
        async with serving(**options) as server:
            good = ssl.create_default_context(cafile=certificates.path)
            good.load_cert_chain(other.client.certificate, other.client.key)
            assert await get(server, good, "/in") == b"/in"
            with pytest.raises((OSError, EOFError)):
                await get(server, certificates.client_context(certificates.client))

    run(main())


def test_config_has_a_server_side_context_before_it_serves(certificates):
    made = config(**certificates.server.options)
    made.load()
    assert isinstance(made.ssl, ssl.SSLContext)
