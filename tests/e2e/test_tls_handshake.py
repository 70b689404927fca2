"""Handshakes that are unusual and right: retried, in pieces, with GREASE; and what is offered and not wanted.

Seen to fail: small records without hello_join(), early data with EARLY_DATA_MAX 0, the second hello without its print
compared, a Finished in several records with the sequence number 1 for all.
"""

import os
import re
import subprocess

import pytest

from house import DEADLINE, until
from tls_raw import *  # noqa: F403 - the client

WORKERS = 1
pytestmark = pytest.mark.only_on("sandbox", "before the handover nothing is the ground's")
BOTH = pytest.mark.parametrize("version", [13, 12], ids=["1.3", "1.2"])


def served(client):
    assert client.ask() == b"1.0.0\n"


# -- in pieces


@BOTH
@pytest.mark.parametrize("most", [1, 3, 4, 100], ids=lambda n: f"records of {n}")
def test_a_hello_in_small_records_and_one_byte_segments_is_served(house, version, most):
    with Client(house, version=version, segment=1) as c:
        served(c.shake_hands(most=most))


@BOTH
def test_a_resumed_handshake_in_one_byte_segments_is_served(house, version):
    with Client(house, version=version, segment=1) as c:
        served(c.shake_hands())
        session = c.tickets[0]
    with Client(house, version=version, segment=1) as c:
        c.shake_hands(session, most=1)
        assert c.resumed
        served(c)


@BOTH
def test_a_handshake_message_in_several_records_is_served(house, version):
    """Those behind the hello too; but the first record has the message's own head (docs/TLS.md)."""
    def pieces(c, data):
        for i in range(0, len(data), 7):
            c.say(HANDSHAKE, data[i:i + 7])

    with Client(house, version=version) as c:
        c.say_hello()
        if version == 13:
            c.hear_hello13()
            c.hear_flight13()
            finished = c.finished13()
            pieces(c, finished)
            c.use_application_keys(finished)
        else:
            c.hear_hello12()
            c.hear_flight12()
            exchange = c.key_exchange12()
            c.transcript += exchange
            pieces(c, exchange)
            c.keys12()
            c.say_ccs12()
            finished = c.finished12()
            c.transcript += finished
            pieces(c, finished)
            c.hear_finished12()
        served(c)


@BOTH
def test_a_hello_of_16_kib_is_served_and_a_longer_one_refused(house, version):
    for more in (0, 1):
        with Client(house, version=version) as c:
            c.hello.set(21, b"")
            c.hello.set(21, bytes((1 << 14) - len(c.hello_bytes()) + more))
            if more:
                c.say_hello(most=1000)
                assert c.alert() == ("fatal", "illegal_parameter")
            else:
                served(c.shake_hands(most=1000))


# -- HelloRetryRequest


@pytest.mark.parametrize("shares", [b"", u16(0x1e) + vector(2, bytes(56)), u16(P521) + vector(2, b"\4" + bytes(132))],
                         ids=["none", "X448", "P-521"])
@pytest.mark.parametrize("groups", [(X25519, P256), (P256,)], ids=["X25519", "P-256"])
def test_a_client_without_a_share_of_ours_is_asked_for_one(house, shares, groups):
    with Client(house) as c:
        c.hello.set(GROUPS, vector(2, u16(0x1e, P521, *groups)))
        c.hello.set(KEY_SHARE, vector(2, shares))
        served(c.shake_hands())
        assert c.retried and c.share.group == groups[0]


@pytest.mark.parametrize("segment, most", [(None, 20000), (1, 1), (1, 50)])
def test_a_second_hello_may_come_in_pieces_behind_a_ccs(house, segment, most):
    with Client(house, segment=segment) as c:
        c.hello.set(KEY_SHARE, vector(2, b""))
        c.say_hello(most)
        c.read_server_hello()
        c.retry()
        data = c.hello_bytes(c.transcript)
        c.transcript += data
        c.send(record(CCS, b"\1") + records(HANDSHAKE, data, most))
        c.hear_hello13()
        c.hear_flight13()
        c.say_finished13()
        served(c)


