"""nginx, Caddy and HAProxy in front: the application sees what the proxy's client did, and no more than that."""

from __future__ import annotations

import json
import socket
import ssl

import pytest

from .launcher import LINUX, Process, free_port, wait_for
from .websocket_client import UPGRADE, Peer
from .wire import Wire, encode

pytestmark = [
    pytest.mark.usefixtures("ours"),
    pytest.mark.skipif(not LINUX, reason="needs more than one loopback address"),
]

#: Where curl calls from: not a trusted address, unlike 127.0.0.1, from which the proxies call.
CLIENT = "127.0.0.9"
NAME = "public.test"
FORGED = [
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Proto: ftp",
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Port: 666",
    "X-Forwarded-Prefix: /evil",
    'Forwarded: for=6.6.6.6;host=evil.test;proto=http;by="',
]

NGINX = """
daemon off;
master_process off;
pid {dir}/pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    upstream app {{ server {upstream}; keepalive 4; }}
    map $http_upgrade $upstream_connection {{ default upgrade; "" ""; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {cert};
        ssl_certificate_key {cert};
        proxy_http_version 1.1;
        location / {{
            {headers}
            proxy_set_header X-Forwarded-Prefix "";
            proxy_pass http://app;
        }}
        location /api/ {{
            {headers}
            proxy_set_header X-Forwarded-Prefix /api/;
            proxy_pass http://app/;
        }}
        location /kept/ {{
            {headers}
            proxy_set_header X-Forwarded-Prefix /kept;
            proxy_pass http://app;
        }}
        location /rfc7239/ {{
            proxy_set_header X-Forwarded-For "";
            proxy_set_header X-Forwarded-Proto "";
            proxy_set_header X-Forwarded-Host "";
            proxy_set_header X-Forwarded-Port "";
            proxy_set_header X-Forwarded-Prefix "";
            proxy_set_header Forwarded "$http_forwarded, {element}";
            proxy_pass http://app;
        }}
    }}
}}
"""

NGINX_HEADERS = """
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upstream_connection;
            proxy_set_header Host $proxy_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Forwarded-Port $server_port;
"""
NGINX_ELEMENT = r"for=\"$remote_addr:$remote_port\";proto=$scheme;host=\"$http_host\""

CADDY = """
{{
    admin off
    auto_https off
    servers {{
        protocols h1 h2
    }}
}}
https://{name}:{port} {{
    bind 127.0.0.1
    tls {cert} {cert}
    request_header -Forwarded
    request_header -X-Forwarded-Port
    request_header -X-Forwarded-Prefix
    handle_path /api/* {{
        reverse_proxy {upstream} {{
            header_up X-Forwarded-Prefix /api
        }}
    }}
    handle /kept/* {{
        reverse_proxy {upstream} {{
            header_up X-Forwarded-Prefix /kept/
        }}
    }}
    handle {{
        reverse_proxy {upstream}
    }}
}}
"""

HAPROXY = """
global
    maxconn 64
defaults
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend public
    mode http
    bind 127.0.0.1:{port} ssl crt {cert}
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request del-header X-Forwarded-Port
    http-request del-header X-Forwarded-Prefix
    http-request set-header X-Forwarded-Prefix /api if {{ path_beg /api/ }}
    http-request replace-path /api(/.*) \\1 if {{ path_beg /api/ }}
    http-request set-header X-Forwarded-Prefix /kept if {{ path_beg /kept/ }}
    http-request set-header Host internal.test
    default_backend app
backend app
    mode http
    server app {upstream}
"""

HAPROXY_TCP = """
global
    maxconn 64
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
listen public
    bind 127.0.0.1:{port}
    server app {upstream} {options}
"""


@pytest.fixture(scope="session")
def certificate(library, workdirs):
    """A file with a certificate for NAME and its key."""
    trustme = library("trustme")
    path = workdirs() / "cert.pem"
    trustme.CA().issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(path)
    return path


@pytest.fixture(params=["nginx", "caddy", "haproxy"])
def product(request):
    return request.param


