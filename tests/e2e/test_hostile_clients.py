"""Bad input from the network: the right alert, nothing lost, nobody else notices."""

import socket
import ssl
import struct

import pytest

from house import DEADLINE, get

UNRECOGNIZED_NAME = 112
DECODE_ERROR = 50


def raw(house):
    return socket.create_connection(("127.0.0.1", house.port), DEADLINE)


def alert_of(sock):
    """The (level, description) of the alert that comes, or None when the connection just ends."""
    data = b""
    try:
        while len(data) < 7:
            more = sock.recv(4096)
            if not more:
                break
            data += more
    except ConnectionResetError:
        pass
    return (data[5], data[6]) if len(data) >= 7 and data[0] == 21 else None


def client_hello(names=("acme.localhost",)):
    sni = b""
    if names:
        entries = b"".join(b"\0" + struct.pack(">H", len(n)) + n.encode() for n in names)
        body = struct.pack(">H", len(entries)) + entries
        sni = struct.pack(">HH", 0, len(body)) + body
    versions = struct.pack(">HHB", 43, 3, 2) + b"\x03\x04"
    groups = struct.pack(">HHH", 10, 4, 2) + b"\x00\x1d"
    sigs = struct.pack(">HHH", 13, 4, 2) + b"\x04\x03"
    share = struct.pack(">HHHHH", 51, 38, 36, 29, 32) + bytes(range(1, 33))
    ext = sni + versions + groups + sigs + share
    body = b"\x03\x03" + bytes(32) + b"\0" + struct.pack(">H", 2) + b"\x13\x01" + b"\1\0" + struct.pack(">H", len(ext)) + ext
    return b"\1" + struct.pack(">I", len(body))[1:] + body


def record(payload, kind=22):
    return struct.pack(">BHH", kind, 0x0301, len(payload)) + payload


@pytest.mark.parametrize("names", [("unknown.localhost",), ("127.0.0.1",), ("acme.localhost.evil.example",)])
def test_an_unknown_name_is_unrecognized_name(house, names):
    before = len(house.instances())
    with raw(house) as sock:
        sock.sendall(record(client_hello(names)))
        assert alert_of(sock) == (2, UNRECOGNIZED_NAME)
    assert len(house.instances()) == before


@pytest.mark.parametrize("what, data", [
    ("a hello cut short by its own length", record(client_hello()[:40] + bytes(len(client_hello()) - 40))),
    ("trailing bytes in the hello", record(b"\1" + struct.pack(">I", len(client_hello()) - 4 + 3)[1:] + client_hello()[4:] + b"xyz")),
    ("an empty hello", record(b"\1\0\0\0")),
])
def test_a_malformed_hello_is_decode_error(house, what, data):
    with raw(house) as sock:
        sock.sendall(data)
        assert alert_of(sock) == (2, DECODE_ERROR), what
    assert house.curl("acme", "/version") == "1.0.0\n"


@pytest.mark.parametrize("data", [b"\0" * 100, b"SSH-2.0-x\r\n", record(b"x" * 100, 23), b"\x16\x03\x01\xff\xff" + b"a" * 65535])
def test_what_is_no_hello_ends_the_connection(house, data):
    with raw(house) as sock:
        sock.sendall(data)
        alert_of(sock)
        try:
            while sock.recv(4096):
                pass
        except ConnectionResetError:
            pass
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
            for byte in record(hello[i:i + 20]):
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
    """The bytes behind the handshake go round TLS, straight into the socket."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = house.context().wrap_bio(incoming, outgoing, server_hostname="acme.localhost")
    with raw(house) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        sock.sendall(outgoing.read())
        sock.sendall(record(bytes(100), 23))
        with pytest.raises(ssl.SSLError) as told:
            while True:
                try:
                    tls.read(1)
                except ssl.SSLWantReadError:
                    data = sock.recv(65536)
                    assert data, "the connection ended without an alert"
                    incoming.write(data)
        assert "BAD_RECORD_MAC" in str(told.value).upper().replace(" ", "_"), told.value
    assert house.curl("acme", "/version") == "1.0.0\n"


def test_a_reset_in_mid_download_leaves_the_tenant_well(house):
    sock = house.connect("acme")
    sock.sendall(b"GET /bytes/1000000000 HTTP/1.1\r\nHost: acme.localhost\r\n\r\n")
    sock.recv(1000)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    with house.connect("acme") as again:
        assert get(again, "acme.localhost", "/version") == (200, b"1.0.0\n")


def test_a_slow_hello_is_ended(make_house):
    house = make_house(front=["--hello-timeout", "1"])
    with raw(house) as sock:
        sock.sendall(record(client_hello())[:30])
        try:
            while sock.recv(4096):
                pass
        except ConnectionResetError:
            pass
