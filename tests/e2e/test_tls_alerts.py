"""Every alert that the front owes a client before the handover, in both versions: one row of docs/TLS.md each.

A row is a client that is right up to one point and wrong there.  Seen to fail: 58 of the rows before the front had
checks of its own; and again, each for its rows, without handshake_record_took(), alert_of(), hello_offer_check(), its
look at extensions that are there twice, the share of the second hello, or with 2^14 for in_limit() of tls-front/handshake.c.
"""

import struct

import pytest

from house import ROOT
from tls_raw import *  # noqa: F403 - the vocabulary of the rows

WORKERS = 1
pytestmark = pytest.mark.only_on("sandbox", "before the handover nothing is the ground's")

CASES = []


def case(what, alert, *versions, session=False, tenant="acme.localhost"):
    """Registers a row: `run(client)` goes wrong and leaves the rest to the caller."""
    def register(run):
        for version in versions or (13, 12):
            CASES.append((what, version, alert, run, session, tenant))
        return run

    return register


# -- before TLS: what comes instead of a ClientHello


@case("application data as the first record", "unexpected_message")
def _(c):
    c.say(APPLICATION, b"GET / HTTP/1.1\r\n")


@case("ChangeCipherSpec before the ClientHello", "unexpected_message")
def _(c):
    c.say(CCS, b"\1")


@case("a record of an unknown type", "unexpected_message")
def _(c):
    c.send(record(99, c.hello_bytes()))


@case("a record of more than 2^14 bytes", "record_overflow")
def _(c):
    c.send(struct.pack(">BHH", HANDSHAKE, 0x0301, (1 << 14) + 1))


@case("an empty handshake record", "unexpected_message")
def _(c):
    c.say(HANDSHAKE, b"")


@case("a first message that is no ClientHello", "unexpected_message")
def _(c):
    c.say(HANDSHAKE, message(FINISHED, bytes(32)))


@case("a second message in the ClientHello's record", "unexpected_message")
def _(c):
    c.say(HANDSHAKE, c.hello_bytes() + message(FINISHED, bytes(32)))


# -- the ClientHello: does it parse


def hello(change):
    """A run that sends a hello changed by `change(hello, client)`."""
    def run(c):
        change(c.hello, c)
        c.say_hello()

    return run


def malformed(what, kind, body, *versions):
    case(f"{what} that does not parse", "decode_error", *versions)(hello(lambda h, c: h.set(kind, body)))


@case("a ClientHello shorter than it says", "decode_error")
def _(c):
    c.say(HANDSHAKE, message(CLIENT_HELLO, c.hello_bytes()[4:60]))


@case("bytes behind the extensions", "decode_error")
def _(c):
    c.say(HANDSHAKE, message(CLIENT_HELLO, c.hello_bytes()[4:] + b"xyz"))


@case("a session id of more than 32 bytes", "decode_error")
def _(c):
    c.hello.session = bytes(33)
    c.say_hello()


@case("no cipher suites", "decode_error")
def _(c):
    c.hello.suites = []
    c.say_hello()


malformed("a server_name", SERVER_NAME, b"\0\5\0\0\x09ab")
malformed("an empty list of names", SERVER_NAME, b"\0\0")
malformed("an ALPN list", ALPN, b"\0\3\5h2")
malformed("an empty ALPN name", ALPN, b"\0\1\0")
malformed("a list of groups", GROUPS, b"\0\3\0\x1d\0")
malformed("an empty list of groups", GROUPS, b"\0\0")
malformed("a list of signature algorithms", SIGNATURES, b"\0\3\4\3\4")
malformed("an empty list of signature algorithms", SIGNATURES, b"\0\0")
malformed("a list of versions", VERSIONS, b"\3\3\4\3", 13)
malformed("an empty list of versions", VERSIONS, b"\0", 13)
malformed("a key share", KEY_SHARE, b"\0\6\0\x1d\0\x20ab", 13)
malformed("a list of PSK modes", PSK_MODES, b"\0", 13)
malformed("a list of point formats", POINTS, b"\5\0", 12)
malformed("a record_size_limit", RECORD_LIMIT, b"\1", 13)
malformed("an extended_master_secret", EMS, b"\0", 12)