def test_a_session_is_resumed_behind_a_retry(house):
    with Client(house) as c:
        c.shake_hands().ask()
        session = c.tickets[0]
    with Client(house) as c:
        c.hello.set(KEY_SHARE, vector(2, b""))
        c.shake_hands(session)
        assert c.retried and c.resumed
        served(c)


@pytest.mark.parametrize("change", ["random", "session", "name", "one extension more", "one less"])
def test_a_second_hello_that_says_something_else_is_illegal_parameter(house, change):
    with Client(house) as c:
        c.hello.set(KEY_SHARE, vector(2, b""))
        c.say_hello()
        c.read_server_hello()
        c.retry()
        if change == "random":
            c.hello.random = os.urandom(32)
        elif change == "session":
            c.hello.session = os.urandom(32)
        elif change == "name":
            c.hello.set(SERVER_NAME, vector(2, b"\0" + vector(2, b"globex.localhost")))
        elif change == "one extension more":
            c.hello.set(ALPN, vector(2, vector(1, b"http/1.1")))
        else:
            c.hello.drop(PSK_MODES)
        c.say_retried_hello()
        c.retried = False
        c.read_keys = None
        with pytest.raises(Told) as told:
            c.next_record()
        assert told.value.name == "illegal_parameter"


# -- what must be passed over


@BOTH
def test_grease_in_every_list_is_passed_over(house, version):
    def two(*values):
        return vector(2, u16(*values))

    with Client(house, version=version) as c:
        h = c.hello
        h.suites = [0x0a0a, *h.suites, 0x5a5a]
        h.set(GROUPS, two(0x1a1a, X25519, P256)).set(SIGNATURES, two(0x2a2a, 0x0403, 0x0804))
        h.set(ALPN, vector(2, vector(1, b"\x8a\x8a") + vector(1, b"http/1.1")))
        if version == 13:
            h.set(VERSIONS, vector(1, u16(0x3a3a, 0x0304, 0x0303)))
            h.set(KEY_SHARE, vector(2, u16(0x1a1a) + vector(2, b"\0") + h.get(KEY_SHARE)[2:]))
        h.extensions.insert(0, (0x4a4a, b""))
        h.extensions.append((0x5a5a, b"\0"))
        served(c.shake_hands())
        assert c.extensions[ALPN] == vector(2, vector(1, b"http/1.1"))


def test_change_cipher_spec_of_middleboxes_is_passed_over_and_sent(house):
    """RFC 8446, D.4: ours behind the first that we say, once; if the client has no session id it is spared nothing."""
    for session, retry in ((bytes(range(32)), False), (b"", False), (bytes(32), True)):
        with Client(house) as c:
            c.hello.session = session
            if retry:
                c.hello.set(KEY_SHARE, vector(2, b""))
            c.say_hello()
            c.send(record(CCS, b"\1"))
            c.hear_hello13()
            c.hear_flight13()
            c.send(record(CCS, b"\1"))
            c.say_finished13()
            served(c)
            assert c.ccs == 1


def test_a_client_that_could_do_better_is_told_that_this_is_tls_1_2(house):
    """RFC 8446, 4.1.3."""
    with Client(house, version=12) as c:
        c.shake_hands()
        assert c.server_random[-8:] == b"DOWNGRD\1"


# -- 0-RTT


def foreign(version=13):
    return Session(version, os.urandom(200), os.urandom(32))


@pytest.mark.parametrize("retry", [False, True], ids=["at once", "behind a retry"])
@pytest.mark.parametrize("records_of", [1, 100, 5000, 16000])
def test_early_data_for_another_servers_ticket_is_skipped(house, retry, records_of):
    with Client(house) as c:
        c.session = foreign()
        c.hello.set(EARLY_DATA, b"")
        if retry:
            c.hello.set(KEY_SHARE, vector(2, b""))
        c.say_hello()
        c.send(record(CCS, b"\1"))
        for _ in range(3 if records_of < 16000 else 1):
            c.send(record(APPLICATION, os.urandom(records_of + 17)))
        c.hello.drop(EARLY_DATA) if retry else None
        c.hear_hello13()
        c.hear_flight13()
        assert EARLY_DATA not in c.extensions and not c.resumed and c.retried == retry
        c.say_finished13()
        served(c)


