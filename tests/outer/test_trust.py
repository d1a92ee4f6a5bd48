"""Whom the server believes: forwarded_allow_ips, and where it comes from."""

from __future__ import annotations

import pytest

from asgiserve.config import Config
from asgiserve.errors import ConfigError
from asgiserve.trust import TrustedPeers, parse_ip

from .serving import hello


@pytest.mark.parametrize(
    ("peers", "trusted", "others"),
    [
        ("127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "::1", "localhost", "", "127.0.0.1 "]),
        ("127.0.0.1,::1", ["127.0.0.1", "::1", "0:0:0:0:0:0:0:1"], ["::2"]),
        (" 127.0.0.1 , ::1 ,", ["127.0.0.1", "::1"], ["", " "]),
        (["127.0.0.1", " ::1 "], ["127.0.0.1", "::1"], ["::2"]),
        (("10.0.0.1",), ["10.0.0.1"], ["10.0.0.2"]),
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], ["11.0.0.0", "9.255.255.255", "10", "::10"]),
        ("10.1.2.3/32", ["10.1.2.3"], ["10.1.2.4"]),
        ("2001:db8::/32", ["2001:db8::1", "2001:0DB8:FFFF::"], ["2001:db9::1", "10.0.0.1"]),
        ("fe80::/10", ["fe80::1%eth0"], ["2001::1%eth0"]),
        ("::ffff:10.0.0.1", ["10.0.0.1"], ["10.0.0.2"]),
        ("0.0.0.0/0", ["1.2.3.4"], ["::1", "somebody"]),
        ("*", ["1.2.3.4", "::1", "unknown", ""], []),
        (["*"], ["1.2.3.4"], []),
        ("10.0.0.1, *", ["1.2.3.4"], []),
        ("testclient,/run/x.sock,unix:///run/y.sock", ["testclient", "/run/x.sock"], ["Testclient", "127.0.0.1"]),
        ("face", ["face"], ["::face"]),
        ("", [], ["127.0.0.1", "::1", ""]),
        ([], [], ["127.0.0.1"]),
    ],
)
def test_hosts(peers, trusted, others):
    known = TrustedPeers(peers)
    for _ in range(2):  # the second time from memory
        assert [host for host in trusted if not known.trusts(host)] == []
        assert [host for host in others if known.trusts(host)] == []


def test_a_long_name_is_not_remembered():
    known = TrustedPeers("10.0.0.0/8")
    assert not known.trusts("1" * 100_000)
    assert known._known.cache_info().currsize == 0


UNIX = (None, ("/run/app.sock", None))


@pytest.mark.parametrize(
    ("peers", "client", "server", "trusted"),
    [
        ("unix", *UNIX, True),
        ("127.0.0.1,unix", *UNIX, True),
        ("*", *UNIX, True),
        ("127.0.0.1,::1", *UNIX, False),
        ("0.0.0.0/0,::/0", *UNIX, False),
        ("unix", ("127.0.0.1", 5), ("127.0.0.1", 80), False),
        # A TCP client that has left before anybody asked for its address comes over no UNIX socket.
        ("unix", None, ("127.0.0.1", 80), False),
        ("unix", None, None, False),
        ("127.0.0.1", ("127.0.0.1", 5), ("127.0.0.1", 80), True),
        ("127.0.0.1", ["127.0.0.1", 5], None, True),
        ("127.0.0.1", ("10.0.0.1", 5), ("127.0.0.1", 80), False),
        ("*", None, None, True),
    ],
)
def test_peers(peers, client, server, trusted):
    assert TrustedPeers(peers).trusts_peer(client, server) is trusted


@pytest.mark.parametrize(
    ("peers", "why"),
    [
        ("10.0.0.256", "'10.0.0.256' is not an IP address"),
        ("127.1", "'127.1' is not an IP address"),
        ("1:2", "'1:2' is not an IP address"),
        ("127.0.0.1:80", "'127.0.0.1:80' is not an IP address"),
        ("10.0.0.0/33", "'10.0.0.0/33' is not a network"),
        ("10.0.0/8", "'10.0.0/8' is not a network"),
        ("::/129", "'::/129' is not a network"),
        ("127.0.0.1,10.1.2.3/8", "'10.1.2.3/8' is not a network, did you mean 10.0.0.0/8?"),
        (7, "7 is not a list of addresses"),
        ([b"127.0.0.1"], "[b'127.0.0.1'] is not a list of addresses"),
    ],
)
def test_mistakes(peers, why):
    with pytest.raises(ValueError) as caught:
        TrustedPeers(peers)
    assert str(caught.value) == why
    with pytest.raises(ConfigError) as caught:
        Config("main:app", forwarded_allow_ips=peers)
    assert str(caught.value) == f"forwarded_allow_ips: {why}"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::FFFF:10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", None),
        ("localhost", None),
        ("10.0.0.1:80", None),
        ("[::1]", None),
    ],
)
def test_parse_ip(text, address):
    found = parse_ip(text)
    assert (found and str(found)) == address


def loaded(**options):
    config = Config(hello, log_config=None, **options)
    config.load()
    return config.peers


def test_where_the_list_comes_from(monkeypatch):
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    assert loaded().trusts("127.0.0.1") and loaded().trusts("::1")
    assert loaded(forwarded_allow_ips=None).trusts("127.0.0.1")
    assert not loaded().trusts("10.0.0.1") and not loaded().trusts_peer(*UNIX)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8")
    assert loaded().trusts("10.0.0.1") and not loaded().trusts("127.0.0.1")
    assert not loaded(forwarded_allow_ips="127.0.0.1").trusts("10.0.0.1")
    assert not loaded(forwarded_allow_ips="").trusts("127.0.0.1")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    assert not loaded().trusts("127.0.0.1")


def test_a_mistake_in_the_environment(monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/40")
    with pytest.raises(ConfigError, match=r"forwarded_allow_ips: .* is not a network") as caught:
        loaded()
    assert str(caught.value).endswith(" ($FORWARDED_ALLOW_IPS)")
    loaded(proxy_headers=False)  # nobody asks