# -- the ClientHello: what it offers


@case("an extension twice", "illegal_parameter")
def _(c):
    c.hello.extensions.insert(1, (GROUPS, c.hello.get(GROUPS)))
    c.say_hello()


@case("an unknown extension twice", "illegal_parameter")
def _(c):
    c.hello.extensions[0:0] = [(0xfafa, b""), (0xfafa, b"")]
    c.say_hello()


@case("a compression method beside null", "illegal_parameter", 13)
def _(c):
    c.hello.compressions = b"\1\0"
    c.say_hello()


@case("compression methods without null", "illegal_parameter")
def _(c):
    c.hello.compressions = b"\1"
    c.say_hello()


@case("no version that the front speaks in supported_versions", "protocol_version", 13)
def _(c):
    c.hello.set(VERSIONS, vector(1, u16(0x7a7a, 0x0302, 0x0301)))
    c.say_hello()


@case("TLS 1.1 as the best version", "protocol_version", 12)
def _(c):
    c.hello.legacy_version = 0x0302
    c.say_hello()


@case("SSL 3.0 as the best version", "protocol_version", 12)
def _(c):
    c.hello.legacy_version = 0x0300
    c.say_hello()


@case("TLS_FALLBACK_SCSV from a client that knows no better than TLS 1.2", "inappropriate_fallback", 12)
def _(c):
    c.hello.suites.append(FALLBACK_SCSV)
    c.say_hello()


@case("no common cipher suite", "handshake_failure")
def _(c):
    c.hello.suites = [0x1305, 0xc009, 0x002f]
    c.say_hello()


@case("suites of the other version only", "handshake_failure")
def _(c):
    c.hello.suites = [TLS12_SUITE if c.version == 13 else TLS13_SUITE]
    c.say_hello()


@case("no common group", "handshake_failure")
def _(c):
    c.hello.set(GROUPS, vector(2, u16(P521)))
    if c.version == 13:
        c.hello.set(KEY_SHARE, vector(2, u16(P521) + vector(2, b"\4" + bytes(132))))
    c.say_hello()


@case("no signature algorithm that the certificate's key can do", "handshake_failure")
def _(c):
    c.hello.set(SIGNATURES, vector(2, u16(0x0807, 0x0804)))
    c.say_hello()


@case("no common application protocol", "no_application_protocol")
def _(c):
    c.hello.set(ALPN, vector(2, vector(1, b"spdy/9")))
    c.say_hello()


case("no signature_algorithms", "missing_extension", 13)(hello(lambda h, c: h.drop(SIGNATURES)))
case("no supported_groups", "missing_extension", 13)(hello(lambda h, c: h.drop(GROUPS)))
case("no key_share", "missing_extension", 13)(hello(lambda h, c: h.drop(KEY_SHARE)))
case("no server_name", "missing_extension", 13)(hello(lambda h, c: h.drop(SERVER_NAME)))
case("no server_name", "unrecognized_name", 12)(hello(lambda h, c: h.drop(SERVER_NAME)))


@case("a name that no tenant has", "unrecognized_name", tenant="nobody.localhost")
def _(c):
    c.say_hello()


@case("an IP address as server_name", "unrecognized_name", tenant="127.0.0.1")
def _(c):
    c.say_hello()


@case("a key share of the wrong length", "illegal_parameter", 13)
def _(c):
    c.hello.set(KEY_SHARE, vector(2, u16(X25519) + vector(2, bytes(range(1, 32)))))
    c.say_hello()


@case("an X25519 share that makes an all-zero secret", "illegal_parameter", 13)
def _(c):
    c.hello.set(KEY_SHARE, vector(2, u16(X25519) + vector(2, bytes(32))))
    c.say_hello()


@case("a P-256 share that is no point of the curve", "illegal_parameter", 13)
def _(c):
    c.hello.set(KEY_SHARE, vector(2, u16(P256) + vector(2, b"\4" + bytes([7] * 64))))
    c.say_hello()