def test_early_data_may_be_cut_by_the_retry(house):
    """What came with the hello ends within a record, or within its head."""
    for cut in (3, 5, 500):
        with Client(house) as c:
            c.session = foreign()
            c.hello.set(EARLY_DATA, b"").set(KEY_SHARE, vector(2, b""))
            early = record(APPLICATION, os.urandom(1000))
            data = c.hello_bytes()
            c.transcript += data
            c.send(record(HANDSHAKE, data) + record(CCS, b"\1") + early[:cut])
            c.read_server_hello()
            c.hello.drop(EARLY_DATA)
            c.retry()
            c.send(early[cut:])
            c.say_retried_hello()
            c.hear_hello13()
            c.hear_flight13()
            c.say_finished13()
            served(c)


def test_early_data_without_end_is_unexpected_message(house):
    with Client(house) as c:
        c.session = foreign()
        c.hello.set(EARLY_DATA, b"")
        c.say_hello()
        for _ in range(3):
            c.send(record(APPLICATION, os.urandom(16000)))
        assert c.alert() == ("fatal", "unexpected_message")


def test_no_ticket_of_ours_promises_early_data(house):
    with Client(house) as c:
        c.shake_hands().ask()
        assert EARLY_DATA not in c.tickets[0].extensions


def test_openssl_with_early_data_of_another_server_is_served(house, tmp_path):
    chain, key = house.certs.make("acme.localhost")
    early = tmp_path / "early"
    early.write_bytes(b"GET /early HTTP/1.1\r\nHost: acme.localhost\r\n\r\n")
    with open(tmp_path / "server", "wb") as said:
        server = subprocess.Popen(["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", chain, "-key", key, "-tls1_3",
                                   "-max_early_data", "16384", "-early_data"],
                                  stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT)

    def listening():
        return re.search(r"ACCEPT 127\.0\.0\.1:(\d+)", (tmp_path / "server").read_text(errors="replace"))

    def client(to, *more, ask=b"", session=None):
        """What s_client says; with `session` it is ended when it has written that, else by the server."""
        out = tmp_path / f"said{to}"
        with open(out, "wb") as said:
            process = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{to}", "-servername", "acme.localhost",
                                        "-CAfile", house.certs.ca, "-tls1_3", "-ign_eof", *map(str, more)],
                                       stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT)
        try:
            process.stdin.write(ask)
            process.stdin.flush()
            until(lambda: process.poll() is not None or session and session.exists() and b"END" in session.read_bytes(),
                  lambda: f"the end of s_client; it said {out.read_text(errors='replace')}")
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
        return out.read_text(errors="replace")

    try:
        session = tmp_path / "session"
        port = until(listening, "s_server's port").group(1)
        until(lambda: client(port, "-sess_out", session, session=session) and session.exists(), "a session of s_server")
    finally:
        server.kill()
        server.wait()
        server.stdin.close()
    said = client(house.port, "-sess_in", tmp_path / "session", "-early_data", early,
                  ask=b"GET /version HTTP/1.1\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n")
    assert "Early data was rejected" in said and "HTTP/1.1 200" in said and "1.0.0" in said, said


# -- renegotiation


def test_renegotiation_is_refused(house):
    """The front has said that it knows what that is (RFC 5746, 3.6); the tenant, that it will not."""
    with Client(house, version=12) as c:
        c.shake_hands()
        assert c.extensions[RENEGOTIATION] == b"\0"
        c.say(HANDSHAKE, Hello("acme.localhost", 12).bytes())
        level, name = c.alert()
        assert name in ("no_renegotiation", "unexpected_message"), (level, name)


def test_openssl_cannot_renegotiate(house):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{house.port}", "-servername", "acme.localhost",
                           "-CAfile", house.certs.ca, "-tls1_2"], input="R\n", capture_output=True, text=True,
                          timeout=DEADLINE, check=False)
    assert "Secure Renegotiation IS supported" in done.stdout and "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in done.stderr or "unexpected message" in done.stderr, done.stderr
