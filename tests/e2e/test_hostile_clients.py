"""Bad input from the network: the right alert, nothing lost, nobody else notices."""

import collections
import itertools
import socket
import ssl

import pytest

from clients import Account, Client, alert_of, metrics, raw, reset, rest_of
from house import get
from tls_wire import ALERT, APPLICATION, CLIENT_HELLO, HANDSHAKE, client_hello, message, record, records

WORKERS = 1
UNRECOGNIZED_NAME = 112
ACCESS_DENIED = 49
DECODE_ERROR = 50
ILLEGAL_PARAMETER = 47


@pytest.mark.parametrize("names", [("unknown.localhost",), ("127.0.0.1",), ("acme.localhost.evil.example",)])
def test_an_unknown_name_is_unrecognized_name(house, names):
    before = len(house.instances())
    with raw(house) as sock:
        sock.sendall(record(HANDSHAKE, client_hello(names)))
        assert alert_of(sock) == (2, UNRECOGNIZED_NAME)
    assert len(house.instances()) == before


@pytest.mark.parametrize("what, data", [
    ("a hello cut short by its own length", record(HANDSHAKE, client_hello()[:40] + bytes(len(client_hello()) - 40))),
    ("trailing bytes in the hello", record(HANDSHAKE, message(CLIENT_HELLO, client_hello()[4:] + b"xyz"))),
    ("an empty hello", record(HANDSHAKE, b"\1\0\0\0")),
])
def test_a_malformed_hello_is_decode_error(house, what, data):
    with raw(house) as sock:
        sock.sendall(data)
        assert alert_of(sock) == (2, DECODE_ERROR), what
    assert house.curl("acme", "/version") == "1.0.0\n"


@pytest.mark.parametrize("data", [b"\0" * 100, b"SSH-2.0-x\r\n", record(APPLICATION, b"x" * 100),
                                  b"\x16\x03\x01\xff\xff" + b"a" * 65535])
def test_what_is_no_hello_ends_the_connection(house, data):
    with raw(house) as sock:
        sock.sendall(data)
        rest_of(sock)
    assert house.curl("acme", "/version") == "1.0.0\n"


def test_plain_http_on_the_tls_port_is_told_so(house):
    with raw(house) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n")
        seen = b""
        while more := sock.recv(4096):
            seen += more
        assert seen.startswith(b"HTTP/1.1 400"), seen


def test_a_hello_in_many_records_and_segments_is_served(house):
    hello = client_hello()
    with raw(house) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(hello), 20):
            for byte in record(HANDSHAKE, hello[i:i + 20]):
                sock.sendall(bytes([byte]))
        first = sock.recv(5)
        assert first[0] == 22, f"not a ServerHello: {first!r}"


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_tls_1_1_is_refused(house):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, OSError)):
        with raw(house) as sock:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.wrap_socket(sock, server_hostname="acme.localhost")


def test_a_corrupt_record_after_the_handover_is_bad_record_mac(house):
    client = Client(house).shake()
    client.sock.sendall(record(APPLICATION, bytes(100)))
    with pytest.raises(ssl.SSLError) as told:
        client.step(client.tls.read, 1)
    assert "BAD_RECORD_MAC" in str(told.value).upper().replace(" ", "_"), told.value
    assert house.curl("acme", "/version") == "1.0.0\n"


def test_a_reset_in_mid_download_leaves_the_tenant_well(house):
    sock = house.connect("acme")
    sock.sendall(b"GET /bytes/1000000000 HTTP/1.1\r\nHost: acme.localhost\r\n\r\n")
    sock.recv(1000)
    reset(sock)
    with house.connect("acme") as again:
        assert get(again, "acme.localhost", "/version") == (200, b"1.0.0\n")


# -- nothing is booted for nobody


numbers = itertools.count(10)


@pytest.fixture
def sleeper(house):
    """(host name, name) of a tenant that sleeps."""
    name = f"sl{next(numbers)}"  # as long as acme
    house.add_tenant(name)
    return f"{name}.localhost", name


def boots(house):
    seen = metrics(house)
    return seen["starts_total"], seen["wake_requests_total"]


def test_no_part_of_a_hello_boots_anything(house, sleeper):
    """Seen to fail: with wake_join() called from on_hello_bytes() of tls-front/opening.c while the hello is not whole."""
    host, name = sleeper
    account, before = Account(house), boots(house)
    hello = record(HANDSHAKE, client_hello([host]))
    cuts = [*range(1, 12), *range(12, len(hello), 7), len(hello) - 1]
    for cut in cuts:
        with raw(house) as sock:
            sock.sendall(hello[:cut])
    assert account.since(len(cuts)) == {"hello_aborted": len(cuts)}
    assert boots(house) == before and not house.running(name)
    assert not [e for e in house.events(name) if e["kind"] != "tenant added"], house.events(name)


