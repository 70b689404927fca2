"""A TLS client that says what it is told to, record by record: right up to one point, and wrong there.

Key schedules of RFC 8446 (7.1) and RFC 5246 (6.3, 8.1).  It offers one suite a version and X25519 or P-256, and it proves
nothing about the server: certificates are not looked at.  What it sends is kept apart in small pieces (tls_wire.py).
"""

import copy
import hashlib
import hmac
import socket
import struct
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from house import DEADLINE
from key_schedule import expand_label, key_block, prf
from records import Side
from tls_wire import *  # noqa: F403 - the vocabulary, of those who import this too

RETRY_RANDOM = hashlib.sha256(b"HelloRetryRequest").digest()
DIGEST = "sha256"  # of each suite that is offered
NAMES = {TLS13_SUITE: "TLS_AES_128_GCM_SHA256", TLS12_SUITE: "ECDHE-ECDSA-AES128-GCM-SHA256"}

ALERTS = {0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure",
          42: "bad_certificate", 47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
          51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
          86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation", 109: "missing_extension",
          110: "unsupported_extension", 112: "unrecognized_name", 115: "unknown_psk_identity",
          120: "no_application_protocol"}


class Told(Exception):
    """The server sent an alert."""

    def __init__(self, level, number):
        super().__init__(f"{'fatal' if level == 2 else 'warning'} {ALERTS.get(number, number)}")
        self.level, self.name = level, ALERTS.get(number, number)


class Ended(Exception):
    """The server ended the connection, without a word."""


def derive(secret, label, transcript):
    return expand_label(DIGEST, secret, label, 32, hashlib.sha256(transcript).digest())


def side13(secret):
    return Side(NAMES[TLS13_SUITE], secret)


class Share:
    """A key pair of ours."""

    def __init__(self, group):
        self.group = group
        self.private = x25519.X25519PrivateKey.generate() if group == X25519 else ec.generate_private_key(ec.SECP256R1())

    def public(self):
        if self.group == X25519:
            return self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return self.private.public_key().public_bytes(serialization.Encoding.X962,
                                                      serialization.PublicFormat.UncompressedPoint)

    def agree(self, public):
        if self.group == X25519:
            return self.private.exchange(x25519.X25519PublicKey.from_public_bytes(public))
        return self.private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public))


class Session:
    """What resumes: a ticket with its secret."""

    def __init__(self, version, ticket, secret, age_add=0, lifetime=0):
        self.version, self.ticket, self.secret, self.age_add, self.lifetime = version, ticket, secret, age_add, lifetime
        self.since = time.monotonic()
        self.extensions = {}  # of the NewSessionTicket

    def key_name(self):
        """Of the key that it is sealed with: in clear in front (Mbed TLS, ssl_ticket.c)."""
        return self.ticket[:4]

    def with_ticket(self, ticket):
        other = copy.copy(self)
        other.ticket = ticket
        return other

    def age(self):
        """As it is sent: obfuscated (RFC 8446, 4.2.11.1)."""
        return (int((time.monotonic() - self.since) * 1000) + self.age_add) & 0xffffffff