EVERY_HEADER = "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port,x-forwarded-prefix,forwarded"


@pytest.fixture(params=["tcp", "unix"])
def upstream(request, serve):
    return serve(
        *("proxy_app:app", "--forwarded-allow-ips", "127.0.0.1,unix", "--forwarded-headers", EVERY_HEADER),
        uds=request.param == "unix",
    )


@pytest.fixture(scope="session")
def running():
    """The proxies that run, by what they were started with; ended at the end."""
    found: dict = {}
    yield found
    for proxy in found.values():
        proxy.kill()


@pytest.fixture
def front(running, program, workdirs, certificate):
    """front(product, upstream, ...): a proxy in front of that server, shared."""

    def start(product: str, upstream, options: str = "") -> Process:
        key = (product, upstream.pid, options)
        if key not in running:
            directory, port = workdirs(), free_port()
            template, address, argv = {
                "nginx": (NGINX, "unix:{}", ["nginx", "-p", ".", "-e", "stderr", "-c"]),
                "caddy": (CADDY, "unix/{}", ["caddy", "run", "--adapter", "caddyfile", "--config"]),
                "haproxy": (HAPROXY, "{}", ["haproxy", "-db", "-f"]),
                "haproxy-tcp": (HAPROXY_TCP, "{}", ["haproxy", "-db", "-f"]),
            }[product]
            where = upstream.address
            where = address.format(where) if isinstance(where, str) else f"127.0.0.1:{where[1]}"
            config = directory / "config"
            values = {"dir": directory, "port": port, "upstream": where, "cert": certificate, "options": options}
            config.write_text(template.format(name=NAME, headers=NGINX_HEADERS, element=NGINX_ELEMENT, **values))
            env = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "XDG_DATA_HOME": str(directory)}
            argv = [program(argv[0]), *argv[1:], str(config)]
            proxy = Process(argv, ("127.0.0.1", port), directory, env=env)
            proxy.wait_ready()
            running[key] = proxy
        return running[key]

    return start


@pytest.fixture
def ask(curl):
    """ask(proxy, path, *headers): what the application saw of a request from CLIENT over TLS, or without."""

    def get(server: Process, path: str, *headers: str, scheme: str = "https", source: str = CLIENT) -> dict:
        options = ["--insecure", "--path-as-is", "--interface", source]
        options += ["--resolve", f"{NAME}:{server.port}:127.0.0.1"]
        for header in headers:
            options += ["--header", header]
        return json.loads(curl(*options, f"{scheme}://{NAME}:{server.port}{path}"))

    return get


@pytest.mark.parametrize("forged", [[], FORGED], ids=["honest", "forged"])
def test_client_scheme_host_and_prefix(product, upstream, front, ask, forged):
    proxy = front(product, upstream)
    seen = ask(proxy, "/api/x%20y?q", *forged)
    assert seen == {
        "type": "http",
        "client": [CLIENT, 0],
        "scheme": "https",
        "server": [NAME, proxy.port],
        "host": [f"{NAME}:{proxy.port}"],
        "root_path": "/api",
        "path": "/api/x y",
        "raw_path": "/x%20y",
    }


def test_a_prefix_that_stays_in_the_path(product, upstream, front, ask):
    seen = ask(front(product, upstream), "/kept/x")
    assert (seen["root_path"], seen["path"], seen["raw_path"]) == ("/kept", "/kept/x", "/kept/x")


def test_no_prefix(product, upstream, front, ask):
    seen = ask(front(product, upstream), "/x", "X-Forwarded-Prefix: /evil")
    assert (seen["root_path"], seen["path"], seen["client"]) == ("", "/x", [CLIENT, 0])