@case("two key shares of one group", "illegal_parameter", 13)
def _(c):
    share = u16(X25519) + vector(2, c.share.public())
    c.hello.set(KEY_SHARE, vector(2, share + share))
    c.say_hello()


@case("point formats without the uncompressed one", "illegal_parameter", 12)
def _(c):
    c.hello.set(POINTS, b"\1\1")
    c.say_hello()


@case("a record_size_limit below 64", "illegal_parameter", 13)
def _(c):
    c.hello.set(RECORD_LIMIT, u16(63))
    c.say_hello()


@case("a max_fragment_length that there is not", "illegal_parameter", 12)
def _(c):
    c.hello.set(1, b"\x09")
    c.say_hello()


@case("a renegotiation_info in a first ClientHello that is not empty", "handshake_failure", 12)
def _(c):
    c.hello.set(RENEGOTIATION, vector(1, bytes(12)))
    c.say_hello()


# -- HelloRetryRequest


def retried(c):
    """Up to the HelloRetryRequest, and the second hello made but not sent."""
    c.hello.set(KEY_SHARE, vector(2, b""))
    c.say_hello()
    c.read_server_hello()
    assert c.server_random == RETRY_RANDOM
    c.retry()


@case("a second ClientHello with a share of another group", "illegal_parameter", 13)
def _(c):
    retried(c)
    c.hello.set(KEY_SHARE, vector(2, u16(P256) + vector(2, Share(P256).public())))
    c.say_retried_hello()


@case("a second ClientHello with no share still", "illegal_parameter", 13)
def _(c):
    retried(c)
    c.hello.set(KEY_SHARE, vector(2, b""))
    c.say_retried_hello()


@case("a second ClientHello with another cipher suite", "illegal_parameter", 13)
def _(c):
    retried(c)
    c.hello.suites = [0x1303]
    c.say_retried_hello()


@case("a second ClientHello that is no ClientHello", "unexpected_message", 13)
def _(c):
    retried(c)
    c.say(HANDSHAKE, message(FINISHED, bytes(32)))


# -- a session that is offered


@case("a session whose binder is wrong", "decrypt_error", 13, session=True)
def _(c):
    c.session.secret = bytes(32)
    c.say_hello()


@case("pre_shared_key that is not the last extension", "illegal_parameter", 13, session=True)
def _(c):
    c.hello_bytes()
    psk, c.session = c.hello.get(PSK), None
    c.hello.drop(PSK)
    c.hello.extensions.insert(0, (PSK, psk))
    c.say_hello()


@case("pre_shared_key without psk_key_exchange_modes", "missing_extension", 13, session=True)
def _(c):
    c.hello.drop(PSK_MODES)
    c.say_hello()


@case("two identities with one binder", "illegal_parameter", 13, session=True)
def _(c):
    one = vector(2, c.session.ticket) + bytes(4)
    c.session = None
    c.hello.set(PSK, vector(2, one + one) + vector(2, vector(1, bytes(32))))
    c.say_hello()


# -- behind the ServerHello, TLS 1.3


def greeted(c):
    """Up to where the client's Finished is due."""
    c.say_hello()
    if c.version == 13:
        c.hear_hello13()
        c.hear_flight13()
    else:
        c.hear_hello12()
        c.hear_flight12()


def keyed(c):
    """TLS 1.2, up to where ChangeCipherSpec is due."""
    greeted(c)
    c.say_key_exchange12()


def corrupt(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@case("a Finished record that was changed on its way", "bad_record_mac", 13)
def _(c):
    greeted(c)
    c.send(corrupt(c.sealed(HANDSHAKE, c.finished13())))


@case("a sealed record shorter than its tag", "bad_record_mac", 13)
def _(c):
    greeted(c)
    c.send(record(APPLICATION, bytes(10)))


@case("a Finished with other verify data", "decrypt_error", 13)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, corrupt(c.finished13()))


@case("a Finished of another length", "decode_error", 13)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, message(FINISHED, c.finished13()[4:-2]))


