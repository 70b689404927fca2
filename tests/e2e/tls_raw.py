"""A TLS client that says what it is told to, record by record: right up to one point, and wrong there.

Key schedules of RFC 8446 (7.1) and RFC 5246 (6.3, 8.1) on the primitives of python3-cryptography.  It offers one suite a
version and X25519 or P-256, and it proves nothing about the server: certificates are not looked at.  What it
sends is kept apart in small pieces (`Hello`, `records`), so that a test changes one and leaves the rest right.
"""

import copy
import hashlib
import hmac
import os
import socket
import struct
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from house import DEADLINE

CCS, ALERT, HANDSHAKE, APPLICATION = 20, 21, 22, 23
CLIENT_HELLO, SERVER_HELLO, NEW_TICKET, END_OF_EARLY_DATA, ENCRYPTED_EXTENSIONS = 1, 2, 4, 5, 8
CERTIFICATE, SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE, CERTIFICATE_VERIFY = 11, 12, 14, 15
CLIENT_KEY_EXCHANGE, FINISHED, KEY_UPDATE = 16, 20, 24

SERVER_NAME, FRAGMENT_LENGTH, GROUPS, POINTS, SIGNATURES, ALPN, EMS, TICKET = 0, 1, 10, 11, 13, 16, 23, 35
RECORD_LIMIT, PSK, EARLY_DATA, VERSIONS, COOKIE, PSK_MODES, KEY_SHARE, RENEGOTIATION = 28, 41, 42, 43, 44, 45, 51, 0xff01

X25519, P256, P384, P521 = 29, 23, 24, 25
TLS13_SUITE, TLS12_SUITE = 0x1301, 0xc02b  # AES-128-GCM with SHA-256; 1.2: ECDHE-ECDSA
TLS12_RSA_SUITE = 0xc02f
FALLBACK_SCSV = 0x5600
RETRY_RANDOM = hashlib.sha256(b"HelloRetryRequest").digest()

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


def vector(width, data):
    return len(data).to_bytes(width, "big") + data


def u16(*values):
    return struct.pack(f">{len(values)}H", *values)


def message(kind, body):
    return bytes([kind]) + vector(3, body)


def record(kind, payload, version=0x0303):
    return struct.pack(">BHH", kind, version, len(payload)) + payload


def records(kind, payload, most, version=0x0303):
    """The payload cut into records of at most so many bytes."""
    return b"".join(record(kind, payload[i:i + most], version) for i in range(0, len(payload), most))


def parse_extensions(data):
    found = {}
    while data:
        kind, length = struct.unpack(">HH", data[:4])
        found[kind], data = data[4:4 + length], data[4 + length:]
    return found


# -- keys


def expand(secret, info, length):
    out, block, i = b"", b"", 0
    while len(out) < length:
        i += 1
        block = hmac.digest(secret, block + info + bytes([i]), "sha256")
        out += block
    return out[:length]


def expand_label(secret, label, context, length):
    return expand(secret, u16(length) + vector(1, b"tls13 " + label) + vector(1, context), length)


def derive(secret, label, transcript):
    return expand_label(secret, label, hashlib.sha256(transcript).digest(), 32)


def prf(secret, label, seed, length):
    """TLS 1.2."""
    out, a = b"", label + seed
    while len(out) < length:
        a = hmac.digest(secret, a, "sha256")
        out += hmac.digest(secret, a + label + seed, "sha256")
    return out[:length]


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


class Keys13:
    def __init__(self, secret):
        self.aead = AESGCM(expand_label(secret, b"key", b"", 16))
        self.iv = expand_label(secret, b"iv", b"", 12)
        self.seq = 0

    def nonce(self):
        n = bytes(a ^ b for a, b in zip(self.iv, self.seq.to_bytes(12, "big")))
        self.seq += 1
        return n

    def seal(self, kind, payload, padding=0):
        plain = payload + bytes([kind]) + bytes(padding)
        head = struct.pack(">BHH", APPLICATION, 0x0303, len(plain) + 16)
        return head + self.aead.encrypt(self.nonce(), plain, head)

    def open(self, kind, head, body):
        plain = self.aead.decrypt(self.nonce(), body, head).rstrip(b"\0")
        return plain[-1], plain[:-1]


class Keys12:
    def __init__(self, key, iv):
        self.aead, self.iv, self.seq = AESGCM(key), iv, 0

    def aad(self, kind, length):
        self.seq += 1
        return struct.pack(">QBHH", self.seq - 1, kind, 0x0303, length)

    def seal(self, kind, payload, padding=0):
        explicit = struct.pack(">Q", self.seq)
        body = explicit + self.aead.encrypt(self.iv + explicit, payload, self.aad(kind, len(payload)))
        return record(kind, body)

    def open(self, kind, head, body):
        return kind, self.aead.decrypt(self.iv + body[:8], body[8:], self.aad(kind, len(body) - 24))


# -- the ClientHello


