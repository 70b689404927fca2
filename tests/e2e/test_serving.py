"""What a customer sees: bodies of every size both ways, both TLS versions, real clients."""

import hashlib
import json
import os
import socket
import subprocess

import pytest

from house import DEADLINE, VERSIONS, answer, get, in_threads, many, much, pattern

HOST = "acme.localhost"
SUITES = [
    ("1.3", "TLS_AES_128_GCM_SHA256", "ec"), ("1.3", "TLS_AES_256_GCM_SHA384", "ec"),
    ("1.3", "TLS_CHACHA20_POLY1305_SHA256", "ec"),
    ("1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", "ec"), ("1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", "ec"),
    ("1.2", "ECDHE-ECDSA-CHACHA20-POLY1305", "ec"),
    ("1.2", "ECDHE-RSA-AES128-GCM-SHA256", "rsa"), ("1.2", "ECDHE-RSA-AES256-GCM-SHA384", "rsa"),
    ("1.2", "ECDHE-RSA-CHACHA20-POLY1305", "rsa"),
]


@pytest.fixture(scope="module", autouse=True)
def rsa_tenant(house):
    house.add_tenant("rsa", key="rsa")


@pytest.mark.parametrize("version, suite, key", SUITES)
def test_every_suite_serves_and_is_told_to_the_tenant(house, version, suite, key):
    host = "rsa" if key == "rsa" else "acme"
    pick = ["--tls13-ciphers", suite] if version == "1.3" else ["--tls-max", "1.2", "--ciphers", suite]
    given = json.loads(house.curl(host, "/handover", *pick, f"--tlsv{version}"))
    assert version in given["tls_version"] and given["sni"] == f"{host}.localhost", given
    assert given["alpn"] == "http/1.1" and given["client_addr"] == "127.0.0.1", given
    assert given["suite"].replace("_", "-").removeprefix("TLS-").replace("WITH-", "") \
        .replace("AES-128", "AES128").replace("AES-256", "AES256").startswith(
            suite.replace("_", "-").removeprefix("TLS-").replace("AES-128", "AES128").replace("AES-256", "AES256")[:20]), given


def test_the_handover_never_tells_a_key(house):
    text = house.curl("acme", "/handover").lower()
    for word in ("secret", "key", "iv\""):
        assert word not in text, text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [0, 1, 250, 251, 16383, 16384, 16385, 1 << 20, much(20_000_000)])
def test_bytes_come_as_they_should(house, version, size):
    body = house.curl("acme", f"/bytes/{size}", f"--tlsv{version}", "--tls-max", version, text=False)
    assert len(body) == size and body == pattern(0, size)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 16385, much(5_000_000)])
def test_uploads_have_the_right_digest(house, tmp_path, version, framing, size):
    body = pattern(3, size)
    (tmp_path / "body").write_bytes(body)
    more = ["-H", "Transfer-Encoding: chunked"] if framing == "chunked" else []
    digest = house.curl("acme", "/sha256", f"--tlsv{version}", "--tls-max", version, "-X", "POST", *more,
                        "--data-binary", f"@{tmp_path / 'body'}")
    assert digest.strip() == hashlib.sha256(body).hexdigest()


def test_echo_streams_back_while_the_body_still_comes(house):
    with house.connect("acme") as sock:
        sock.sendall(f"POST /echo HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".encode())
        seen = b""
        while b"hello" not in seen:
            more = sock.recv(4096)
            assert more, seen
            seen += more
        sock.sendall(b"6\r\n world\r\n0\r\n\r\n")
        while b"0\r\n\r\n" not in seen:
            more = sock.recv(4096)
            assert more, seen
            seen += more
        assert b" world" in seen