@case("application data before Finished", "unexpected_message", 13)
def _(c):
    greeted(c)
    c.say(APPLICATION, b"GET / HTTP/1.1\r\n\r\n")


@case("a Finished in clear", "unexpected_message", 13)
def _(c):
    greeted(c)
    c.send(record(HANDSHAKE, c.finished13()))


@case("a KeyUpdate before Finished", "unexpected_message", 13)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, message(KEY_UPDATE, b"\0"))


@case("a Certificate that was not asked for", "unexpected_message", 13)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, message(CERTIFICATE, b"\0\0\0\0"))


@case("EndOfEarlyData without early data", "unexpected_message", 13)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, message(END_OF_EARLY_DATA, b""))


@case("a second ClientHello in clear", "unexpected_message", 13)
def _(c):
    greeted(c)
    c.send(record(HANDSHAKE, c.hello_bytes()))


@case("a ChangeCipherSpec that is not 1", "unexpected_message", 13)
def _(c):
    greeted(c)
    c.send(record(CCS, b"\2"))


@case("a sealed record of nothing but padding", "unexpected_message", 13)
def _(c):
    greeted(c)
    c.send(c.sealed(0, bytes(20)))


@case("an empty sealed handshake record", "unexpected_message", 13)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, b"")


@case("a sealed record of more than 2^14 + 256 bytes", "record_overflow", 13)
def _(c):
    greeted(c)
    c.send(struct.pack(">BHH", APPLICATION, 0x0303, (1 << 14) + 257) + bytes((1 << 14) + 257))


@case("a sealed record with more than 2^14 bytes in it", "record_overflow", 13)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, message(FINISHED, bytes((1 << 14) + 1 - 4)))


@case("a sealed record of more than our record_size_limit", "record_overflow", 13)
def _(c):
    c.hello.set(RECORD_LIMIT, u16(1 << 14))
    greeted(c)
    c.say(HANDSHAKE, message(FINISHED, bytes((1 << 14) - 4)))  # and one byte for its type


# -- behind the ServerHello, TLS 1.2


@case("a Finished record that was changed on its way", "bad_record_mac", 12)
def _(c):
    keyed(c)
    c.say_ccs12()
    c.send(corrupt(c.sealed(HANDSHAKE, c.finished12())))


@case("a sealed record shorter than its tag", "bad_record_mac", 12)
def _(c):
    keyed(c)
    c.say_ccs12()
    c.send(record(HANDSHAKE, bytes(10)))


@case("a Finished with other verify data", "decrypt_error", 12)
def _(c):
    keyed(c)
    c.say_ccs12()
    c.say(HANDSHAKE, corrupt(c.finished12()))


@case("a Finished of another length", "decode_error", 12)
def _(c):
    keyed(c)
    c.say_ccs12()
    c.say(HANDSHAKE, message(FINISHED, c.finished12()[4:-2]))


@case("application data before Finished", "unexpected_message", 12)
def _(c):
    keyed(c)
    c.say_ccs12()
    c.say(APPLICATION, b"GET / HTTP/1.1\r\n\r\n")


@case("a Finished without ChangeCipherSpec", "unexpected_message", 12)
def _(c):
    keyed(c)
    c.say(HANDSHAKE, c.finished12())


@case("ChangeCipherSpec before ClientKeyExchange", "unexpected_message", 12)
def _(c):
    greeted(c)
    c.say(CCS, b"\1")


@case("a ChangeCipherSpec that is not 1", "illegal_parameter", 12)
def _(c):
    keyed(c)
    c.say(CCS, b"\2")


@case("a ClientKeyExchange twice", "unexpected_message", 12)
def _(c):
    keyed(c)
    c.say(HANDSHAKE, c.key_exchange12())


@case("a Certificate that was not asked for", "unexpected_message", 12)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, message(CERTIFICATE, b"\0\0\0"))


@case("a second ClientHello in clear", "unexpected_message", 12)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, c.hello_bytes())