def test_a_websocket(product, upstream, front):
    proxy = front(product, upstream)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.create_connection(proxy.address, timeout=20, source_address=(CLIENT, 0))
    with Wire(context.wrap_socket(plain, server_hostname=NAME)) as wire:
        host = f"{NAME}:{proxy.port}"
        wire.send(encode("GET", "/api/x", None, [("Host", host), ("X-Forwarded-For", "6.6.6.6"), *UPGRADE]))
        _, text = Peer(wire, begin=False).next()
    seen = json.loads(text)
    assert seen == {
        "type": "websocket",
        "client": [CLIENT, 0],
        "scheme": "wss",
        "server": [NAME, proxy.port],
        "host": [f"{NAME}:{proxy.port}"],
        "root_path": "/api",
        "path": "/api/x",
        "raw_path": "/x",
    }


@pytest.mark.parametrize("forged", ["for=6.6.6.6", 'for="6.6.6.6', "for=6.6.6.6;host=evil.test, x", ""])
def test_forwarded(upstream, front, ask, forged):
    proxy = front("nginx", upstream)
    seen = ask(proxy, "/rfc7239/x", f"Forwarded: {forged}", "X-Forwarded-For: 6.6.6.6")
    host, port = seen.pop("client")
    assert host == CLIENT
    assert port > 1024  # nginx says it, in this configuration
    assert (seen["scheme"], seen["host"], seen["server"]) == ("https", [f"{NAME}:{proxy.port}"], [NAME, proxy.port])


def test_the_access_log_names_the_client(product, upstream, front, ask):
    path = f"/access-log-of-{product}"
    ask(front(product, upstream), path)
    wait_for(lambda: f'{CLIENT}:0 - "GET {path} HTTP/1.1" 200' in upstream.stdout(), what="the access line")


def test_a_forged_header_from_an_untrusted_peer_changes_nothing(serve, ask):
    server = serve("proxy_app:app")
    seen = ask(server, "/x", *FORGED, scheme="http")
    assert seen["client"][0] == CLIENT
    assert seen["client"][1] > 0
    del seen["client"]
    assert seen == {
        "type": "http",
        "scheme": "http",
        "server": ["127.0.0.1", server.port],
        "host": [f"{NAME}:{server.port}"],
        "root_path": "",
        "path": "/x",
        "raw_path": "/x",
    }


# -- the PROXY protocol

VERSIONS = ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn proxy-v2-options crc32c,unique-id,authority"]


@pytest.mark.parametrize("uds", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("version", VERSIONS)
def test_proxy_protocol(serve, front, ask, version, uds):
    server = serve("proxy_app:app", "--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1,unix", uds=uds)
    proxy = front("haproxy-tcp", server, version)
    seen = ask(proxy, "/x", *FORGED, scheme="http")
    host, port = seen.pop("client")
    assert host == CLIENT
    assert port > 1024
    assert seen == {
        "type": "http",
        "scheme": "http",
        "server": ["127.0.0.1", proxy.port],
        "host": [f"{NAME}:{proxy.port}"],
        "root_path": "",
        "path": "/x",
        "raw_path": "/x",
    }
    wait_for(lambda: f'{host}:{port} - "GET /x HTTP/1.1" 200' in server.stdout(), what="the access line")


@pytest.mark.parametrize("version", VERSIONS[:2])
def test_tls_behind_the_proxy_protocol(serve, front, ask, certificate, version):
    """TLS goes through HAProxy as it is: the server ends it."""
    server = serve(
        "proxy_app:app", "--proxy-protocol", "--ssl-certfile", str(certificate), "--ssl-keyfile", str(certificate)
    )
    seen = ask(front("haproxy-tcp", server, version), "/x")
    assert (seen["client"][0], seen["scheme"]) == (CLIENT, "https")


def test_health_checks_of_haproxy(serve, front, ask):
    """Its checks are LOCAL connections that end behind their header: neither requests nor worth a line."""
    server = serve("proxy_app:app", "--proxy-protocol", "--ws-max-queue", "31")
    proxy = front("haproxy-tcp", server, "send-proxy-v2 check inter 50ms rise 3 check-send-proxy")
    for _ in range(20):
        assert ask(proxy, "/x", scheme="http")["client"][0] == CLIENT
    assert "PROXY protocol" not in server.stderr()