def test_keep_alive_and_pipelining(house):
    with house.connect("acme") as sock:
        for _ in range(20):
            assert get(sock, HOST, "/version") == (200, b"1.0.0\n")
        sock.sendall(f"GET /bytes/3 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() * 5)
        seen = b""
        while seen.count(pattern(0, 3)) < 5:
            more = sock.recv(4096)
            assert more, seen
            seen += more


def test_a_request_byte_by_byte_is_served(house):
    with house.connect("acme") as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in f"GET /version HTTP/1.1\r\nHost: {HOST}\r\n\r\n":
            sock.sendall(byte.encode())
        assert answer(sock) == (200, b"1.0.0\n")


def test_early_data_behind_the_finished_is_not_lost(house):
    """openssl writes the request right behind its Finished."""
    done = subprocess.run(["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{house.port}", "-servername", HOST],
                          input=f"GET /version HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode(),
                          capture_output=True, timeout=DEADLINE)
    assert b"1.0.0" in done.stdout, done.stderr.decode()


@pytest.mark.parametrize("request_text, status", [
    ("GET /version HTTP/1.1\r\n\r\n", 400),
    ("GET /version HTTP/1.1\r\nHost: globex.localhost\r\n\r\n", 421),
    ("garbage\r\n\r\n", 400),
    ("GET /version HTTP/3.0\r\nHost: acme.localhost\r\n\r\n", 505),
    ("GET /nowhere HTTP/1.1\r\nHost: acme.localhost\r\n\r\n", 404),
    ("GET /" + "a" * 70000 + " HTTP/1.1\r\nHost: acme.localhost\r\n\r\n", 414),
    ("GET /version HTTP/1.1\r\nHost: acme.localhost\r\nX: " + "a" * 70000 + "\r\n\r\n", 431),
    ("POST /sha256 HTTP/1.1\r\nHost: acme.localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ("POST /sha256 HTTP/1.1\r\nHost: acme.localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
])
def test_bad_requests_get_their_status(house, request_text, status):
    with house.connect("acme") as sock:
        sock.sendall(request_text.encode())
        assert answer(sock)[0] == status
    assert house.curl("acme", "/version") == "1.0.0\n"


def test_expect_100_continue(house, tmp_path):
    (tmp_path / "body").write_bytes(b"x" * 100_000)
    digest = house.curl("acme", "/sha256", "-H", "Expect: 100-continue", "--expect100-timeout", "20", "--data-binary",
                        f"@{tmp_path / 'body'}")
    assert digest.strip() == hashlib.sha256(b"x" * 100_000).hexdigest()


def test_head_has_no_body(house):
    head = house.curl("acme", "/version", "--head")
    assert "200" in head.splitlines()[0] and "content-length: 6" in head.lower()


def test_tickets_resume_for_their_tenant_and_no_other(house):
    for version in VERSIONS.values():
        context = house.context(version)
        with house.connect("acme", context=context) as first:
            get(first, HOST, "/version")
            session = first.session
        with house.connect("acme", context=context, session=session) as again:
            assert again.session_reused, version
            assert json.loads(get(again, HOST, "/handover")[1])["resumed"] is True
        with house.connect("globex", context=context, session=session) as other:
            assert not other.session_reused, version
            assert get(other, "globex.localhost", "/version") == (200, b"1.0.0\n")


@pytest.mark.parametrize("command", ["K", "k"])
def test_openssl_can_update_keys_in_mid_stream(house, command):
    """K asks the tenant to update its keys as well, k does not; each line is a command of s_client."""
    client = subprocess.Popen(["openssl", "s_client", "-tls1_3", "-connect", f"127.0.0.1:{house.port}", "-servername", HOST],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seen = b""

    def until_seen(what, times):
        nonlocal seen
        while seen.count(what) < times:
            more = os.read(client.stdout.fileno(), 65536)
            assert more, seen[-1000:]
            seen += more

    try:
        for turn in range(1, 4):
            client.stdin.write(f"GET /version HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            client.stdin.flush()
            until_seen(b"\r\n\r\n1.0.0\n", turn)
            client.stdin.write(f"{command}\n".encode())
            client.stdin.flush()
            until_seen(b"KEYUPDATE", turn)
    finally:
        client.kill()
        client.wait()


def test_a_hello_without_a_usable_key_share_is_asked_again(house):
    """HelloRetryRequest (RFC 8446, 4.1.4): the only share is for a group that the front does not take."""
    done = subprocess.run(["openssl", "s_client", "-quiet", "-msg", "-tls1_3", "-groups", "secp521r1:X25519", "-connect",
                           f"127.0.0.1:{house.port}", "-servername", HOST],
                          input=f"GET /version HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode(),
                          capture_output=True, timeout=DEADLINE)
    assert done.stdout.count(b"ClientHello") == 2 and b"1.0.0" in done.stdout, done.stdout[-3000:]


def test_gnutls_is_served(house):
    done = subprocess.run(["gnutls-cli", "--x509cafile", house.certs.ca, "--sni-hostname", HOST, "--verify-hostname", HOST,
                           "-p", str(house.port), "127.0.0.1"],
                          input=f"GET /version HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode(),
                          capture_output=True, timeout=DEADLINE)
    assert b"1.0.0" in done.stdout, done.stdout[-2000:] + done.stderr


def test_a_hundred_customers_at_once(house):
    """On an emulated machine twenty: of a hundred some were ended there by a time limit, after two minutes."""
    def one(i):
        host = ("acme", "globex")[i % 2]
        with house.connect(host) as sock:
            for n in (1, 5000, 70000):
                assert get(sock, f"{host}.localhost", f"/bytes/{n + i}") == (200, pattern(0, n + i))

    in_threads(many(100, 20), one)


def test_a_slow_reader_stops_nobody_else(house):
    with house.connect("acme") as slow:
        slow.sendall(f"GET /bytes/{1 << 30} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        slow.recv(1)
        for _ in range(5):
            assert house.curl("acme", "/bytes/1000000", text=False) == pattern(0, 1000000)


def test_half_close_is_answered_in_full(house):
    """The client ends its sending side (close_notify, FIN) and still gets its answer."""
    done = subprocess.run(["openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", f"127.0.0.1:{house.port}",
                           "-servername", HOST], input=b"", capture_output=True, timeout=DEADLINE)
    assert done.returncode == 0
    assert house.curl("acme", "/version") == "1.0.0\n"


def test_the_end_is_a_close_notify(house):
    """A client that minds truncation (suppress_ragged_eofs off) sees a clean end."""
    raw = socket.create_connection(("127.0.0.1", house.port), DEADLINE)
    with house.context().wrap_socket(raw, server_hostname=HOST, suppress_ragged_eofs=False) as sock:
        assert get(sock, HOST, "/version", close=True) == (200, b"1.0.0\n")
        assert sock.recv(1) == b""