@case("application data in clear before ClientKeyExchange", "unexpected_message", 12)
def _(c):
    greeted(c)
    c.say(APPLICATION, b"GET / HTTP/1.1\r\n\r\n")


@case("a ClientKeyExchange that does not parse", "decode_error", 12)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, message(CLIENT_KEY_EXCHANGE, b"\x50abc"))


@case("a ClientKeyExchange with bytes behind its point", "decode_error", 12)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, message(CLIENT_KEY_EXCHANGE, vector(1, c.share.public()) + b"x"))


@case("an X25519 point that makes an all-zero secret", "illegal_parameter", 12)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, message(CLIENT_KEY_EXCHANGE, vector(1, bytes(32))))


@case("a P-256 point that is none of the curve", "illegal_parameter", 12)
def _(c):
    c.hello.set(GROUPS, vector(2, u16(P256)))
    greeted(c)
    c.say(HANDSHAKE, message(CLIENT_KEY_EXCHANGE, vector(1, b"\4" + bytes([7] * 64))))


@case("a record of more than 2^14 bytes behind the ServerHello", "record_overflow", 12)
def _(c):
    greeted(c)
    c.send(struct.pack(">BHH", HANDSHAKE, 0x0303, (1 << 14) + 2049) + bytes((1 << 14) + 2049))


@case("a record of more than max_fragment_length", "record_overflow", 12)
def _(c):
    c.hello.set(FRAGMENT_LENGTH, b"\1")
    greeted(c)
    c.say(HANDSHAKE, message(CLIENT_KEY_EXCHANGE, bytes(512 + 1 - 4)))


@case("a sealed record of more than max_fragment_length", "record_overflow", 12)
def _(c):
    c.hello.set(FRAGMENT_LENGTH, b"\1")
    keyed(c)
    c.say_ccs12()
    c.say(HANDSHAKE, message(FINISHED, bytes(512 + 1 - 4)))


@case("an empty handshake record behind the ServerHello", "unexpected_message", 12)
def _(c):
    greeted(c)
    c.say(HANDSHAKE, b"")


def a_session(house, version):
    with Client(house, version=version) as c:
        c.shake_hands().ask()
        return c.tickets[0]


@pytest.mark.parametrize("what, version, alert, run, session, tenant", CASES,
                         ids=[f"1.{v - 10} {w}: {a}".replace(" ", "_") for w, v, a, *_ in CASES])
def test_a_client_that_is_wrong_is_told_what_was_wrong(house, what, version, alert, run, session, tenant):
    offered = a_session(house, version) if session else None
    with Client(house, tenant, version) as c:
        c.session = offered
        run(c)
        assert c.alert() == ("fatal", alert)
        c.end()


def table(title):
    """The rows of a table of docs/TLS.md, as lists of cells."""
    text = (ROOT / "docs/TLS.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def test_the_table_of_the_documentation_has_these_rows_and_no_other():
    documented = {(what, int(f"1{v[-1]}"), alert) for alert, what, versions in table("Alerts")
                  for v in versions.split(", ")}
    assert documented == {(what, version, alert) for what, version, alert, *_ in CASES}


# -- what Mbed TLS does otherwise than the RFC wants, and cannot be told


def test_a_psk_mode_that_is_unknown_ends_the_handshake(house):
    with Client(house) as c:
        c.hello.set(PSK_MODES, vector(1, b"\x2a\1"))
        c.say_hello()
        assert c.alert() == ("fatal", "illegal_parameter")


def test_a_sealed_change_cipher_spec_is_passed_over(house):
    with Client(house) as c:
        greeted(c)
        c.say(CCS, b"\1")
        c.say_finished13()
        assert c.ask() == b"1.0.0\n"


@pytest.mark.parametrize("version", [13, 12])
def test_a_message_whose_head_is_in_two_records_ends_the_handshake(house, version):
    with Client(house, version=version) as c:
        greeted(c)
        c.say(HANDSHAKE, (c.finished13() if version == 13 else c.key_exchange12())[:3])
        assert c.alert() == ("fatal", "unexpected_message")