class Hello:
    """Each part as it goes on the wire; `extensions` is an ordered list of (type, body)."""

    def __init__(self, host, version, share=None, groups=(X25519, P256, P384)):
        self.legacy_version = 0x0303
        self.random = os.urandom(32)
        self.session = os.urandom(32)
        self.suites = [TLS13_SUITE if version == 13 else TLS12_SUITE]
        self.compressions = b"\0"
        name = host.encode()
        self.extensions = [
            (SERVER_NAME, vector(2, b"\0" + vector(2, name))),
            (GROUPS, vector(2, u16(*groups))),
            (SIGNATURES, vector(2, u16(0x0403, 0x0804))),
        ]
        if version == 13:
            self.extensions += [(VERSIONS, vector(1, u16(0x0304))), (PSK_MODES, vector(1, b"\1")),
                                (KEY_SHARE, vector(2, u16(share.group) + vector(2, share.public())))]
        else:
            self.extensions += [(POINTS, vector(1, b"\0")), (EMS, b""), (TICKET, b""), (RENEGOTIATION, vector(1, b""))]

    def set(self, kind, body):
        """Changes an extension where it is, or adds it."""
        for i, (k, _) in enumerate(self.extensions):
            if k == kind:
                self.extensions[i] = (kind, body)
                return self
        self.extensions.append((kind, body))
        return self

    def drop(self, *kinds):
        self.extensions = [(k, b) for k, b in self.extensions if k not in kinds]
        return self

    def get(self, kind):
        return dict(self.extensions)[kind]

    def bytes(self):
        return message(CLIENT_HELLO, u16(self.legacy_version) + self.random + vector(1, self.session) +
                       vector(2, u16(*self.suites)) + vector(1, self.compressions) +
                       vector(2, b"".join(u16(k) + vector(2, b) for k, b in self.extensions)))


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
        self.hello = Hello(host, version, self.share)
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
                kind, body = self.read_keys.open(kind, head, body)
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
            early = hmac.digest(bytes(32), self.session.secret, "sha256")
            key = expand_label(derive(early, b"res binder", b""), b"finished", b"", 32)
            partial = self.hello.bytes()[:-35]
            binder = hmac.digest(key, hashlib.sha256(prefix + partial).digest(), "sha256")
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
        early = hmac.digest(bytes(32), psk, "sha256")
        self.handshake_secret = hmac.digest(derive(early, b"derived", b""), shared, "sha256")
        self.client_secret = derive(self.handshake_secret, b"c hs traffic", self.transcript)
        self.server_secret = derive(self.handshake_secret, b"s hs traffic", self.transcript)
        self.read_keys, self.write_keys = Keys13(self.server_secret), Keys13(self.client_secret)

    def hear_flight13(self):
        body = self.expect(ENCRYPTED_EXTENSIONS)
        self.extensions.update(parse_extensions(body[2:]))
        if not self.resumed:
            self.expect(CERTIFICATE)
            self.expect(CERTIFICATE_VERIFY)
        until = self.transcript
        theirs = self.expect(FINISHED)
        assert theirs == self.verify_data13(self.server_secret, until)
        self.master = hmac.digest(derive(self.handshake_secret, b"derived", b""), bytes(32), "sha256")
        self.application = (derive(self.master, b"c ap traffic", self.transcript),
                            derive(self.master, b"s ap traffic", self.transcript))

    def verify_data13(self, secret, transcript):
        return hmac.digest(expand_label(secret, b"finished", b"", 32), hashlib.sha256(transcript).digest(), "sha256")

    def finished13(self):
        return message(FINISHED, self.verify_data13(self.client_secret, self.transcript))

    def say_finished13(self):
        data = self.finished13()
        self.send(record(CCS, b"\1"))
        self.say(HANDSHAKE, data)
        self.use_application_keys(data)

    def use_application_keys(self, finished):
        self.transcript += finished
        self.write_keys, self.read_keys = map(Keys13, self.application)
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
            self.master = prf(secret, b"extended master secret", hashlib.sha256(self.transcript).digest(), 48)
        else:
            self.master = prf(secret, b"master secret", self.hello.random + self.server_random, 48)

    def block12(self):
        block = prf(self.master, b"key expansion", self.server_random + self.hello.random, 40)
        return Keys12(block[:16], block[32:36]), Keys12(block[16:32], block[36:40])

    def finished12(self, label=b"client finished"):
        return message(FINISHED, prf(self.master, label, hashlib.sha256(self.transcript).digest(), 12))

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
            expected = prf(self.master, b"server finished", hashlib.sha256(before).digest(), 12)
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
        """The body of a GET, the connection ended behind it; tickets are kept on the way."""
        self.say(APPLICATION, f"GET {path} HTTP/1.1\r\nHost: {host or self.host}\r\nConnection: close\r\n\r\n".encode())
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
        secret = expand_label(self.resumption, b"resumption", nonce, 32)
        self.tickets.append(Session(13, body[at + 2:at + 2 + length], secret, age_add, lifetime))
        self.tickets[-1].extensions = parse_extensions(body[at + 4 + length:])