class Client:
    """One connection.  `version` is 13 or 12; `segment`: bytes a send, each a segment of its own."""

    def __init__(self, house, host="acme.localhost", version=13, group=X25519, segment=None):
        self.version, self.host, self.segment = version, host, segment
        self.sock = socket.create_connection(("127.0.0.1", house.port), DEADLINE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.share = Share(group)
        self.hello = Hello(host, version, (group, self.share.public()))
        self.transcript = b""
        self.read_keys = self.write_keys = None
        self.buffer = b""     # of the socket
        self.messages = b""   # of handshake records
        self.session = None   # offered, then accepted or not:
        self.resumed = self.retried = False
        self.extensions = {}  # of the ServerHello (and of EncryptedExtensions)
        self.tickets = []
        self.ccs = 0          # ChangeCipherSpec records that were passed over
        self.longest = 0      # of the server's records that a limit holds for: bytes of plaintext, type and padding too

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    # -- records

    def send(self, data):
        for i in range(0, len(data), self.segment or len(data) or 1):
            self.sock.sendall(data[i:i + (self.segment or len(data))])

    def sealed(self, kind, payload, padding=0):
        return self.write_keys.seal(kind, payload, padding) if self.write_keys else record(kind, payload)

    def say(self, kind, payload):
        self.send(self.sealed(kind, payload))

    def take(self, n):
        while len(self.buffer) < n:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Ended(f"{len(self.buffer)} bytes were left: {self.buffer[:80]!r}")
            self.buffer += more
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def next_record(self):
        """(type, payload) of the next that is no ChangeCipherSpec of TLS 1.3; an alert is raised."""
        while True:
            head = self.take(5)
            kind, _, length = struct.unpack(">BHH", head)
            body = self.take(length)
            if self.version == 13 and kind == CCS:
                self.ccs += 1
                continue
            if self.version == 12 or self.read_keys:
                self.longest = max(self.longest, length - (16 if self.version == 13 else 24 if self.read_keys else 0))
            if self.read_keys and (kind == APPLICATION or self.version == 12):
                kind, body = self.read_keys.open(head, body)
            elif self.read_keys:
                raise AssertionError(f"in clear behind the ServerHello: type {kind}, {body!r}")
            if kind == ALERT:
                raise Told(body[0], body[1])
            return kind, body

    def next_message(self, keep=True):
        while len(self.messages) < 4 or len(self.messages) < 4 + int.from_bytes(self.messages[1:4], "big"):
            kind, body = self.next_record()
            assert kind == HANDSHAKE, (kind, body)
            self.messages += body
        n = 4 + int.from_bytes(self.messages[1:4], "big")
        whole, self.messages = self.messages[:n], self.messages[n:]
        if keep:
            self.transcript += whole
        return whole[0], whole[4:]

    def expect(self, kind):
        got, body = self.next_message()
        assert got == kind, f"message {got} instead of {kind}"
        return body

    def alert(self):
        """The (level, name) of the alert that comes, whatever comes before."""
        try:
            if self.version == 13 and not self.read_keys and not self.retried:
                self.hear_hello13()
            while True:
                self.next_record()
        except Told as told:
            return ("fatal" if told.level == 2 else "warning"), told.name

    def end(self):
        """Whatever comes until the server's FIN or reset."""
        try:
            while True:
                self.take(1)
        except Ended:
            pass

    # -- the hello, in either version

    def hello_bytes(self, prefix=b""):
        """With the binder of an offered session computed."""
        if self.session and self.version == 13 and self.session.version == 13:
            identities = vector(2, vector(2, self.session.ticket) + struct.pack(">I", self.session.age()))
            self.hello.drop(PSK).set(PSK, identities + vector(2, vector(1, bytes(32))))
            early = hmac.digest(bytes(32), self.session.secret, DIGEST)
            key = expand_label(DIGEST, derive(early, b"res binder", b""), b"finished", 32)
            partial = self.hello.bytes()[:-35]
            binder = hmac.digest(key, hashlib.sha256(prefix + partial).digest(), DIGEST)
            self.hello.set(PSK, identities + vector(2, vector(1, binder)))
        return self.hello.bytes()

    def say_hello(self, most=None):
        data = self.hello_bytes()
        self.transcript += data
        self.send(records(HANDSHAKE, data, most or len(data), 0x0301))

    def read_server_hello(self):
        body = self.expect(SERVER_HELLO)
        self.server_random = body[2:34]
        at = 35 + body[34]
        self.suite = struct.unpack(">H", body[at:at + 2])[0]
        self.extensions = parse_extensions(body[at + 5:])
        return body[35:at]

    # -- TLS 1.3

    def retry(self):
        """Answers the HelloRetryRequest that has been read, with the group that it wants."""
        wanted = struct.unpack(">H", self.extensions[KEY_SHARE])[0]
        first, rest = self.split_first()
        self.transcript = message(254, hashlib.sha256(first).digest()) + rest
        self.retried = True
        self.share = Share(wanted)
        self.hello.set(KEY_SHARE, vector(2, u16(wanted) + vector(2, self.share.public())))
        if COOKIE in self.extensions:
            self.hello.set(COOKIE, self.extensions[COOKIE])

    def split_first(self):
        n = 4 + int.from_bytes(self.transcript[1:4], "big")
        return self.transcript[:n], self.transcript[n:]

    def say_retried_hello(self):
        data = self.hello_bytes(self.transcript)
        self.transcript += data
        self.send(record(HANDSHAKE, data))

    def hear_hello13(self):
        """The ServerHello, behind a HelloRetryRequest if there is one; then the handshake's keys."""
        self.read_server_hello()
        if self.server_random == RETRY_RANDOM:
            self.retry()
            self.say_retried_hello()
            self.read_server_hello()
        psk = bytes(32)
        if PSK in self.extensions:
            self.resumed, psk = True, self.session.secret
        length = struct.unpack(">HH", self.extensions[KEY_SHARE][:4])[1]
        shared = self.share.agree(self.extensions[KEY_SHARE][4:4 + length])
        early = hmac.digest(bytes(32), psk, DIGEST)
        self.handshake_secret = hmac.digest(derive(early, b"derived", b""), shared, DIGEST)
        self.client_secret = derive(self.handshake_secret, b"c hs traffic", self.transcript)
        self.server_secret = derive(self.handshake_secret, b"s hs traffic", self.transcript)
        self.read_keys, self.write_keys = side13(self.server_secret), side13(self.client_secret)

    def hear_flight13(self):
        body = self.expect(ENCRYPTED_EXTENSIONS)
        self.extensions.update(parse_extensions(body[2:]))
        if not self.resumed:
            self.expect(CERTIFICATE)
            self.expect(CERTIFICATE_VERIFY)
        until = self.transcript
        theirs = self.expect(FINISHED)
        assert theirs == self.verify_data13(self.server_secret, until)
        self.master = hmac.digest(derive(self.handshake_secret, b"derived", b""), bytes(32), DIGEST)
        self.application = (derive(self.master, b"c ap traffic", self.transcript),
                            derive(self.master, b"s ap traffic", self.transcript))

    def verify_data13(self, secret, transcript):
        return hmac.digest(expand_label(DIGEST, secret, b"finished", 32), hashlib.sha256(transcript).digest(), DIGEST)

    def finished13(self):
        return message(FINISHED, self.verify_data13(self.client_secret, self.transcript))

    def say_finished13(self):
        data = self.finished13()
        self.send(record(CCS, b"\1"))
        self.say(HANDSHAKE, data)
        self.use_application_keys(data)

    def use_application_keys(self, finished):
        self.transcript += finished
        self.write_keys, self.read_keys = map(side13, self.application)
        self.resumption = derive(self.master, b"res master", self.transcript)

    # -- TLS 1.2

    def hear_hello12(self):
        """The ServerHello; when it resumes, all that follows of the server."""
        self.read_server_hello()
        if not self.session:
            return
        if not self.messages:
            kind, body = self.next_record()
            if kind == CCS:
                self.resume12()
                return
            self.messages += body
        if self.messages[0] == NEW_TICKET:
            self.resume12(renewed=True)

    def resume12(self, renewed=False):
        self.resumed = True
        self.master = self.session.secret
        if renewed:
            self.add_ticket12(self.expect(NEW_TICKET))
        else:
            self.read_keys = self.block12()[1]
        self.hear_finished12()

    def hear_flight12(self):
        self.expect(CERTIFICATE)
        body = self.expect(SERVER_KEY_EXCHANGE)
        assert body[0] == 3
        group = struct.unpack(">H", body[1:3])[0]
        self.share = Share(group)
        self.theirs = body[4:4 + body[3]]
        kind, _ = self.next_message()
        assert kind == SERVER_HELLO_DONE, kind

    def key_exchange12(self):
        return message(CLIENT_KEY_EXCHANGE, vector(1, self.share.public()))

    def keys12(self):
        """Behind ClientKeyExchange, which is in the transcript."""
        secret = self.share.agree(self.theirs)
        if EMS in self.extensions:
            self.master = prf(DIGEST, secret, b"extended master secret", hashlib.sha256(self.transcript).digest(), 48)
        else:
            self.master = prf(DIGEST, secret, b"master secret", self.hello.random + self.server_random, 48)

    def block12(self):
        suite = NAMES[TLS12_SUITE]
        return [Side(suite, key=key, iv=iv) for key, iv in key_block(suite, self.master, self.hello.random, self.server_random)]

    def finished12(self, label=b"client finished"):
        return message(FINISHED, prf(DIGEST, self.master, label, hashlib.sha256(self.transcript).digest(), 12))

    def say_key_exchange12(self):
        data = self.key_exchange12()
        self.transcript += data
        self.say(HANDSHAKE, data)
        self.keys12()

    def say_ccs12(self):
        self.send(record(CCS, b"\1"))
        self.write_keys = self.block12()[0]

    def say_finished12(self):
        self.say_ccs12()
        data = self.finished12()
        self.transcript += data
        self.say(HANDSHAKE, data)

    def add_ticket12(self, body):
        length = struct.unpack(">H", body[4:6])[0]
        if length:
            self.tickets.append(Session(12, body[6:6 + length], self.master, 0, int.from_bytes(body[:4], "big")))

    def hear_finished12(self):
        while True:
            if not self.messages:
                kind, body = self.next_record()
                if kind == CCS:
                    self.read_keys = self.block12()[1]
                    continue
                self.messages += body
            before = self.transcript
            kind, body = self.next_message()
            if kind == NEW_TICKET:
                self.add_ticket12(body)
                continue
            assert kind == FINISHED, kind
            expected = prf(DIGEST, self.master, b"server finished", hashlib.sha256(before).digest(), 12)
            assert body == expected, "the server's Finished is wrong"
            return

    # -- all of it

    def shake_hands(self, session=None, most=None):
        self.session = session
        if session and self.version == 12:
            self.hello.set(TICKET, session.ticket)
        self.say_hello(most)
        if self.version == 13:
            self.hear_hello13()
            self.hear_flight13()
            self.say_finished13()
        else:
            self.hear_hello12()
            if self.resumed:
                self.say_finished12()
            else:
                self.hear_flight12()
                self.say_key_exchange12()
                self.say_finished12()
                self.hear_finished12()
        return self

    def ask(self, path="/version", host=None):
        """The body of a GET, the connection ended behind it."""
        self.say(APPLICATION, f"GET {path} HTTP/1.1\r\nHost: {host or self.host}\r\nConnection: close\r\n\r\n".encode())
        return self.answer()

    def answer(self):
        """The body of what comes until the end; tickets are kept on the way."""
        seen = b""
        try:
            while True:
                kind, body = self.next_record()
                if kind == APPLICATION:
                    seen += body
                elif kind == HANDSHAKE:
                    self.messages += body
                    if len(self.messages) == 4 + int.from_bytes(self.messages[1:4], "big"):
                        self.add_ticket13(self.expect(NEW_TICKET))
        except Told as told:
            assert told.name == "close_notify", told
        head, _, body = seen.partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0], seen
        return body

    def add_ticket13(self, body):
        lifetime, age_add = struct.unpack(">II", body[:8])
        nonce = body[9:9 + body[8]]
        at = 9 + body[8]
        length = struct.unpack(">H", body[at:at + 2])[0]
        secret = expand_label(DIGEST, self.resumption, b"resumption", 32, nonce)
        self.tickets.append(Session(13, body[at + 2:at + 2 + length], secret, age_add, lifetime))
        self.tickets[-1].extensions = parse_extensions(body[at + 4 + length:])