@pytest.mark.parametrize("fault", [lambda hello: hello[:-40], lambda hello: hello + b"xyz"], ids=["cut", "trailed"])
def test_no_malformed_hello_boots_anything(house, sleeper, fault):
    host, name = sleeper
    body = fault(client_hello([host]))[4:]
    before = boots(house)
    with raw(house) as sock:
        sock.sendall(record(HANDSHAKE, message(CLIENT_HELLO, body)))
        assert alert_of(sock) == (2, DECODE_ERROR)
    assert boots(house) == before and not house.running(name)


def test_nothing_is_booted_for_a_suspended_or_unknown_tenant(house, sleeper):
    """Seen to fail: without the look at `suspended` in orchestrator/workers.c the name's owner is told, and 503 said."""
    host, name = sleeper
    house.cli("tenant", "suspend", name)
    account, starts = Account(house), boots(house)[0]
    for hostname, alert in ((host, ACCESS_DENIED), (f"x.{host}", UNRECOGNIZED_NAME), (host.split(".")[0], UNRECOGNIZED_NAME)):
        with raw(house) as sock:
            sock.sendall(record(HANDSHAKE, client_hello([hostname])))
            assert alert_of(sock) == (2, alert), hostname
    assert account.since(3) == {"wake_failed": 1, "refused_name": 2}
    assert boots(house)[0] == starts and not house.running(name)


# -- each is counted, once


REFUSED = {
    "an unknown name": (record(HANDSHAKE, client_hello(["unknown.localhost"])), "refused_name"),
    "no name": (record(HANDSHAKE, client_hello([])), "refused_name"),
    "an empty hello": (record(HANDSHAKE, b"\1\0\0\0"), "hello_malformed"),
    "plain HTTP": (b"GET / HTTP/1.1\r\n\r\n", "hello_malformed"),
    "no TLS": (b"\0" * 100, "hello_malformed"),
    "too large a hello": (records(HANDSHAKE, client_hello(padding=65000)), "hello_malformed"),
    "an alert behind the hello": (record(HANDSHAKE, client_hello()) + record(ALERT, b"\2\x28"), "handshake_failed"),
}


def test_what_is_refused_is_counted_once(house):
    """Seen to fail: with another COUNT(c->w, refused_name_total)++ in alert_and_close() of tls-front/opening.c."""
    account = Account(house)
    for what, (data, _) in REFUSED.items():
        for _ in range(3):
            with raw(house) as sock:
                sock.sendall(data)
                assert len(rest_of(sock)) > 0 or what == "an alert behind the hello"
    assert account.since(3 * len(REFUSED)) == collections.Counter([reason for _, reason in REFUSED.values()] * 3)


# -- large hellos

LARGEST = 1 << 14  # bytes of the message, with its head: HELLO_MESSAGE_MAX of tls-front/hello.h
RAW = 1 << 16  # with the heads of its records


def large(size):
    hello = client_hello(padding=size - len(client_hello()) - 4)
    assert len(hello) == size
    return hello


@pytest.mark.parametrize("data", [record(HANDSHAKE, large(LARGEST)), records(HANDSHAKE, large(LARGEST), 5000),
                                  records(HANDSHAKE, large(10_000), 1)], ids=["one record", "some records", "a record a byte"])
def test_a_hello_of_the_largest_size_is_served(house, data):
    assert len(data) < RAW
    with raw(house) as sock:
        sock.sendall(data)
        got = rest_of(sock, 7)
        assert got[:1] == b"\x16", f"not a ServerHello: {got[:7]}"


@pytest.mark.parametrize("data", [records(HANDSHAKE, large(LARGEST + 1), 5000), records(HANDSHAKE, large(60_000)),
                                  records(HANDSHAKE, large(LARGEST), 1)], ids=["a byte more", "much more", "too many records"])
def test_a_larger_hello_is_illegal_parameter_and_boots_nothing(house, sleeper, data):
    """Seen to fail: without the look at HELLO_MESSAGE_MAX in tls-front/hello.c Mbed TLS ends it, without an alert, after the wake."""
    host, name = sleeper
    before = boots(house)
    data = data.replace(b"acme.localhost", host.encode())  # lies in one record, or is never come to
    with raw(house) as sock:
        sock.sendall(data)
        assert alert_of(sock) == (2, ILLEGAL_PARAMETER)
    assert boots(house) == before and not house.running(name)
